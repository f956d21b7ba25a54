# SPDX-License-Identifier: Apache-2.0
"""The interface of an open video, and a video with all frames in memory."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses

import numpy as np

from flatten_jax.inputs.video.container import VideoPath, name_of
from flatten_jax.inputs.video.time_limit import TimeLimit

# Of frames, in pixels: their shorter side, or (height, width); None: their own.
Size = int | tuple[int, int] | None


class FloorSide(int):
  """A shorter side of frames whose longer side is rounded down, not to even."""


class LargestSide(int):
  """The largest shorter side, and a fourth of the largest longer one; even.

  Smaller frames keep their size.
  """


def scaled_shape(shape: tuple[int, int], size: Size) -> tuple[int, int]:
  """Returns the height and width of frames that are resized.

  Args:
    shape: height and width as they are.
    size: that is wanted.
  """
  if not size or isinstance(size, tuple):
    return size or shape
  least = min(shape)
  if isinstance(size, LargestSide):
    scale = min(1, size / least, 4 * size / max(shape))
    return tuple(max(2 * round(x * scale / 2), 2) for x in shape)
  if isinstance(size, FloorSide):
    return tuple(int(size) if x == least else size * x // least for x in shape)
  # Even sizes are converted faster.
  return tuple(
    size if x == least else 2 * round(x * (size / least) / 2) for x in shape
  )


class OpenVideo(contextlib.AbstractContextManager):
  """An open video; close it, or use it in a `with`.

  Resizes frames to `size`. All reading may take `time_limit` seconds, 0 for no
  limit. Raises VideoError if the video cannot be read.
  """

  num_frames: int  # A damaged file may claim too many.
  fps: float  # The average; 0 if unknown.
  times: np.ndarray | None  # see `frame_times`; None if the file tells not
  # True if a frame so far depends on where decoding began: it was repaired, or
  # does not tell the size and orientation of the first.
  depends_on_clip = False

  def __init__(
    self,
    path: VideoPath,
    size: Size = None,
    time_limit: float = 0.0,
  ):
    self._path, self._size = path, size
    self._limit = TimeLimit(time_limit, path)

  def read(self, frames: Sequence[int]) -> np.ndarray:
    """Decodes frames [T], in any order. -> uint8 [T H W 3] RGB, upright,
    or other channels of a video of optical flow.

    Raises:
      FrameCountCorrected: the file is damaged; frames must be chosen again.
      VideoError: a frame cannot be decoded, or not in time.
      IndexError: a number is not in the video.
    """
    return self._limit.call(self._read, np.asarray(frames, np.int64))

  def _read(self, frames: np.ndarray) -> np.ndarray:
    wanted = np.unique(frames).tolist()
    if not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
      raise IndexError(
        f'Frames {wanted[0]} to {wanted[-1]} were asked of '
        f'{name_of(self._path)}, which has {self.num_frames}.'
      )
    clip = None
    for number, image in self.decode(wanted):
      if clip is None:
        clip = np.empty((len(frames), *image.shape), np.uint8)
      clip[frames == number] = image
    return clip

  def decode(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frames and their numbers, for callers that limit the time.

    `wanted` is ascending, without repetition. Images, uint8 [H W 3], may share
    the decoder's memory. Raises VideoError as `read` does.
    """
    raise NotImplementedError

  def close(self) -> None:
    """Frees the decoder, unless it is stuck."""

  def __exit__(self, *_) -> None:
    self.close()


@dataclasses.dataclass(frozen=True)
class DecodedVideo(OpenVideo):
  """A video with all frames in memory; a still image is one of one frame."""

  frames: np.ndarray  # uint8 [N H W C]
  fps: float = 0.0
  times: np.ndarray | None = None

  @property
  def num_frames(self) -> int:
    """Number of frames."""
    return len(self.frames)

  def read(self, frames: Sequence[int]) -> np.ndarray:
    """Returns frames by their numbers [T] -> uint8 [T H W 3]."""
    return self.frames[np.asarray(frames)]
