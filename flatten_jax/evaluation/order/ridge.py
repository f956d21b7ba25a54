# SPDX-License-Identifier: Apache-2.0
"""A linear classifier in closed form: ridge regression on classes."""

import numpy as np

# Strengths, as shares of the mean variance along a principal axis.
STRENGTHS = np.logspace(-4, 4, 17)


def classify(
  features: np.ndarray, labels: np.ndarray, others: np.ndarray, count: int
) -> np.ndarray:
  """Fits features to labels, and returns the classes of others.

  Features are standardized. The strength is the one whose predictions of each
  row from all other rows, known in closed form (Allen's PRESS), have the least
  squared error.

  Args:
    features: [N D].
    labels: class numbers [N].
    others: [M D].
    count: of classes.

  Returns:
    Class numbers [M].
  """
  features = features.astype(np.float64)
  mean, deviation = features.mean(0), features.std(0)
  varies = deviation > 1e-6 * max(deviation.max(), 1e-30)
  scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
  targets = np.eye(count)[labels]
  center = targets.mean(0)
  left, sizes, right = np.linalg.svd(
    (features - mean) * scale, full_matrices=False
  )
  projected = left.T @ (targets - center)
  best, weights = np.inf, None
  for strength in STRENGTHS * max(np.mean(sizes**2), 1e-30):
    kept = sizes**2 / (sizes**2 + strength)  # Shares of the principal axes.
    errors = targets - center - left @ (kept[:, None] * projected)
    leverage = 1 / len(labels) + left**2 @ kept
    error = np.mean((errors / np.maximum(1 - leverage, 1e-6)[:, None]) ** 2)
    if error < best:
      divided = sizes / (sizes**2 + strength)
      best, weights = error, right.T @ (divided[:, None] * projected)
  return ((others - mean) * scale @ weights + center).argmax(-1)
