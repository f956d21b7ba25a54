# SPDX-License-Identifier: Apache-2.0
"""A clip beside its heat, moving: as GIF for pages, as MP4 for everything."""

from collections.abc import Sequence
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flatten_jax.inputs.video.encode import write_video
from flatten_jax.text import sanitize

_FPS = 4
_SIDE = 192  # px, of a frame, or more
_HEAD = 22  # px, for a line of text
_GAP = 8  # px


def write_animation(
  path: str | pathlib.Path, clips: Sequence[np.ndarray], title: str
) -> None:
  """Writes `path`.gif and `path`.mp4, four frames a second.

  Args:
    path: without suffix.
    clips: what to show side by side, uint8 [T H W 3] each, of equal T.
    title: above them, beside the number of the frame.
  """
  height = max(_SIDE, *(clip.shape[1] for clip in clips))
  pictures = [
    _picture(
      [_sized(x, height) for x in frames], f'{i}/{len(clips[0])}  {title}'
    )
    for i, frames in enumerate(zip(*clips, strict=True), start=1)
  ]
  first, *others = (
    # Small things keep their colours.
    Image.fromarray(x).quantize(method=Image.Quantize.MAXCOVERAGE)
    for x in pictures
  )
  first.save(
    f'{path}.gif',
    save_all=True,
    append_images=others,
    duration=1000 // _FPS,
    loop=0,
  )
  write_video(f'{path}.mp4', np.stack(pictures), _FPS)


def _sized(image: np.ndarray, height: int) -> np.ndarray:
  """Scaled to a height, with an even width: H.264 takes no other."""
  width = 2 * round(image.shape[1] * height / image.shape[0] / 2)
  scaled = Image.fromarray(image).resize((width, height))
  return np.asarray(scaled)


def _picture(images: list[np.ndarray], text: str) -> np.ndarray:
  """Images side by side under a line of text. -> uint8 [H W 3]."""
  height = images[0].shape[0]
  width = sum(x.shape[1] + _GAP for x in images) - _GAP
  sheet = Image.new('RGB', (width, height + height % 2 + _HEAD), 'white')
  left = 0
  for image in images:
    sheet.paste(Image.fromarray(image), (left, _HEAD))
    left += image.shape[1] + _GAP
  draw = ImageDraw.Draw(sheet)
  draw.text((4, 4), sanitize(text), 'black', ImageFont.load_default(13))
  return np.asarray(sheet)
