# SPDX-License-Identifier: Apache-2.0
"""Draws what a model makes of a clip, as one would print it in a paper.

Everything is handed in as arrays; nothing here knows of models or runs. No
display is needed.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib

import cv2
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from flatten_jax import flattening

_WIDTH = 7.2  # inches, of a page with two columns
_DPI = 200
_GAP = 0.05  # between frames, in frame sides
_SIDE = 96  # px that a frame has in a picture, or more
_MOST = 9  # frames side by side
_FONT = {'font.size': 7, 'axes.titlesize': 7, 'savefig.dpi': _DPI}


@dataclasses.dataclass(frozen=True)
class Strip:
  """Frames side by side: uint8 [T H W 3], and what they show."""

  name: str
  frames: np.ndarray


def enlarge(clip: np.ndarray, side: int = _SIDE) -> np.ndarray:
  """Repeats pixels until frames have a short side of `side`. [T H W ...]."""
  factor = max(1, math.ceil(side / min(clip.shape[1:3])))
  return clip.repeat(factor, axis=1).repeat(factor, axis=2)


def overlay(clip: np.ndarray, heat: np.ndarray) -> np.ndarray:
  """The clip in grey, with heat over it, enlarged. -> uint8 [T H' W' 3].

  Args:
    clip: uint8 [T H W 3].
    heat: [T H W]; of what is hottest in the whole clip, all else is a share.
  """
  heat = heat / max(float(heat.max()), 1e-12)
  clip = enlarge(clip)
  size = clip.shape[2], clip.shape[1]
  heat = np.stack(
    [cv2.resize(frame.astype(np.float32), size) for frame in heat]
  )
  return _blend(clip.mean(axis=-1) / 255, np.clip(heat, 0, 1))


def _blend(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
  """Both of 0 to 1, [...]: heat hides the grey as far as there is any."""
  opacity = 0.85 * np.sqrt(heat)[..., None]
  colour = colormaps['inferno'](0.3 + 0.65 * heat)[..., :3]
  grey = (0.15 + 0.7 * grey)[..., None]
  return (255 * (opacity * colour + (1 - opacity) * grey)).astype(np.uint8)


def draw_strips(
  path: str | pathlib.Path, strips: Sequence[Strip], title: str
) -> None:
  """Strips below each other, with frame numbers and a bar of heat's colours.

  Long ones are broken into several lines, if all have equally many frames.
  """
  counts = {len(strip.frames) for strip in strips}
  columns = _columns(max(counts)) if len(counts) == 1 else max(counts)
  blocks = [
    [
      Strip(strip.name, strip.frames[first : first + columns])
      for strip in strips
    ]
    for first in range(0, max(counts), columns)
  ]
  left, right, top, line, space = 0.8, 0.75, 0.3, 0.05, 0.22  # inches
  width = _WIDTH - left - right
  frame = width / (columns + _GAP * (columns - 1))
  block = len(strips) * (frame + line) + space
  height = top + len(blocks) * block
  with rc_context(_FONT):
    figure = Figure(figsize=(_WIDTH, height))
    figure.text(0.01, 1 - 0.15 / height, title, va='center', fontsize=8)
    for i, block_strips in enumerate(blocks):
      for j, strip in enumerate(block_strips):
        y = height - top - i * block - j * (frame + line) - frame
        box = left / _WIDTH, y / height, width / _WIDTH, frame / height
        axes = figure.add_axes(box)
        # Where strips differ in length, each has numbers of its own.
        numbered = j + 1 == len(strips) or len(counts) > 1
        _draw_strip(axes, strip, columns, i * columns if numbered else None)
    low, tall = 0.5 * min(0.3, 1 / height), 1 - 0.3 / height
    box = 1 - 0.5 / _WIDTH, low, 0.09 / _WIDTH, min(tall - low, 1.6 / height)
    _draw_bar(figure.add_axes(box))
    figure.savefig(path)


def _draw_strip(
  axes: Axes, strip: Strip, columns: int, first: int | None
) -> None:
  """One line of frames; numbered from `first` on, if that is not None."""
  frames = enlarge(strip.frames)
  axes.imshow(_side_by_side(frames, columns), aspect='auto')
  pitch = frames.shape[2] + round(_GAP * frames.shape[2])
  places = np.arange(len(frames)) * pitch + frames.shape[2] / 2 - 0.5
  axes.set_xticks([] if first is None else places)
  if first is not None:
    axes.set_xticklabels([str(first + i + 1) for i in range(len(frames))])
  axes.set_yticks([])
  axes.tick_params(length=0, pad=1.5)
  axes.set_ylabel(strip.name, rotation=0, ha='right', va='center', labelpad=4)
  axes.spines[:].set_visible(False)


def _columns(count: int) -> int:
  """How many frames stand side by side: as equally many in all lines as can."""
  return math.ceil(count / math.ceil(count / _MOST))


def _side_by_side(frames: np.ndarray, columns: int) -> np.ndarray:
  """[T H W 3] -> one image on white, as wide as `columns` frames."""
  _, height, width, _ = frames.shape
  gap = round(_GAP * width)
  image = np.full((height, columns * (width + gap) - gap, 3), 255, np.uint8)
  for i, frame in enumerate(frames):
    image[:, i * (width + gap) :][:, :width] = frame
  return image


def _draw_bar(axes: Axes) -> None:
  """The colours of heat, as they are over a grey of middle brightness."""
  values = np.linspace(1, 0, 256)[:, None]
  bar = _blend(np.full_like(values, 0.3), values)
  axes.imshow(bar, aspect='auto', extent=(0, 1, 0, 1))
  axes.set_xticks([])
  axes.yaxis.tick_right()
  axes.set_yticks([0, 0.5, 1])
  axes.yaxis.set_label_position('right')
  axes.set_ylabel('heat, of the highest')


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
  with rc_context(_FONT):
    height = _WIDTH / max(len(orders), 2) * grid[0] / grid[1] + 0.25
    figure = Figure(figsize=(_WIDTH, height), layout='constrained')
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
  with rc_context(_FONT):
    count = len(maps) + 1
    height = _WIDTH / count * image.shape[0] / image.shape[1] + 0.75
    figure = Figure(figsize=(_WIDTH, height), layout='constrained')
    figure.suptitle(title, fontsize=8, x=0.01, ha='left')
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
  with rc_context(_FONT):
    side = (_WIDTH - 0.6) / columns
    figure = Figure((_WIDTH, rows * side + 0.45), layout='constrained')
    figure.suptitle(title, fontsize=8, x=0.01, ha='left')
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
