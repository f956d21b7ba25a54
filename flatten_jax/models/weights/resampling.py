# SPDX-License-Identifier: Apache-2.0
"""Resamples position tables to other sizes, with PyTorch's numerics."""

import numpy as np


def bicubic(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes the last two axes as PyTorch does: corners are not aligned.

  Without antialiasing; the kernel is Keys' with a = -0.75 (OpenCV's, not the
  -0.5 of `jax.image`). [... H W] -> [... h w], in the dtype of `x`.
  """
  rows, columns = (
    _cubic_weights(*sizes) for sizes in zip(x.shape[-2:], size, strict=True)
  )
  y = np.einsum('hH,...HW,wW->...hw', rows, x, columns, dtype=np.float64)
  return y.astype(x.dtype)


def _cubic_weights(length: int, size: int) -> np.ndarray:
  """Returns the weight of each position for each new one. [size length].

  Rounded to float32 as in PyTorch, which moves results by 4e-6.
  """
  scale = float(np.float32(length) / np.float32(size))
  place = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
  first = np.floor(place)
  t = place - first
  a = np.float32(-0.75)

  def near(t):  # Up to one position away.
    return ((a + 2) * t - (a + 3)) * t * t + 1

  def far(t):
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

  weights = np.zeros((size, length), np.float32)
  rows = np.arange(size)
  for offset, weight in enumerate(
    (far(t + 1), near(t), near(1 - t), far(2 - t))
  ):
    old = np.clip(first.astype(int) + offset - 1, 0, length - 1)
    weights[rows, old] += weight  # The border's position more than once.
  return weights
