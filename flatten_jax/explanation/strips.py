# SPDX-License-Identifier: Apache-2.0
"""Frames side by side with heat over them, as one would print it in a paper."""

from collections.abc import Sequence
import dataclasses
import math
import pathlib

import cv2
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from flatten_jax.text import escape_mathtext

WIDTH = 7.2  # inches, of a page with two columns
FONT = {'font.size': 7, 'axes.titlesize': 7, 'savefig.dpi': 200}
_GAP = 0.05  # between frames, in frame sides
_SIDE = 96  # px that a frame has in a picture, or more
_MOST = 9  # frames side by side


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
  width = WIDTH - left - right
  frame = width / (columns + _GAP * (columns - 1))
  block = len(strips) * (frame + line) + space
  height = top + len(blocks) * block
  with rc_context(FONT):
    figure = Figure(figsize=(WIDTH, height))
    heading = escape_mathtext(title)
    figure.text(0.01, 1 - 0.15 / height, heading, va='center', fontsize=8)
    for i, block_strips in enumerate(blocks):
      for j, strip in enumerate(block_strips):
        y = height - top - i * block - j * (frame + line) - frame
        box = left / WIDTH, y / height, width / WIDTH, frame / height
        axes = figure.add_axes(box)
        # Where strips differ in length, each has numbers of its own.
        numbered = j + 1 == len(strips) or len(counts) > 1
        _draw_strip(axes, strip, columns, i * columns if numbered else None)
    low, tall = 0.5 * min(0.3, 1 / height), 1 - 0.3 / height
    box = 1 - 0.5 / WIDTH, low, 0.09 / WIDTH, min(tall - low, 1.6 / height)
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
  name = escape_mathtext(strip.name)
  axes.set_ylabel(name, rotation=0, ha='right', va='center', labelpad=4)
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
