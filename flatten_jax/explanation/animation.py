# SPDX-License-Identifier: Apache-2.0
"""Animations of clips side by side, as GIF and as MP4."""

from collections.abc import Sequence
import math
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flatten_jax.explanation.figures import enlarge
from flatten_jax.inputs.video.encode import write_video
from flatten_jax.text import font_file, sanitize, wrap

_FPS = 4
_SIDE = 192  # px, smallest side of a frame
_SIZE = 13  # px, of letters
_MARGIN = 4  # px, around the title
_GAP = 8  # px


def write_animation(
  path: str | pathlib.Path, clips: Sequence[np.ndarray], title: str
) -> None:
  """Writes `path`.gif and `path`.mp4: clips of one size side by side.

  The title is above them, after the number of the frame.
  """
  clips = [enlarge(clip, _SIDE) for clip in clips]
  height, width = clips[0].shape[1:3]
  title = f'/{len(clips[0])}  {sanitize(title)}'
  font = ImageFont.truetype(font_file(title), _SIZE)
  letter = font.getlength(title) / len(title)
  letters = int(0.9 * len(clips) * (width + _GAP) / letter)
  title = wrap(title, letters - 2)
  measure = ImageDraw.Draw(Image.new('L', (1, 1))).multiline_textbbox
  place = _MARGIN, _MARGIN
  head = math.ceil(measure(place, f'0{title}', font)[3]) + _MARGIN
  # H.264 takes even sides only.
  padding = (0, 0), (head, (head + height) % 2), (0, _GAP + width % 2), (0, 0)
  padded = [np.pad(clip, padding, constant_values=255) for clip in clips]
  images = [Image.fromarray(x) for x in np.concatenate(padded, axis=2)]
  for number, image in enumerate(images, start=1):
    ImageDraw.Draw(image).text(place, f'{number}{title}', 'black', font)
  write_video(f'{path}.mp4', np.stack([np.asarray(x) for x in images]), _FPS)
  # This method keeps the colours of small objects.
  first, *others = (
    image.quantize(method=Image.Quantize.MAXCOVERAGE) for image in images
  )
  first.save(
    f'{path}.gif',
    save_all=True,
    append_images=others,
    duration=1000 // _FPS,
    loop=0,
  )
