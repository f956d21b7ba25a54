# SPDX-License-Identifier: Apache-2.0
"""Compares batches, or clips, with each other."""

import numpy as np


def assert_same(ours, theirs):
  """Asserts that lists of dicts of arrays are equal."""
  assert len(ours) == len(theirs)
  for mine, other in zip(ours, theirs, strict=True):
    assert mine.keys() == other.keys()
    for key in mine:
      np.testing.assert_array_equal(mine[key], other[key], key)
