# SPDX-License-Identifier: Apache-2.0
"""The certainty of a score: its 95 % interval, and the level of chance."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

Z = 1.959964  # Standard errors of a 95 % interval.


def interval(right: float, count: float) -> list[float]:
  """Returns low and high of the 95 % interval of a share, in percent.

  Wilson's of 1927, which takes the videos to be independent of each other.
  (`scipy.stats` has it, but takes seconds to import.)

  Args:
    right: of `count` videos; a mean over seeds need not be whole.
    count: 0 or more; need not be whole either.
  """
  if not count:
    return [0.0, 100.0]
  share, part = right / count, Z**2 / count
  middle = share + part / 2
  half = math.sqrt(part * (share * (1 - share) + part / 4))
  ends = (middle - half) / (1 + part), (middle + half) / (1 + part)
  return [round(100 * end, 6) + 0.0 for end in ends]  # Exactly 0 and 100.


def interval_of(scores: dict[str, Any]) -> list[float]:
  """Returns the interval of a top-1, also of a result of earlier versions.

  Of several labels it is that of the mAP.
  """
  if 'map' in scores:
    return scores['map_interval']
  count = scores['scored']
  found = scores.get('top1_interval')
  return found or interval(scores['top1'] * count / 100, count)


def chance(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
  """Returns the top-1 that needs no look at the videos.

  Args:
    labels: of the scored videos, [N].
    class_names: of all K classes.

  Returns:
    'chance', in percent, and 'chance_class': the most frequent class of the
    videos, which is always answered; '' if guesses, right in one of K, are as
    good.
  """
  found = {'chance': 100 / len(class_names), 'chance_class': ''}
  counts = np.bincount(labels, minlength=1)
  if counts.max() * len(class_names) > len(labels):
    found['chance'] = 100 * float(counts.max() / len(labels))
    # Of several, the first name, however the classes are numbered.
    frequent = np.flatnonzero(counts == counts.max())
    found['chance_class'] = min(class_names[number] for number in frequent)
  return found


def pooled(scores: Sequence[dict[str, Any]], videos: int) -> dict[str, Any]:
  """Returns the certainty of several results together, as of all folds.

  Args:
    scores: with a top-1 and the number of videos scored.
    videos: that were scored, each counted once for all seeds.

  Returns:
    'top1' over all videos, its 'top1_interval', and the mean 'chance' with the
    'chance_class' if that is the same in all; without those two if a result of
    an earlier version has none, and {} without scored videos.
  """
  weights = [entry['scored'] for entry in scores]
  if not any(weights):
    return {}
  mean = lambda key: float(  # noqa: E731
    np.average([entry[key] for entry in scores], weights=weights)
  )
  found = {'top1': mean('top1')}
  found['top1_interval'] = interval(found['top1'] * videos / 100, videos)
  if all('chance' in entry for entry in scores):
    classes = {entry['chance_class'] for entry in scores}
    found['chance'] = mean('chance')
    found['chance_class'] = classes.pop() if len(classes) == 1 else ''
  return found


def is_better_than_chance(scores: dict[str, Any]) -> bool:
  """Returns True if chance is below the interval."""
  return interval_of(scores)[0] > scores['chance']
