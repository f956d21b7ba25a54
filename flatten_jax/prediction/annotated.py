# SPDX-License-Identifier: Apache-2.0
"""Videos with their answers drawn into them."""

from collections.abc import Callable
import functools
import logging
import pathlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.rewrite import rewrite
from flatten_jax.prediction.chosen_classes import TopClasses
from flatten_jax.prediction.results import Prediction
from flatten_jax.text import font_file, sanitize, wrap

log = logging.getLogger('flatten_jax')

_SMALLEST = 10  # px, of letters
_SHARE = 1 / 20  # Of the shorter side, for larger frames.
_MAX_LINES = 4
_SHADE = 160  # Of 255: how much of the picture black covers below the text.


def write(folder: pathlib.Path, record: Record, prediction: Prediction) -> bool:
  """Writes <video>.mp4 into `folder`, or <video>.avi.mp4 of another format.

  The answer is at the bottom; with a timeline, that of the present window. A
  video that cannot be read again is a line of the log, and returns False.
  """
  suffix = '' if prediction.video.endswith('.mp4') else '.mp4'
  path = folder / f'{prediction.video}{suffix}'
  text_at = captions(prediction)
  try:
    rewrite(record.path, path, lambda image, at: draw(image, text_at(at)))
  except VideoError as error:
    log.warning('%s is not written again: %s', record.id, error.cause)
    return False
  return True


def captions(prediction: Prediction) -> Callable[[float], str]:
  """Returns a function of seconds that returns the text to show."""
  whole, timeline = _lines(prediction.labels), prediction.timeline
  if timeline is None:
    return lambda seconds: whole
  texts = [_lines(timeline.labels(row)) for row in range(len(timeline.seconds))]
  starts = timeline.seconds[:, 0]

  def text_at(seconds: float) -> str:
    row = max(int(np.searchsorted(starts, seconds + 1e-6, 'right')) - 1, 0)
    return texts[row]

  return text_at


def _lines(classes: TopClasses) -> str:
  """Returns a line for each class."""
  lines = [f'{sanitize(name)} {share:.0%}' for name, share in classes]
  return '\n'.join(lines) or 'no class'


def draw(image: np.ndarray, text: str) -> np.ndarray:
  """Draws text over the bottom of a frame, uint8 [H W 3], in place."""
  covered, ink = _label(text, *image.shape[:2])
  height, width = ink.shape[:2]
  area = image[-height:, :width]
  area[:] = np.round(area * (1 - covered) + ink)
  return image


@functools.lru_cache(maxsize=64)
def _label(text: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Renders text for a frame: how much it covers [h w 1], its colors [h w 3].

  The letters are white on dark, with an outline: no background hides them.
  """
  size = max(_SMALLEST, round(_SHARE * min(height, width)))
  font = ImageFont.truetype(font_file(text), size)
  margin = size // 3
  given: dict[str, Any] = {
    'font': font,
    'spacing': size // 5,
    'stroke_width': max(1, size // 16),
  }
  text, box = _wrapped(text, width - 2 * margin, given)
  shape = (
    min(width, int(box[2] - box[0]) + 2 * margin),
    min(height, int(box[3] - box[1]) + 2 * margin),
  )
  label = Image.new('RGBA', shape, (0, 0, 0, _SHADE))
  place = margin - box[0], margin - box[1]
  ImageDraw.Draw(label).multiline_text(
    place, text, 'white', stroke_fill='black', **given
  )
  pixels = np.asarray(label, np.float32)
  covered = pixels[..., 3:] / 255
  return covered, pixels[..., :3] * covered


def _wrapped(
  text: str, width: int, given: dict[str, Any]
) -> tuple[str, tuple[float, float, float, float]]:
  """Breaks text into lines of at most `width` pixels. -> it, and its box."""
  measure = ImageDraw.Draw(Image.new('RGBA', (1, 1))).multiline_textbbox
  letters = max(map(len, text.split('\n')))
  while True:
    lines = wrap(text, letters).split('\n')
    if len(lines) > _MAX_LINES:
      lines = [*lines[: _MAX_LINES - 1], '\N{HORIZONTAL ELLIPSIS}']
    box = measure((0, 0), '\n'.join(lines), **given)
    if box[2] - box[0] <= width or letters <= 3:
      return '\n'.join(lines), box
    letters -= 1
