# SPDX-License-Identifier: Apache-2.0
"""Pictures of an answer: the flattened clip, its heat, and small animations."""

import base64
import io

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flatten_jax.demo.answers import Answer
from flatten_jax.explanation import figures

SIDE = 480  # px, about that of a flattened picture
_LOOP_SIDE = 160  # px, of an animation
_LOOP_SECONDS = 1.8


def flattened(answer: Answer, frames: np.ndarray) -> np.ndarray:
  """Draws the clip, or its heat, as one image with numbered frames.

  Args:
    answer: whose layout it is.
    frames: in the order of the clip, uint8 [T h w 3].

  Returns:
    uint8 [H W 3]: enlarged without smoothing, with light lines between frames.
  """
  rows, columns = answer.grid
  clip = figures.enlarge(answer.clip, SIDE // max(rows, columns))
  height, width = clip.shape[1:3]  # Heat may be of another size.
  frames = np.stack([_resize(frame, (width, height)) for frame in frames])
  image = Image.fromarray(answer.flattened(frames))
  draw, font = ImageDraw.Draw(image, 'RGBA'), ImageFont.load_default(20)
  cells = range(len(frames)) if answer.cells is None else answer.cells
  for place, number in enumerate(cells):
    row, column = divmod(place, columns)
    x, y = column * width, row * height
    draw.rectangle((x, y, x + width - 1, y + height - 1), outline='#ffffffb0')
    if len(frames) > 1:
      box = draw.textbbox((x + 6, y + 4), str(number + 1), font)
      draw.rectangle(
        (box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), '#000000a0'
      )
      draw.text((x + 6, y + 4), str(number + 1), 'white', font)
  return np.asarray(image)


def _resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes a frame; to a multiple of its size without smoothing."""
  whole = size[0] % frame.shape[1] == 0
  interpolation = cv2.INTER_NEAREST if whole else cv2.INTER_LINEAR
  return cv2.resize(frame, size, interpolation=interpolation)


def loop(frames: np.ndarray) -> str:
  """Returns frames [T h w 3] as an animation, the data URL of a WebP file."""
  images = [Image.fromarray(x) for x in figures.enlarge(frames, _LOOP_SIDE)]
  file = io.BytesIO()
  step = round(1000 * _LOOP_SECONDS / len(images))
  # The last frame rests, so that the beginning is seen.
  durations = [*[step] * (len(images) - 1), 3 * step]
  images[0].save(
    file,
    'WEBP',
    save_all=True,
    append_images=images[1:],
    duration=durations,
    loop=0,
    quality=85,
  )
  data = base64.b64encode(file.getvalue()).decode()
  return f'data:image/webp;base64,{data}'
