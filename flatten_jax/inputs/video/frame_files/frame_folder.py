# SPDX-License-Identifier: Apache-2.0
"""Reads videos that are folders, or zip files, of images: a file per frame.

Only wanted frames are opened, after one listing of the folder.
"""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import lzma
import os
import zipfile
import zlib

import numpy as np

from flatten_jax.inputs.video import frame_times, running_time
from flatten_jax.inputs.video.container import (
  VideoError,
  VideoTimeout,
  describe,
)
from flatten_jax.inputs.video.frame_files import still_images
from flatten_jax.inputs.video.frame_files.frame_names import (
  is_zip,
  list_folder,
  order_frames,
)
from flatten_jax.inputs.video.interface import OpenVideo, Size

FPS = 25.0  # If no list tells the rate: MMAction2's, and that of most videos.


@dataclasses.dataclass(frozen=True, slots=True)
class FramesPath:
  """A folder or zip file with the frames of a video; an `os.PathLike`."""

  path: str
  fps: float = 0.0  # 0: unknown
  skip: int = 0  # frames before the first of the video
  claimed: int | None = None  # frames from there on; None: all

  def __fspath__(self) -> str:
    return self.path

  def __str__(self) -> str:
    return self.path

  @property
  def name(self) -> str:
    """Name of the video: the folder's, or the file's without '.zip'."""
    name = os.path.basename(self.path)
    return name[: -len('.zip')] if is_zip(name) else name


class FrameFolder(OpenVideo):
  """An open folder or zip file with the frames of one video."""

  def __init__(
    self,
    path: FramesPath,
    size: Size = None,
    time_limit: float = 0.0,
  ):
    super().__init__(path, size, time_limit)
    self._shape: tuple[int, int] | None = None
    self.fps = path.fps or FPS
    self._archive: zipfile.ZipFile | None = None
    self._frames = self._limit.call(self._list)

  def _list(self) -> list[str]:
    with self._errors():
      if os.path.isdir(self._path):
        names = list_folder(self._path.path)
      else:
        self._archive = zipfile.ZipFile(self._path)
        names = self._archive.namelist()
    try:
      frames = order_frames(names)
    except ValueError as error:
      raise VideoError(self._path.path, str(error)) from None
    claimed = self._path.claimed
    if claimed is not None and claimed < 1:
      raise VideoError(self._path.path, f'its list claims {claimed} frames')
    if not (frames := frames[self._path.skip :][:claimed]):
      raise VideoError(self._path.path, f'no frames after {self._path.skip}')
    return frames

  @property
  def num_frames(self) -> int:
    """Number of frames; at most that of a list."""
    return len(self._frames)

  @property
  def times(self) -> np.ndarray:
    """When frames are shown, see `frame_times`."""
    return frame_times.uniform(self.num_frames, self.fps)

  def decode(self, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frames and their numbers, see `OpenVideo`."""
    for number in wanted:
      if running_time.now() > self._limit.deadline:
        cause = 'reading takes too long (data.time_limit)'
        raise VideoTimeout(self._path.path, cause)
      name = self._frames[number]
      with self._errors(name):
        encoded = self._load(name)
      image = still_images.decode(encoded, self._size)
      if image is None:
        cause = f'{name} is {"damaged" if encoded else "empty"}'
        raise VideoError(self._path.path, cause)
      height, width = image.shape[:2]
      self._shape = self._shape or (height, width)
      if (height, width) != self._shape:
        cause = (
          f'{name} has {width} x {height} pixels and other frames '
          f'{self._shape[1]} x {self._shape[0]}; a video has one size'
        )
        raise VideoError(self._path.path, cause)
      yield number, image

  def _load(self, name: str) -> bytes:
    if self._archive:
      return self._archive.read(name)
    with open(os.path.join(self._path.path, name), 'rb') as file:
      return file.read()

  @contextlib.contextmanager
  def _errors(self, frame: str = '') -> Iterator[None]:
    """Raises a VideoError for errors of the disk and of zip files."""
    try:
      yield
    except (
      *(OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
      *(RuntimeError, ValueError),  # Encrypted; names that are not UTF-8.
    ) as error:
      cause = ': '.join(filter(None, (frame, describe(error))))
      raise VideoError(self._path.path, cause) from error

  def close(self) -> None:
    """Closes a zip file, unless its reader is stuck."""
    if self._archive and not self._limit.busy:
      self._archive.close()
