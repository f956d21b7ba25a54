# SPDX-License-Identifier: Apache-2.0
"""Makes one training clip, or all test clips of one video: read, sample, crop.

Threads and worker processes can make any clip, in any order, with the same
result.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from flatten_jax.inputs import training_order
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.augment.flips import HorizontalFlip
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import OpenVideo, Size
from flatten_jax.inputs.video.read import FrameCountCorrected
from flatten_jax.inputs.video.reader import Reader

ERROR_BYTES = 200
MAX_REPLACEMENTS = 1000  # Videos tried for one clip before a run gives up.


@dataclasses.dataclass(frozen=True)
class ProcessShard:
  """Positions of the global order that belong to this process."""

  batch_size: int  # of this process, in videos
  process: int = 0
  count: int = 1

  def position(self, i: int) -> int:
    """Returns the global position of this process's i-th clip."""
    batch, slot = divmod(i, self.batch_size)
    return (batch * self.count + self.process) * self.batch_size + slot


class TrainClip:
  """Makes the training clip at any position of an endless order.

  A clip's randomness comes from (seed, position, number among the clips of
  `data.repeated_aug`), so it is the same wherever and whenever it is made.
  """

  def __init__(
    self,
    videos: Videos,
    data: Mapping,
    seed: int,
    shard: ProcessShard,
    mean: Sequence[float] = (0.45, 0.45, 0.45),
  ):
    self.videos, self.data = videos, dict(data)
    self.seed, self.shard = seed, shard
    if videos.weights:
      self.order = training_order.OfWeights(videos.weights, seed)
    elif data['balanced']:
      labels = [record.label for record in videos.records]
      self.order = training_order.OfClasses(labels, seed)
    else:
      self.order = training_order.of_videos(len(videos), seed)
    self.transforms = transforms.train_transforms(
      data, mean, videos.class_names
    )
    index = video_index.find(videos, data)
    self.reader = Reader(data, data['frame_cache_gib'], index)

  def __call__(self, i: int) -> dict[str, np.ndarray]:
    """Makes this process's i-th clip, see `pipeline.train_batches`."""
    i, copy = divmod(i, self.data['repeated_aug'])
    position = self.shard.position(i)
    rng = np.random.default_rng((self.seed, position, copy))
    index = first = int(self.order[position])
    try:
      clip, numbers, record = self.make(index, rng)
      example = to_example(clip, numbers, record, index)
    except VideoError as e:
      index, clip, numbers, record = self.replace(e, rng)
      example = to_example(clip, numbers, record, index, first, e.cause)
    return example | {'label': self.videos.target(record)}

  def make(
    self, index: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray, Record]:
    """Makes a random clip of one video, and counts its frames from its first.

    Returns:
      uint8 [T s s C], the numbers of the frames [T], and the video, with the
      label of its mirror image if the clip is one.
    """
    record = self.videos[index]
    seed = rng.integers(2**63)  # Sampling again draws the same numbers.
    clip, numbers = read_clip(
      self.reader,
      record,
      transforms.frame_size(self.data, self.data['short_side']),
      lambda part: rules.train_clip(
        self.data, part, np.random.default_rng(seed)
      ),
    )
    for transform in self.transforms:
      if isinstance(transform, HorizontalFlip):
        clip, classes = transform(clip, record.classes, rng)
        record = record.with_classes(classes)
      else:
        clip = transform(clip, rng)
    return clip, numbers - numbers.min(), record

  def replace(
    self, error: VideoError, rng: np.random.Generator
  ) -> tuple[int, np.ndarray, np.ndarray, Record]:
    """Makes a clip of another video if one cannot be read; its index first."""
    drawn = np.flatnonzero(self.videos.weights or np.ones(len(self.videos)))
    count = min(len(drawn), MAX_REPLACEMENTS)
    for index in rng.choice(drawn, count, replace=False).tolist():
      try:
        return index, *self.make(index, rng)
      except VideoError:
        continue
    raise RuntimeError(
      f'None of {count} videos can be read. One of them: {error}'
    )


@dataclasses.dataclass(frozen=True)
class TestClips:
  """Makes all temporal test views of a video, in one pass over the file."""

  videos: Videos
  data: dict

  @functools.cached_property
  def reader(self) -> Reader:
    """One for each process."""
    return Reader(self.data, index=video_index.find(self.videos, self.data))

  def __call__(self, index: int) -> dict[str, np.ndarray]:
    """Like a training clip, but 'clip' is [V T h w C], not cropped."""
    size = transforms.test_frame_size(self.data)
    record = self.videos[index]
    shape = self.data['num_clips'], self.data['num_frames']
    try:
      frames, numbers = read_clip(
        self.reader,
        record,
        size,
        lambda part: rules.test_clips(self.data, part).ravel(),
      )
    except VideoError as e:
      side = transforms.test_crop(self.data)
      blank = np.zeros(
        (*shape, side, side, fields.num_channels(self.data)), np.uint8
      )
      none = np.zeros(shape, np.int32)
      return to_example(blank, none, record, index, index, e.cause)
    clips = frames.reshape(*shape, *frames.shape[1:])
    return to_example(clips, numbers.reshape(shape), record, index)


@dataclasses.dataclass(frozen=True)
class Part:
  """The part of an open video that a record names; all of it by default."""

  video: OpenVideo
  first: int  # frame
  length: int  # in frames

  @classmethod
  def of(cls, record: Record, video: OpenVideo) -> 'Part':
    """Finds the part; raises VideoError if there is none."""
    return cls(video, *frame_range(record, video))

  @property
  def fps(self) -> float:
    """Mean number of frames per second; 0 if unknown. May read the file."""
    times = self.video.times
    if times is None:
      return self.video.fps
    seconds = times[self.first + self.length] - times[self.first]
    return frame_times.mean_rate(self.length, float(seconds))


def read_clip(
  reader: Reader,
  record: Record,
  size: Size,
  sample: Callable[[Part], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
  """Opens a record's part of a video and decodes some frames.

  `sample` chooses them by their numbers in the part. `size` is that of the
  frames. Raises VideoError.

  Returns:
    uint8 [T H W C], and the numbers [T].
  """

  def read(video):
    part = Part.of(record, video)
    numbers = sample(part)
    return video.read(part.first + numbers), numbers

  with reader.open(record.path, size) as video:
    try:
      return read(video)
    except FrameCountCorrected:  # A damaged file: sample what it really has.
      return read(video)


def frame_range(
  record: Record, video: OpenVideo | video_index.Entry
) -> tuple[int, int]:
  """Returns the first frame and the number of frames of a record's part.

  Raises VideoError if there is no such part.
  """
  if not (record.start or record.end):
    return 0, video.num_frames
  try:
    return frame_times.frames_between(video.times, record.start, record.end)
  except ValueError as error:
    raise VideoError(str(record.path), str(error)) from error


def to_example(
  clip: np.ndarray,
  positions: np.ndarray,
  record: Record,
  index: int,
  failed: int = -1,
  error: str = '',
) -> dict[str, np.ndarray]:
  """Returns a clip, numbers of its frames and its record, as in a batch."""
  return {
    'clip': np.ascontiguousarray(clip),
    'positions': positions.astype(np.int32),
    'label': np.int32(record.label),
    'index': np.int32(index),
    'failed': np.int32(failed),
    'error': np.array(
      error.encode('utf-8', 'replace')[:ERROR_BYTES], f'S{ERROR_BYTES}'
    ),
  }
