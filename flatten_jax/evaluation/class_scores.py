# SPDX-License-Identifier: Apache-2.0
"""Precision, recall and F1 of every class, and their means over classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

KEYS = 'precision', 'recall', 'f1'


def of_classes(
  confusion: np.ndarray, videos: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
  """Returns the scores of every class, in the order of the classes.

  Args:
    confusion: videos by label (row) and answer (column), [K K].
    videos: scored videos of each label, [K]; more than the sum of its row if
      some have no answer, which counts as a wrong one.
    names: of the K classes.

  Returns:
    For each class 'name', 'precision' (right among the videos with this
    answer), 'recall' (right among the videos of this class: its top-1) and 'f1'
    (their harmonic mean), in percent; its 'videos', and its 'answers', the
    videos that were taken for it. A share of no videos is None: the precision
    of a class that is never answered, the recall and F1 of one without videos.
  """
  return of_counts(np.diag(confusion), confusion.sum(0), videos, names)


def of_counts(
  right: np.ndarray,
  answers: np.ndarray,
  videos: np.ndarray,
  names: Sequence[str],
) -> list[dict[str, Any]]:
  """Returns the same of numbers of videos by class, [K]."""
  return [
    {
      'name': name,
      'precision': _share(right[i], answers[i]),
      'recall': _share(right[i], videos[i]),
      'f1': _share(2 * right[i], answers[i] + videos[i]) if videos[i] else None,
      'videos': int(videos[i]),
      'answers': int(answers[i]),
    }
    for i, name in enumerate(names)
  ]


def macro(classes: Sequence[dict[str, Any]]) -> dict[str, float]:
  """Returns means over the classes that have videos, each of equal weight.

  Args:
    classes: of `of_classes`.

  Returns:
    'macro_precision', 'macro_recall' (the mean class accuracy) and 'macro_f1'
    in percent. The precision of a class that is never answered counts as 0. All
    are 0 without videos.
  """
  tested = [entry for entry in classes if entry['videos']]
  return {
    f'macro_{key}': round(
      float(np.mean([entry[key] or 0.0 for entry in tested] or [0.0])), 6
    )
    for key in KEYS
  }


def _share(part: int, total: int) -> float | None:
  return round(100 * float(part) / float(total), 6) if total else None
