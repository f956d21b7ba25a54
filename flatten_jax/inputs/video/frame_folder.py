# SPDX-License-Identifier: Apache-2.0
"""Reads videos that are folders, or zip files, of images: a file per frame.

Only wanted frames are opened, after one listing of the folder.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import os
import re
import time
import zipfile
import zlib

import numpy as np

from flatten_jax.inputs.video import frame_times, still_images
from flatten_jax.inputs.video.container import (
  VideoError,
  VideoTimeout,
  describe,
)
from flatten_jax.inputs.video.time_limit import TimeLimit

FPS = 25.0  # If no list tells the rate: MMAction2's, and that of most videos.
EXPECTED = 'expected a folder or zip file of images like img_00001.jpg'


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


class FrameFolder(contextlib.AbstractContextManager):
  """An open folder or zip file of frames, with the methods of `Video`.

  All reading may take `time_limit` seconds, 0 for no limit. Raises VideoError
  if there are no frames, or those of several videos.
  """

  def __init__(
    self,
    path: FramesPath,
    short_side: int | None = None,
    time_limit: float = 0.0,
  ):
    self._path, self._short_side = path, short_side
    self._shape: tuple[int, int] | None = None
    self._limit = TimeLimit(time_limit, path)
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

  def read(self, frames: Sequence[int]) -> np.ndarray:
    """Reads frames [T], in any order. -> uint8 [T H W 3] RGB, upright.

    Raises:
      VideoError: a frame is damaged, of another size, or not read in time.
      IndexError: a number is not in the video.
    """
    return self._limit.call(self._read, np.asarray(frames, np.int64))

  def _read(self, frames: np.ndarray) -> np.ndarray:
    wanted, places = np.unique(frames, return_inverse=True)
    if not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
      raise IndexError(
        f'Frames {wanted[0]} to {wanted[-1]} were asked of {self._path}, which '
        f'has {self.num_frames}.'
      )
    images = [image for _, image in self.decode(wanted.tolist())]
    return np.stack([images[place] for place in places.ravel()])

  def decode(self, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frames, uint8 [H W 3], and their numbers, as `wanted`.

    Raises VideoError as `read` does.
    """
    for number in wanted:
      if time.monotonic() > self._limit.deadline:
        cause = 'reading takes too long (data.time_limit)'
        raise VideoTimeout(self._path.path, cause)
      name = self._frames[number]
      with self._errors(name):
        encoded = self._load(name)
      image = still_images.decode(encoded, self._short_side)
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
      *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
      RuntimeError,  # Encrypted.
    ) as error:
      cause = ': '.join(filter(None, (frame, describe(error))))
      raise VideoError(self._path.path, cause) from error

  def close(self) -> None:
    """Closes a zip file, unless its reader is stuck."""
    if self._archive and not self._limit.busy:
      self._archive.close()

  def __exit__(self, *_) -> None:
    self.close()


def is_zip(name: str) -> bool:
  """Checks whether a file is named like a zip file."""
  return name.lower().endswith('.zip')


def is_frame(name: str) -> bool:
  """Checks whether a file is named like a frame: an image with a number."""
  base = name.rpartition('/')[2]
  numbered = NUMBER.search(base) and not base.startswith('.')
  return bool(numbered) and still_images.is_image(base)


def has_frames(path: str) -> bool:
  """Checks whether a zip file contains frames, or is damaged."""
  try:
    with zipfile.ZipFile(path) as archive:
      return any(map(is_frame, archive.namelist()))
  except (OSError, zipfile.BadZipFile):
    return True


def list_folder(folder: str) -> list[str]:
  """Lists a folder, or its subfolders if these hold the frames."""
  names = os.listdir(folder)
  if any(map(is_frame, names)):
    return names
  inner = [name for name in names if os.path.isdir(os.path.join(folder, name))]
  return [
    f'{name}/{file}'
    for name in inner[:8]  # 'rgb', 'flow_x', 'flow_y' and the like.
    for file in os.listdir(os.path.join(folder, name))
  ]


# --- The frames among the files of a folder -----------------------------------

NUMBER = re.compile(r'\d+(?:\.\d+)*')  # With dots: seconds, as in TUM's sets.
# Images of other kinds that may lie next to frames.
OTHER = re.compile(
  r'(^|[/_. -])(flow|tvl1|depth|masks?|warp|thumb(nail)?s?|covers?|posters?)'
  r'([/_. \d-]|$)|(^|/)[xyuv][_/]?\d|(^|/)__macosx/'
)
FRAME = re.compile(r'(^|/)(im(g|age)?|frame|rgb|colou?r)s?([/_. \d-]|$)|^\d')


def order_frames(names: Iterable[str]) -> list[str]:
  """Chooses the frames of a video among the names of files, and sorts them.

  They are images whose names differ in numbers only: img_00001.jpg, frame1.png,
  7.webp. Raises ValueError if there are none, or if several videos have some.
  """
  images = [name for name in names if is_frame(name)]
  if not images:
    raise ValueError(f'there are no frames in it; {EXPECTED}')
  images = [name for name in images if not OTHER.search(name.lower())] or images
  groups = collections.defaultdict(list)
  for image in images:
    stem = os.path.splitext(image.lower())[0]
    groups[NUMBER.sub('#', stem)].append(image)
  found = [part for group in groups.values() for part in sequences(group)]
  # Single images are something else if there is a sequence.
  found = [s for s in found if len(s) > 1] or found
  if len(found) > 1:
    found = [s for s in found if FRAME.search(s[0].lower())] or found
  if len(found) > 1:
    examples = ', '.join(f'{s[0]} ({len(s)} images)' for s in found[:3])
    raise ValueError(
      f'it holds the frames of {len(found)} videos: {examples}'
      f'{", ..." * (len(found) > 3)}; expected a folder for each'
    )
  return found[0]


def sequences(images: list[str]) -> list[list[str]]:
  """Sorts images, whose names differ in numbers only, by one of these.

  Images without a number of their own are divided by all but the last number
  that varies.
  """
  numbers = {  # With dots, 1.10 follows 1.9.
    image: [
      tuple(map(int, text.split('.')))
      for text in NUMBER.findall(os.path.splitext(image)[0])
    ]
    for image in images
  }
  columns = list(zip(*numbers.values(), strict=True))
  varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
  for i in varying:
    if len(set(columns[i])) == len(images):
      return [sorted(images, key=lambda image: numbers[image][i])]
  groups = collections.defaultdict(list)
  for image in images:
    others = list(numbers[image])
    number = others.pop(varying[-1]) if varying else ()
    kind = os.path.splitext(image.lower())[1]
    groups[kind, *others].append((number, image))
  return [[image for _, image in sorted(group)] for group in groups.values()]
