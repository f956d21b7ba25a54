# SPDX-License-Identifier: Apache-2.0
"""Draws layouts, feature maps and attention, to be printed in a paper.

Everything is handed in as arrays; nothing here knows of models or runs. No
display is needed.
"""

from collections.abc import Mapping, Sequence
import math
import pathlib

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from flatten_jax import flattening
from flatten_jax.explanation.strips import FONT, WIDTH, enlarge
from flatten_jax.text import escape_mathtext


def draw_layouts(
  path: str | pathlib.Path,
  clip: np.ndarray,
  orders: Mapping[str, np.ndarray],
  grid: tuple[int, int],
) -> None:
  """The clip as one image, in every layout (Figures 1 and 2 of the paper).

  Args:
    path: of the picture.
    clip: uint8 [T H W 3].
    orders: layout -> [T], which frame sits in each cell.
    grid: (rows, columns).
  """
  clip = enlarge(clip)
  with rc_context(FONT):
    height = WIDTH / max(len(orders), 2) * grid[0] / grid[1] + 0.25
    figure = Figure(figsize=(WIDTH, height), layout='constrained')
    panels = figure.subplots(1, len(orders), squeeze=False)[0]
    for axes, (name, order) in zip(panels, orders.items(), strict=True):
      axes.imshow(flattening.flatten(clip[order], grid=grid))
      axes.set_title(name)
      axes.set_axis_off()
      for cell, frame in enumerate(order):
        row, column = divmod(cell, grid[1])
        _draw_number(axes, row, column, frame + 1, clip.shape[1:3])
      _draw_cells(axes, grid, clip.shape[1], clip.shape[2])
    figure.savefig(path)


def _draw_number(axes: Axes, row, column, number, shape) -> None:
  """The number of a frame in the corner of its cell."""
  axes.text(
    (column + 0.06) * shape[1],
    (row + 0.06) * shape[0],
    str(number),
    color='white',
    va='top',
    bbox=dict(facecolor='black', alpha=0.6, pad=0.8, linewidth=0),
  )


def _draw_cells(axes: Axes, grid, height: float, width: float) -> None:
  """White lines between frames; sides of a frame in the image's own units."""
  for i in range(1, grid[0]):
    axes.axhline(i * height - 0.5, color='white', linewidth=0.7)
  for i in range(1, grid[1]):
    axes.axvline(i * width - 0.5, color='white', linewidth=0.7)


def draw_feature_maps(
  path: str | pathlib.Path,
  image: np.ndarray,
  maps: Sequence[np.ndarray],
  grid: tuple[int, int],
  title: str,
) -> None:
  """What stages make of an image, side by side (Figure 6 of the paper).

  Args:
    path: of the picture.
    image: uint8 [H W 3], frames of one clip on a grid.
    maps: by stage, [h w], laid out as the image is.
    grid: (rows, columns) of frames in all of them.
    title: above it.
  """
  with rc_context(FONT):
    count = len(maps) + 1
    height = WIDTH / count * image.shape[0] / image.shape[1] + 0.75
    figure = Figure(figsize=(WIDTH, height), layout='constrained')
    figure.suptitle(escape_mathtext(title), fontsize=8, x=0.01, ha='left')
    panels, bars = figure.subplots(2, count, height_ratios=(1, 0.05))
    panels[0].imshow(image)
    panels[0].set_title('input')
    bars[0].set_axis_off()
    for i, values in enumerate(maps, start=1):
      shown = panels[i].imshow(values, cmap='viridis', interpolation='none')
      panels[i].set_title(f'stage {i}: {values.shape[0]} x {values.shape[1]}')
      figure.colorbar(
        shown, cax=bars[i], orientation='horizontal', ticks=MaxNLocator(3)
      )
    for axes, values in zip(panels, (image, *maps), strict=True):
      axes.set_xticks([])
      axes.set_yticks([])
      height, width = values.shape[:2]
      _draw_cells(axes, grid, height / grid[0], width / grid[1])
    figure.savefig(path)


def draw_attention(
  path: str | pathlib.Path,
  attention: Mapping[str, np.ndarray],
  frames: Sequence[int],
  title: str,
) -> None:
  """Which frames each frame looks at, a matrix for every block.

  Args:
    path: of the picture.
    attention: block -> [F F], rows look at columns.
    frames: numbers of the F frames.
    title: above it.
  """
  columns = min(len(attention), 4)
  rows = math.ceil(len(attention) / columns)
  scale = Normalize(0, max(x.max() for x in attention.values()))
  with rc_context(FONT):
    side = (WIDTH - 0.6) / columns
    figure = Figure((WIDTH, rows * side + 0.45), layout='constrained')
    figure.suptitle(escape_mathtext(title), fontsize=8, x=0.01, ha='left')
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(attention) :]:
      axes.set_axis_off()
    for i, (axes, name) in enumerate(zip(panels, attention, strict=False)):
      shown = axes.imshow(attention[name], cmap='magma', norm=scale)
      axes.set_title(f'block {name}')
      places = np.arange(0, len(frames), max(1, math.ceil(len(frames) / 8)))
      numbers = np.asarray(frames)[places]
      axes.set_xticks(places, numbers)
      axes.set_yticks(places, numbers)
      if i % columns == 0:
        axes.set_ylabel('frame')
      if i + columns >= len(attention):
        axes.set_xlabel('looks at frame')
    figure.colorbar(shown, ax=panels, label='share of attention', aspect=30)
    figure.savefig(path)
