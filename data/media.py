# SPDX-License-Identifier: Apache-2.0
"""Checks videos before they are stored, or has them encoded."""

import dataclasses
import os

from data.encoding import encode, encode_frames
from flatten_jax.inputs.video.container import (
  VideoError,
  describe,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import decode_from_start
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath

CHECKS = ('none', 'first', 'all')
# Records are protocol buffers, which end at 2 GiB.
LARGEST = 2**31 - 2**16


@dataclasses.dataclass(frozen=True)
class LoadedVideo:
  """A video file in memory."""

  path: str
  data: bytes = dataclasses.field(repr=False)

  @property
  def suffix(self) -> str:
    """Suffix of the file name."""
    return os.path.splitext(self.path)[1]

  def __str__(self) -> str:
    return self.path

  def read(self) -> bytes:
    """Returns the bytes of the file."""
    return self.data


@dataclasses.dataclass(frozen=True)
class Treatment:
  """Converts a video file, or a folder of frames, to the bytes to store.

  Attributes:
    check: frames to decode before it is stored: 'none', the 'first' or 'all'.
    short_side: in pixels; larger videos are scaled down and re-encoded as H.264
      without sound. 0 stores the file's own bytes; frames are encoded in
      their own size.
    gop: greatest distance of keyframes, in frames.
    crf: quality in x264's scale: less is better, 18 is nearly lossless.
  """

  check: str = 'first'
  short_side: int = 0
  gop: int = 12
  crf: int = 20

  def __post_init__(self):
    if self.check not in CHECKS:
      raise ValueError(f'check is one of {CHECKS}, not {self.check!r}.')
    if self.short_side < 0 or self.gop < 1 or not 0 <= self.crf <= 51:
      raise ValueError(
        'Expected short_side >= 0, gop >= 1 and crf in 0 to 51, got '
        f'{self.short_side}, {self.gop} and {self.crf}.'
      )

  @property
  def encoder(self) -> dict[str, str]:
    """Options of x264."""
    return {'crf': str(self.crf), 'g': str(self.gop), 'preset': 'fast'}

  def __call__(self, path: str | FramesPath) -> tuple[bytes, str]:
    """Returns the bytes to store, and their suffix.

    Raises:
      VideoError: the file cannot be read, or holds no frame.
    """
    if isinstance(path, FramesPath):
      return encode_frames(path, self.short_side, self.encoder), '.mp4'
    if os.path.exists(path) and not os.path.isfile(path):
      raise VideoError(path, 'not a file')  # Opening a pipe would wait forever.
    try:
      size = os.path.getsize(path)
      if size > LARGEST:
        raise VideoError(path, f'{size} bytes are more than a record can hold')
      with open(path, 'rb') as file:
        video = LoadedVideo(path, file.read())
    except OSError as error:
      raise VideoError(path, describe(error)) from error
    if not video.data:
      raise VideoError(path, 'the file is empty')
    if self.short_side:
      return encode(video, self.short_side, self.encoder), '.mp4'
    if self.check != 'none':
      decode(video, whole=self.check == 'all')
    return video.data, video.suffix


def decode(video: LoadedVideo, whole: bool) -> None:
  """Decodes the first frame, or all of them.

  Raises:
    VideoError: there is no frame, or one of all frames is damaged.
  """
  with open_video(video) as opened:
    frames = decode_from_start(opened)
    if next(frames, None) is None:
      raise VideoError(str(video), 'no frame')
    if whole:
      for _ in frames:
        pass
