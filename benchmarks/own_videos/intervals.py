# SPDX-License-Identifier: Apache-2.0
"""Intervals of accuracies on videos of which some are alike.

Videos of one group (a person, a place, a recording) are alike, so a test of
many videos of few people says less than their number suggests. The variance of
a mean is therefore that of its groups (the "linearized", or cluster-robust one
of survey sampling), with Student's t for their number.
"""

from collections.abc import Mapping

import numpy as np
import scipy.stats

Videos = dict[tuple[int, str], float]  # By fold and id.


def interval(videos: Videos, groups: Mapping[str, str]) -> tuple[float, float]:
  """Returns the 95 % interval of the mean over folds, in percent.

  It is Wilson's interval with as many videos as independent ones would give
  that variance (Korn & Graubard, 1998, do so with another interval), and not
  more than there are.
  """
  values, weights, numbers = _arrays(videos, groups)
  mean, variance, t = _of_groups(values, weights, numbers)
  spread, most = mean * (1 - mean), 1 / (weights**2).sum()
  if spread < 1e-9:  # All right or all wrong: a group counts as one video.
    count = numbers.max() + 1
  else:
    count = min(spread / max(variance, 1e-12), most)
  center = (mean + t**2 / (2 * count)) / (1 + t**2 / count)
  half = (
    np.sqrt(spread / count + t**2 / (4 * count**2)) * t / (1 + t**2 / count)
  )
  low, high = max(center - half, 0.0), min(center + half, 1.0)
  return 100 * float(low), 100 * float(high)


def difference(
  ours: Videos, theirs: Videos, groups: Mapping[str, str]
) -> tuple[float, float, float] | None:
  """Returns how many points `ours` has more, low and high (95 %), or None.

  Both are compared video by video, on those that both have.
  """
  both = {key: ours[key] - theirs[key] for key in ours.keys() & theirs.keys()}
  if not both:
    return None
  mean, variance, t = _of_groups(*_arrays(both, groups))
  half = t * variance**0.5
  return 100 * mean, 100 * (mean - half), 100 * (mean + half)


def _arrays(
  videos: Videos, groups: Mapping[str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns values, weights whose sum is 1, and numbers of the groups.

  Every fold has the same weight, as in the mean over folds.
  """
  keys = sorted(videos)
  folds, sizes = np.unique([fold for fold, _ in keys], return_counts=True)
  weight = dict(zip(folds.tolist(), 1 / (sizes * len(folds)), strict=True))
  names = [groups.get(name, f'\0{name}') for _, name in keys]
  _, numbers = np.unique(names, return_inverse=True)
  if numbers.max() == 0:  # One group alone has no spread.
    numbers = np.arange(len(keys))
  return (
    np.array([videos[key] for key in keys]),
    np.array([weight[fold] for fold, _ in keys]),
    numbers,
  )


def _of_groups(
  values: np.ndarray, weights: np.ndarray, numbers: np.ndarray
) -> tuple[float, float, float]:
  """Returns a weighted mean, its variance over groups, and Student's t."""
  mean = float(weights @ values)
  sums = np.bincount(numbers, weights * (values - mean))
  count = len(sums)
  free = max(count - 1, 1)
  variance = float(count / free * (sums**2).sum())
  return mean, variance, float(scipy.stats.t.ppf(0.975, free))
