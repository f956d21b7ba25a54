# SPDX-License-Identifier: Apache-2.0
"""Endless orders of training videos, by position and seed."""

from collections.abc import Sequence

import grain
import numpy as np


def of_videos(count: int, seed: int) -> grain.MapDataset:
  """Returns passes over 0 to `count` - 1 without end, each in a new order."""
  return grain.MapDataset.range(count).seed(seed).shuffle().repeat()


class OfWeights:
  """Draws videos in proportion to their weights.

  In an epoch, each video comes as often as its share of it, rounded up or down,
  in a new order: one draw falls into each of `len(weights)` equal parts of the
  sum of all weights.

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
    draw = np.random.default_rng((self._seed, position)).random()
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
