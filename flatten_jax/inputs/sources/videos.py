# SPDX-License-Identifier: Apache-2.0
"""`Record`, one video to read, and `Videos`, those of a split."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from flatten_jax.inputs.sources.prepared import MissingVideo
from flatten_jax.inputs.video.container import VideoPath


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
  """One video to read."""

  id: str
  path: VideoPath  # a file, or a place in a prepared set
  label: int  # -1: unknown
  start: float = 0.0  # seconds
  end: float = 0.0  # seconds; 0: to the end of the video
  labels: tuple[int, ...] | None = None  # Of `data.multi_label`; None: unknown.

  @property
  def classes(self) -> tuple[int, ...]:
    """All labels: one, or several of a multi-label set; () if unknown."""
    if self.labels is not None:
      return self.labels
    return (self.label,) if self.label >= 0 else ()

  @property
  def is_labelled(self) -> bool:
    """True if the classes are known, also if there are none."""
    return self.label >= 0 or self.labels is not None

  @property
  def is_usable(self) -> bool:
    """True if the classes are known, and the video was not missing."""
    return self.is_labelled and not isinstance(self.path, MissingVideo)

  def with_classes(self, classes: tuple[int, ...]) -> 'Record':
    """Returns the video with other classes, as many as it has."""
    if self.labels is None:
      (label,) = classes or (-1,)
      return dataclasses.replace(self, label=label)
    return dataclasses.replace(self, labels=tuple(sorted(classes)))


@dataclasses.dataclass(frozen=True)
class Videos:
  """The videos of one split, and the class names of the data set.

  `images` are trained on as well; their numbers follow the videos'.
  """

  records: tuple[Record, ...]
  class_names: tuple[str, ...]
  images: 'Videos | None' = None
  weights: tuple[float, ...] = ()  # Of training draws; (): all are equal.
  multi_label: bool = False  # Whether a video may have several labels.

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> Record:
    if self.images and index >= len(self):
      return self.images[index - len(self)]
    return self.records[index]

  def usable(self) -> 'Videos':
    """Returns those that can be scored, or trained on."""
    records = tuple(record for record in self.records if record.is_usable)
    return dataclasses.replace(self, records=records)

  @property
  def num_classes(self) -> int:
    """Number of classes of the data set, whether in this split or not."""
    return len(self.class_names)

  def target(self, record: Record) -> np.ndarray:
    """Returns the label of a video as in a batch: int32 [].

    Of a multi-label set: int8 [K], 1 for each of its classes and 0 for the
    others, or -1 for all if they are unknown.
    """
    if not self.multi_label:
      return np.int32(record.label)
    target = np.full(self.num_classes, 0 if record.is_labelled else -1, np.int8)
    target[list(record.classes)] = 1
    return target

  def targets(self) -> np.ndarray:
    """Returns the labels of all videos, int32 [N] or int8 [N K]."""
    if self.multi_label:
      found = [self.target(record) for record in self.records]
      return np.reshape(found, (len(self), self.num_classes)).astype(np.int8)
    return np.array([record.label for record in self.records], np.int32)


def training_videos(splits: Mapping[str, Videos]) -> Videos:
  """Returns the training videos; ValueError: there are none."""
  if 'train' not in splits:
    raise ValueError(
      f'There is no train split, but {" and ".join(splits)}: such a set is for '
      'evaluation. To train, prepare its training videos too.'
    )
  return splits['train']
