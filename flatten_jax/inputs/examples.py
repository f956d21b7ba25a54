# SPDX-License-Identifier: Apache-2.0
"""Makes one training clip, or all test clips of one video: read, sample, crop.

Threads and worker processes can make any clip, in any order, with the same
result.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.augment.flips import HorizontalFlip
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.parts import read_clip
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader

ERROR_BYTES = 200
MAX_REPLACEMENTS = 1000  # Videos tried for one clip before a run gives up.


class RandomClip(NamedTuple):
  """A random clip: that of the video asked for, or of one in its place."""

  frames: np.ndarray  # uint8 [T s s C]
  places: np.ndarray  # numbers or seconds of the frames [T], see `timed`
  record: Record  # with the label of the mirror image if the clip is one
  index: int  # of the record
  error: VideoError | None = None  # of the video that was asked for


class RandomClips:
  """Makes random training clips, in any order of the videos.

  Args:
    videos: to make clips of.
    data: `config.data`.
    mean: color of boxes that are erased, RGB from 0 to 1.
    timed: whether places are seconds instead of numbers.
  """

  def __init__(
    self,
    videos: Videos,
    data: Mapping,
    mean: Sequence[float] = (0.45, 0.45, 0.45),
    timed: bool = False,
  ):
    self.videos, self.data = videos, dict(data)
    self.timed = timed
    self.transforms = transforms.train_transforms(
      data, mean, videos.class_names
    )
    index = video_index.find(videos, data)
    self.reader = Reader(data, data['frame_cache_gib'], index)

  def __call__(self, index: int, rng: np.random.Generator) -> RandomClip:
    """Makes a clip of a video or, if it cannot be read, of another one.

    Raises RuntimeError if none of up to MAX_REPLACEMENTS others can be read.
    """
    try:
      return self.make(index, rng)
    except VideoError as error:
      return self.replace(error, rng)

  def make(self, index: int, rng: np.random.Generator) -> RandomClip:
    """Makes a random clip of one video; raises VideoError."""
    record = self.videos[index]
    seed = rng.integers(2**63)  # Sampling again draws the same numbers.
    clip, places = read_clip(
      self.reader,
      record,
      transforms.frame_size(self.data, self.data['short_side']),
      lambda part: rules.train_clip(
        self.data, part, np.random.default_rng(seed)
      ),
      timed=self.timed,
    )
    for transform in self.transforms:
      if isinstance(transform, HorizontalFlip):
        clip, classes = transform(clip, record.classes, rng)
        record = record.with_classes(classes)
      else:
        clip = transform(clip, rng)
    return RandomClip(clip, places, record, index)

  def replace(self, error: VideoError, rng: np.random.Generator) -> RandomClip:
    """Makes a clip of another video than one that cannot be read."""
    drawn = np.flatnonzero(self.videos.weights or np.ones(len(self.videos)))
    count = min(len(drawn), MAX_REPLACEMENTS)
    for index in rng.choice(drawn, count, replace=False).tolist():
      try:
        return self.make(index, rng)._replace(error=error)
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
