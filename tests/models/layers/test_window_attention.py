# SPDX-License-Identifier: Apache-2.0
"""Tests of windows: their order, shifts, and masks."""

from flax import nnx
import numpy as np
import pytest

from flatten_jax.models.layers import window_attention, windows


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_windows_are_cut_row_by_row_and_put_back():
  x = np.arange(2 * 4 * 6).reshape(2, 4, 6, 1)
  cut = windows.to_windows(x, (2, 3))
  assert cut.shape == (2, 4, 6, 1)
  np.testing.assert_array_equal(cut[0, 1, :, 0], [3, 4, 5, 9, 10, 11])
  again = windows.from_windows(cut, (2, 3), (4, 6))
  np.testing.assert_array_equal(again, x)


def test_coordinates_are_logarithmic_and_end_at_log_9_by_log_8():
  table = window_attention.relative_coordinates((3, 5))
  assert table.shape == (5, 9, 2)
  end = np.log(9) / np.log(8)
  half = np.log(5) / np.log(8)
  np.testing.assert_allclose(
    table[:, 0, 0], [-end, -half, 0, half, end], rtol=1e-6
  )
  np.testing.assert_allclose(table[0, [0, 4, 8], 1], [-end, 0, end], rtol=1e-6)


def test_a_larger_window_can_keep_the_coordinates_of_pretraining():
  small = window_attention.relative_coordinates((4, 4))
  large = window_attention.relative_coordinates((8, 8), pretrained_window=4)
  np.testing.assert_array_equal(large[4:11, 4:11], small)
  assert np.isfinite(window_attention.relative_coordinates((1, 1))).all()


def test_a_shift_leaves_nine_regions_and_a_single_window_none():
  regions = windows.window_regions((4, 4), (2, 2), (1, 1))
  np.testing.assert_array_equal(
    regions, [[0, 0, 0, 0], [1, 2, 1, 2], [3, 3, 6, 6], [4, 5, 7, 8]]
  )
  regions = windows.window_regions((2, 4), (2, 2), (0, 1))
  assert [len(set(window)) for window in regions.tolist()] == [1, 2]


# Positions that see the corner of an 8 x 8 map: its own window only.
@pytest.mark.parametrize('shifted, sees', [(False, 4), (True, 2)])
def test_attention_stays_within_its_window(shifted, sees):
  attention = window_attention.WindowAttention(
    8, 2, window=4, shifted=shifted, rngs=nnx.Rngs(0)
  )
  x = draw(1, 8, 8, 8)
  changed = x.copy()
  changed[0, 0, 0] += 1
  moved = np.abs(attention(changed) - attention(x))[0].max(axis=-1) > 1e-7
  expected = np.zeros((8, 8), bool)
  expected[:sees, :sees] = True
  np.testing.assert_array_equal(moved, expected)


def test_the_position_bias_depends_on_the_offset_alone():
  attention = window_attention.WindowAttention(
    8, 2, window=4, shifted=False, rngs=nnx.Rngs(0)
  )
  bias = np.asarray(attention.position_bias((2, 3))).reshape(2, 2, 3, 2, 3)
  assert len(np.unique(bias[0])) == 3 * 5
  np.testing.assert_array_equal(bias[:, 0, 0, 1, 1], bias[:, 0, 1, 1, 2])
  assert np.abs(bias[:, 0, 0, 1, 1] - bias[:, 1, 1, 0, 0]).min() > 0
