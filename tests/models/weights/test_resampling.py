# SPDX-License-Identifier: Apache-2.0
"""Tests that position tables are resampled as the authors of models do."""

import json

import numpy as np

from flatten_jax.models.layers import positions
from flatten_jax.models.weights import resampling


def test_tables_are_resized_as_by_scenic(parity_folder):
  path = parity_folder / 'data_facts_vivit_vtn_vidtr.json'
  facts = json.loads(path.read_text())['vivit_posemb']

  def resized(name, new, old):
    table = np.array(facts[name])[:, None]
    return np.asarray(positions.resize(table, new, old))[:, 0]

  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
  for side in (2, 4):
    ours = resized('grid_3x3', (side, side), (3, 3))
    close(ours, facts[f'resize_to_{side}x{side}'])
  close(resized('temporal_4', (6,), (4,)), facts['temporal_4_to_6'])


def test_bicubic_tables_keep_constants_and_reproduce_their_own_size():
  x = np.random.default_rng(0).standard_normal((2, 5, 5), np.float32)
  np.testing.assert_allclose(resampling.bicubic(x, (5, 5)), x, rtol=1e-6)
  flat = resampling.bicubic(np.ones((1, 23, 23), np.float32), (13, 13))
  np.testing.assert_allclose(flat, 1, rtol=1e-5)
