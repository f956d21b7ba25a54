# SPDX-License-Identifier: Apache-2.0
"""Tells whether probabilities are as high as the share of right answers.

After Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 15  # Of equal width, as in the paper's tables.


def bins(probabilities: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
  """Divides videos into `BINS` by the probability of their answer.

  Bin m of M holds the probabilities in ((m - 1) / M, m / M], as in the paper's
  section 2.

  Args:
    probabilities: of the answers, [N], from 0 to 1.
    right: whether each answer is the label, bool [N].

  Returns:
    Of every bin with videos, in order: 'low' and 'high', its ends, 'videos',
    'confidence', the mean probability, and 'top1', the share of right answers,
    all but 'videos' in percent.
  """
  probabilities = probabilities.astype(np.float64)
  number = np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1)
  return [
    {
      'low': round(100 * m / BINS, 6),
      'high': round(100 * (m + 1) / BINS, 6),
      'videos': int(inside.sum()),
      'confidence': round(100 * float(probabilities[inside].mean()), 6),
      'top1': round(100 * float(right[inside].mean()), 6),
    }
    for m in range(BINS)
    if (inside := number == m).any()
  ]


def error(found: Sequence[dict[str, Any]]) -> float | None:
  """Returns the expected calibration error, in points; None without videos.

  The paper's equation 3: the distance of 'confidence' and 'top1' of each bin,
  averaged over the videos. Of few videos it is too high, since the top-1 of a
  bin is then far from the true one by chance.

  Args:
    found: of `bins`.
  """
  return _mean(found, [abs(b['confidence'] - b['top1']) for b in found])


def confidence(found: Sequence[dict[str, Any]]) -> float | None:
  """Returns the mean probability of the answers, in percent, of `bins`."""
  return _mean(found, [entry['confidence'] for entry in found])


def _mean(found: Sequence[dict[str, Any]], values: list[float]) -> float | None:
  weights = [entry['videos'] for entry in found]
  if not weights:
    return None
  return round(float(np.average(values, weights=weights)), 6)
