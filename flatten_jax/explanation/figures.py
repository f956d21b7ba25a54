# SPDX-License-Identifier: Apache-2.0
"""Parts of figures for a paper, from arrays: strips of frames, heat, grids."""

from collections.abc import Iterator, Sequence
import contextlib
import math
import pathlib

import cv2
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
import numpy as np

from flatten_jax.text import escape_mathtext, save_figure, wrap

WIDTH = 7.2  # inches, a page with two columns
_STYLE = {
  'font.size': 7,
  'axes.titlesize': 7,
  'figure.titlesize': 8,
  'savefig.dpi': 200,
  'figure.constrained_layout.hspace': 0,
}
_SIDE = 96  # px, smallest side of a frame in a figure
_GAP = 0.05  # between frames, relative to their width
_MAX_COLUMNS = 9  # frames side by side
_LABEL = 20  # characters per line, left of frames
_TITLE = 110  # characters per line
_LINE = 0.14  # inches, height of a line of the title


@contextlib.contextmanager
def figure_file(path, height: float, title: str = '') -> Iterator[Figure]:
  """Yields a figure of the page's width, and saves it.

  Args:
    path: its suffix chooses the format.
    height: inches, with one line of title.
    title: broken into lines as needed.
  """
  title = wrap(title, _TITLE)
  with rc_context(_STYLE):
    height += _LINE * title.count('\n')
    figure = Figure(figsize=(WIDTH, height), layout='compressed')
    if title:
      figure.suptitle(escape_mathtext(title), x=0.01, ha='left')
    yield figure
    save_figure(figure, path, bbox_inches='tight', pad_inches=0.04)


def near_square(count: int) -> tuple[int, int]:
  """Returns the least wide grid with `count` cells, (rows, columns)."""
  rows = max(r for r in range(1, math.isqrt(count) + 1) if count % r == 0)
  return rows, count // rows


def enlarge(clip: np.ndarray, side: int = _SIDE) -> np.ndarray:
  """Repeats pixels until the short side is at least `side`. [T H W ...]."""
  factor = max(1, math.ceil(side / min(clip.shape[1:3])))
  return clip.repeat(factor, axis=1).repeat(factor, axis=2)


def overlay(clip: np.ndarray, heat: np.ndarray) -> np.ndarray:
  """Draws heat [T H W] over the enlarged clip in grey. -> uint8 [T H' W' 3].

  Colours are relative to the maximum over the clip.
  """
  heat = heat.astype(np.float32) / max(float(heat.max()), 1e-12)
  clip = enlarge(clip)
  size = clip.shape[2], clip.shape[1]
  heat = np.stack([cv2.resize(frame, size) for frame in heat])
  pixels = _blend(clip.mean(axis=-1) / 255, np.clip(heat, 0, 1))
  return (255 * pixels).astype(np.uint8)


def _blend(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
  """Covers grey by heat, the more the hotter. Two [...] -> [... 3], 0 to 1."""
  opacity = 0.85 * np.sqrt(heat)[..., None]
  color = colormaps['inferno'](0.3 + 0.65 * heat)[..., :3]
  return opacity * color + (1 - opacity) * (0.15 + 0.7 * grey)[..., None]


def draw_strips(
  path: str | pathlib.Path,
  strips: Sequence[tuple[str, np.ndarray]],
  title: str,
) -> None:
  """Draws named clips below each other, with frame numbers and a colour bar.

  Long clips of equal length are broken into several lines.
  """
  lengths = {len(frames) for _, frames in strips}
  longest, same = max(lengths), len(lengths) == 1
  lines = math.ceil(longest / _MAX_COLUMNS) if same else 1
  columns = math.ceil(longest / lines)
  rows = [
    (name, frames[first : first + columns], first)
    for first in range(0, longest, columns)
    for name, frames in strips
  ]
  frame = (WIDTH - 1.4) / columns
  with figure_file(path, len(rows) * (frame + 0.08) + 0.5, title) as figure:
    panels = figure.subplots(len(rows), squeeze=False)[:, 0]
    for i, (name, frames, first) in enumerate(rows):
      # Clips of different lengths show different frames.
      numbered = not same or (i + 1) % len(strips) == 0
      numbers = first + 1 + np.arange(len(frames)) if numbered else []
      _draw_strip(panels[i], enlarge(frames), columns, numbers)
      fitting = max(1, round(frame / 0.12) - name.count('\n'))
      label = escape_mathtext(wrap(name, _LABEL, fitting))
      panels[i].set_ylabel(label, rotation=0, ha='right', va='center')
    gradient = np.linspace(0, 1, 256)
    colors = ListedColormap(_blend(np.full_like(gradient, 0.3), gradient))
    figure.colorbar(
      ScalarMappable(cmap=colors), ax=panels, label='heat, of the maximum'
    )


def _draw_strip(
  axes: Axes, frames: np.ndarray, columns: int, numbers: Sequence[int]
) -> None:
  """Draws frames in one line, and numbers below the first of them."""
  width = frames.shape[2]
  gap = round(_GAP * width)
  padding = (0, columns - len(frames)), (0, 0), (0, gap), (0, 0)
  padded = np.pad(frames, padding, constant_values=255)
  axes.imshow(np.concatenate(list(padded), axis=1)[:, :-gap])
  axes.spines[:].set_visible(False)
  axes.tick_params(length=0, pad=1.5)
  axes.set_yticks([])
  places = np.arange(len(numbers)) * (width + gap) + width / 2 - 0.5
  axes.set_xticks(places, numbers)


def show(
  axes: Axes, image: np.ndarray, grid: tuple[int, int], **options
) -> AxesImage:
  """Shows an image with white lines between the cells of a grid."""
  axes.set_xticks([])
  axes.set_yticks([])
  height, width = image.shape[:2]
  for i in range(1, grid[0]):
    axes.axhline(i * height / grid[0] - 0.5, color='white', linewidth=0.7)
  for i in range(1, grid[1]):
    axes.axvline(i * width / grid[1] - 0.5, color='white', linewidth=0.7)
  return axes.imshow(image, **options)
