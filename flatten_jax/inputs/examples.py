# SPDX-License-Identifier: Apache-2.0
"""Makes one training clip, or all test clips of one video: read, sample, crop.

Both are values that are called with a position, so that threads and worker
processes can make any of them, in any order, with the same result.
"""

from collections.abc import Callable
import dataclasses
import functools

import grain
import numpy as np

from flatten_jax.inputs import sampling
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.read import VideoError, read_clip
from flatten_jax.inputs.video.reader import Reader

ERROR_BYTES = 200
MAX_REPLACEMENTS = 1000  # Videos tried for one clip before a run gives up.


@dataclasses.dataclass(frozen=True)
class Slots:
  """Which positions of the one global order belong to this process.

  Batch k of `count` processes is the batch k of a single one, cut in pieces.
  """

  batch_size: int  # of this process, in videos
  process: int = 0
  count: int = 1

  def position(self, i: int) -> int:
    """Where this process's i-th clip stands in the global order."""
    batch, slot = divmod(i, self.batch_size)
    return (batch * self.count + self.process) * self.batch_size + slot


@dataclasses.dataclass(frozen=True)
class TrainClip:
  """The training clip at any position of an endless order.

  Every epoch has all videos in a new order, `data.repeated_aug` clips of
  each in a row. A clip's randomness comes from (seed, position, which of these
  clips), so it is the same wherever and whenever it is made.
  """

  videos: Videos
  data: dict
  seed: int
  slots: Slots
  order: grain.MapDataset
  transforms: list
  reader: Reader

  @classmethod
  def create(cls, videos: Videos, data, seed: int, slots: Slots) -> 'TrainClip':
    """From `config.data`, a dict or ConfigDict."""
    order = grain.MapDataset.range(len(videos)).seed(seed).shuffle().repeat()
    steps = transforms.train_transforms(data)
    reader = Reader(
      data, data['frame_cache_gib'], video_index.find(videos, data)
    )
    return cls(videos, dict(data), seed, slots, order, steps, reader)

  def __call__(self, i: int) -> dict[str, np.ndarray]:
    """This process's i-th clip, as `pipeline.train_batches` describes it."""
    i, copy = divmod(i, self.data['repeated_aug'])
    position = self.slots.position(i)
    rng = np.random.default_rng((self.seed, position, copy))
    index = first = int(self.order[position])
    try:
      clip, failed, error = self.make(index, rng), -1, ''
    except VideoError as e:
      index, clip = self.replace(e, rng)
      failed, error = first, e.cause
    return element(clip, self.videos[index], index, failed, error)

  def make(self, index: int, rng: np.random.Generator) -> np.ndarray:
    """A random clip of one video. -> uint8 [T s s 3]."""
    draw = rng.integers(2**63)  # The same draw each time the reader asks.
    clip = read_record(
      self.videos[index],
      lambda length: sampling.train_clip(
        self.data, length, np.random.default_rng(draw)
      ),
      self.data['short_side'] or None,
      self.reader.read_clip,
    )
    for transform in self.transforms:
      clip = transform(clip, rng)
    return clip

  def replace(
    self, error: VideoError, rng: np.random.Generator
  ) -> tuple[int, np.ndarray]:
    """Another video's position and clip, where one cannot be read."""
    count = min(len(self.videos), MAX_REPLACEMENTS)
    for index in rng.choice(len(self.videos), count, replace=False).tolist():
      try:
        return index, self.make(index, rng)
      except VideoError:
        continue
    raise RuntimeError(
      f'None of {count} videos can be read. One of them: {error}'
    )


@dataclasses.dataclass(frozen=True)
class TestClips:
  """All temporal test views of a video, from one pass over the file."""

  videos: Videos
  data: dict

  @functools.cached_property
  def reader(self) -> Reader:
    """One for each process."""
    return Reader(self.data, index=video_index.find(self.videos, self.data))

  def __call__(self, index: int) -> dict[str, np.ndarray]:
    """Like a training clip, but 'clip' is [V T h w 3], short side `crop`."""
    size, record = self.data['crop'], self.videos[index]
    shape = self.data['num_clips'], self.data['num_frames']
    try:
      frames = read_record(
        record,
        lambda length: sampling.test_clips(self.data, length, shape[0]).ravel(),
        size,
        self.reader.read_clip,
      )
    except VideoError as e:
      blank = np.zeros((*shape, size, size, 3), np.uint8)
      return element(blank, record, index, failed=index, error=e.cause)
    clips = frames.reshape(*shape, *frames.shape[1:])
    return element(clips, record, index)


def element(
  clip: np.ndarray,
  record: Record,
  index: int,
  failed: int = -1,
  error: str = '',
) -> dict[str, np.ndarray]:
  """A clip and what is known of it, in the types that a batch has."""
  return {
    'clip': np.ascontiguousarray(clip),
    'label': np.int32(record.label),
    'index': np.int32(index),
    'failed': np.int32(failed),
    'error': np.array(
      error.encode('utf-8', 'replace')[:ERROR_BYTES], f'S{ERROR_BYTES}'
    ),
  }


def read_record(
  record: Record,
  choose: Callable[[int], np.ndarray],
  short_side: int | None,
  read: Callable[..., np.ndarray] = read_clip,
) -> np.ndarray:
  """Reads frames of the part of a video that the record names.

  Args:
    record: the video, and from when to when.
    choose: given the number of frames in that part, which of them to read.
    short_side: see `read_clip`.
    read: `read_clip`, or one that remembers.
  """
  if not (record.start or record.end):
    return read(record.path, lambda length, fps: choose(length), short_side)

  def choose_inside(length: int, fps: float) -> np.ndarray:
    if not fps:
      raise VideoError(str(record.path), 'no frame rate to find seconds by')
    first = min(round(record.start * fps), length - 1)
    end = min(round(record.end * fps), length) if record.end else length
    return first + choose(max(end - first, 1))

  return read(record.path, choose_inside, short_side)
