# SPDX-License-Identifier: Apache-2.0
"""Reads with OpenCV what PyAV could not: another build of the same libraries.

On all healthy 8-bit files that were tried, frames equal those of `read_clip` to
the bit, where pixels are square. It is slower: every frame is decoded twice,
first to count them.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import os
import time

import cv2
import numpy as np

from flatten_jax.inputs.augment.transforms import resize
from flatten_jax.inputs.video.container import (
  StoredVideo,
  VideoError,
  VideoPath,
  VideoTimeout,
)

# Read when a video is opened. A playlist must not lead to other places, and
# what FFmpeg thinks of a damaged file is not for the console.
SETTINGS = {
  'OPENCV_FFMPEG_CAPTURE_OPTIONS': 'protocol_whitelist;file',
  'OPENCV_FFMPEG_LOGLEVEL': '-8',
}


def read_clip(
  path: VideoPath,
  choose: Callable[[int, float], Sequence[int]],
  short_side: int | None = None,
  deadline: float = float('inf'),
) -> np.ndarray:
  """Like `decoding.read_clip`: the same arguments, errors and result."""
  with open_capture(path) as capture:
    count = sum(1 for _ in grabbed(capture, path, deadline))
    fps = capture.get(cv2.CAP_PROP_FPS)
  if not count:
    raise VideoError(str(path), 'OpenCV finds no frame')
  index = np.asarray(choose(count, fps), np.int64)
  last, clip = index.max(), None
  with open_capture(path) as capture:
    stretch = stretch_of(capture)
    for number in grabbed(capture, path, deadline):
      if number in index:
        readable, frame = capture.retrieve()
        if not readable:
          break
        frame = upright(frame, stretch, short_side)
        if clip is None:
          clip = np.empty((len(index), *frame.shape), np.uint8)
        clip[index == number] = frame
      if number == last:
        return clip
  raise VideoError(str(path), f'OpenCV cannot read frame {last} again')


@contextlib.contextmanager
def open_capture(path: VideoPath) -> Iterator[cv2.VideoCapture]:
  """Opens a video with OpenCV's FFmpeg; gives a VideoError where it cannot."""
  for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  if isinstance(path, StoredVideo):
    source = io.BytesIO(path.read())
  else:
    check_name(path)
    source = f'file:{os.fspath(path)}'  # A name may hold colons.
  options = [cv2.CAP_PROP_N_THREADS, 1]
  try:
    capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, options)
  except cv2.error as error:
    raise VideoError(str(path), f'OpenCV: {error.err}') from error
  try:
    if not capture.isOpened():
      raise VideoError(str(path), 'OpenCV cannot open it')
    yield capture
  finally:
    capture.release()


def check_name(path: VideoPath) -> None:
  """Refuses a name over which OpenCV crashes, and the whole process with it."""
  try:
    os.fspath(path).encode()
  except UnicodeEncodeError:
    raise VideoError(str(path), 'OpenCV takes UTF-8 names only') from None


def grabbed(
  capture: cv2.VideoCapture, path: VideoPath, deadline: float
) -> Iterator[int]:
  """Goes from frame to frame, and says the number of each."""
  number = 0
  while capture.grab():
    if time.monotonic() > deadline:
      raise VideoTimeout(str(path), 'OpenCV takes too long')
    yield number
    number += 1


def stretch_of(capture: cv2.VideoCapture) -> tuple[float, float]:
  """By what to multiply height and width, so that pixels become square."""
  numerator = capture.get(cv2.CAP_PROP_SAR_NUM)
  denominator = capture.get(cv2.CAP_PROP_SAR_DEN)
  aspect = numerator / denominator if numerator and denominator else 1.0
  if not 1 / 8 < aspect < 8:  # Nonsense.
    return 1.0, 1.0
  # OpenCV has turned the frames upright; the aspect is that of before.
  turned = capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90
  return (aspect, 1.0) if turned else (1.0, aspect)


def upright(
  frame: np.ndarray, stretch: tuple[float, float], short_side: int | None
) -> np.ndarray:
  """BGR as decoded -> RGB with square pixels, [H W 3]."""
  height, width = (
    max(1, round(size * factor))
    for size, factor in zip(frame.shape[:2], stretch, strict=True)
  )
  if short_side:
    scale = short_side / min(width, height)
    height, width = (
      short_side if x == min(width, height) else 2 * round(x * scale / 2)
      for x in (height, width)
    )
  if (height, width) != frame.shape[:2]:
    frame = resize(frame[None], (height, width))[0]
  return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
