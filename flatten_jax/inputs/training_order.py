# SPDX-License-Identifier: Apache-2.0
"""Endless orders of training videos and their clips, by position and seed."""

from collections.abc import Mapping, Sequence
import dataclasses

import grain
import numpy as np

from flatten_jax.inputs import examples
from flatten_jax.inputs.sources.dataset import Videos


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
    self.clips = examples.RandomClips(videos, data, mean)
    self.copies, self.seed, self.shard = data['repeated_aug'], seed, shard
    if videos.weights:
      self.order = OfWeights(videos.weights, seed)
    elif data['balanced']:
      labels = [record.label for record in videos.records]
      self.order = OfClasses(labels, seed)
    else:
      self.order = of_videos(len(videos), seed)

  def __call__(self, i: int) -> dict[str, np.ndarray]:
    """Makes this process's i-th clip, see `pipeline.train_batches`.

    Numbers of frames count from its first.
    """
    i, copy = divmod(i, self.copies)
    position = self.shard.position(i)
    rng = np.random.default_rng((self.seed, position, copy))
    index = int(self.order[position])
    clip = self.clips(index, rng)
    failure = (index, clip.error.cause) if clip.error else ()
    numbers = clip.places - clip.places.min()
    example = examples.to_example(
      clip.frames, numbers, clip.record, clip.index, *failure
    )
    return example | {'label': self.clips.videos.target(clip.record)}


def of_videos(count: int, seed: int) -> grain.MapDataset:
  """Returns passes over 0 to `count` - 1 without end, each in a new order."""
  return grain.MapDataset.range(count).seed(seed).shuffle().repeat()


class OfWeights:
  """Draws videos in proportion to their weights.

  In an epoch, each video comes as often as its share of it, rounded up or down,
  in a new order: `len(weights)` equal parts of the sum of all weights have one
  point each, all at the same place of their part, which is drawn.

  Args:
    weights: of each video, 0 or more, not all 0.
    seed: of all orders and draws.
  """

  def __init__(self, weights: Sequence[float], seed: int):
    sums = np.cumsum(weights, dtype=float)
    self._ends, self._seed = sums / sums[-1], seed
    self._parts = of_videos(len(sums), seed)

  def __getitem__(self, position: int) -> int:
    """Returns the index of the video at a position, from 0."""
    epoch = position // len(self._ends)
    # Two more numbers: `TrainClip` seeds clips with position and copy.
    draw = np.random.default_rng((self._seed, epoch, 0, 1)).random()
    place = (int(self._parts[position]) + draw) / len(self._ends)
    return int(np.searchsorted(self._ends, place, side='right'))


class OfClasses:
  """Draws every class equally often, and every video of a class.

  Classes come in rounds: each that has videos once, in a new order. Videos of a
  class come in passes: each once, in a new order. (`grain.MapDataset.mix` has
  one order of the classes, so that the same ones would always share a batch.)

  Args:
    labels: class of each video.
    seed: of all orders.
  """

  def __init__(self, labels: Sequence[int], seed: int):
    labels = np.asarray(labels)
    self._videos = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    seeds = np.random.SeedSequence(seed).generate_state(len(self._videos) + 1)
    first, *others = seeds.tolist()
    self._rounds = of_videos(len(self._videos), first)
    self._passes = [
      of_videos(len(videos), other)
      for videos, other in zip(self._videos, others, strict=True)
    ]

  def __getitem__(self, position: int) -> int:
    """Returns the index of the video at a position, from 0."""
    number = int(self._rounds[position])
    place = int(self._passes[number][position // len(self._videos)])
    return int(self._videos[number][place])
