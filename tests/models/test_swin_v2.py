# SPDX-License-Identifier: Apache-2.0
"""Windows: which there are, what they see, and images that they divide."""

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import swin_v2


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_windows_are_cut_row_by_row_and_put_back():
  x = np.arange(2 * 4 * 6).reshape(2, 4, 6, 1)
  windows = swin_v2.to_windows(x, (2, 3))
  assert windows.shape == (2, 4, 6, 1)
  np.testing.assert_array_equal(windows[0, 1, :, 0], [3, 4, 5, 9, 10, 11])
  again = swin_v2.from_windows(windows, (2, 3), (4, 6))
  np.testing.assert_array_equal(again, x)


def test_coordinates_are_logarithmic_and_end_at_log_9_by_log_8():
  table = swin_v2.relative_coordinates((3, 5))
  assert table.shape == (5, 9, 2)
  end = np.log(9) / np.log(8)
  half = np.log(5) / np.log(8)
  np.testing.assert_allclose(
    table[:, 0, 0], [-end, -half, 0, half, end], rtol=1e-6
  )
  np.testing.assert_allclose(table[0, [0, 4, 8], 1], [-end, 0, end], rtol=1e-6)


def test_a_larger_window_can_keep_the_coordinates_of_pretraining():
  small = swin_v2.relative_coordinates((4, 4))
  large = swin_v2.relative_coordinates((8, 8), pretrained_window=4)
  np.testing.assert_array_equal(large[4:11, 4:11], small)
  assert np.isfinite(swin_v2.relative_coordinates((1, 1))).all()


def test_a_shift_leaves_nine_regions_and_a_single_window_none():
  regions = swin_v2.window_regions((4, 4), (2, 2), (1, 1))
  np.testing.assert_array_equal(
    regions, [[0, 0, 0, 0], [1, 2, 1, 2], [3, 3, 6, 6], [4, 5, 7, 8]]
  )
  regions = swin_v2.window_regions((2, 4), (2, 2), (0, 1))
  assert [len(set(window)) for window in regions.tolist()] == [1, 2]


# Where the corner of an 8 x 8 map is seen from: its own window only.
@pytest.mark.parametrize('shifted, sees', [(False, 4), (True, 2)])
def test_attention_stays_within_its_window(shifted, sees):
  config = swin_v2.TEST
  attention = swin_v2.WindowAttention(8, 2, config, shifted, rngs=nnx.Rngs(0))
  x = draw(1, 8, 8, 8)
  changed = x.copy()
  changed[0, 0, 0] += 1
  moved = np.abs(attention(changed) - attention(x))[0].max(axis=-1) > 1e-7
  expected = np.zeros((8, 8), bool)
  expected[:sees, :sees] = True
  np.testing.assert_array_equal(moved, expected)


def test_the_position_bias_depends_on_the_offset_alone():
  attention = swin_v2.WindowAttention(
    8, 2, swin_v2.TEST, False, rngs=nnx.Rngs(0)
  )
  bias = np.asarray(attention.position_bias((2, 3))).reshape(2, 2, 3, 2, 3)
  assert len(np.unique(bias[0])) == 3 * 5
  np.testing.assert_array_equal(bias[:, 0, 0, 1, 1], bias[:, 0, 1, 1, 2])
  assert np.abs(bias[:, 0, 0, 1, 1] - bias[:, 1, 1, 0, 0]).min() > 0


def test_the_parameters_do_not_depend_on_the_window():
  x = draw(1, 64, 128, 3)
  models = [fj.create_model('swinv2_test', 5, window=w) for w in (2, 4)]
  for model in models:  # At their initial zeros, blocks would do nothing.
    for norm in (model.stages[1][1].norm1, model.stages[1][1].norm2):
      norm.scale.set_value(norm.scale + 1)
  shapes = [
    jax.tree.map(np.shape, nnx.to_pure_dict(nnx.state(m, nnx.Param)))
    for m in models
  ]
  assert shapes[0] == shapes[1]
  small, large = (model(x) for model in models)
  assert np.abs(small - large).max() > 1e-7


def test_windows_of_24_fit_the_image_of_the_paper():
  model = nnx.eval_shape(lambda: fj.create_model('swinv2_t', window=24))
  graphdef, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((1, 768, 768, 3), np.float32)
  features = jax.eval_shape(
    lambda state, x: nnx.merge(graphdef, state).features(x), state, x
  )
  assert features.shape == (1, 24, 24, 768)


def test_what_cannot_be_is_refused_with_what_can():
  model = fj.create_model('swinv2_test', window=8)
  with pytest.raises(ValueError) as error:
    model(draw(1, 96, 256, 3))
  text = str(error.value)
  assert 'Windows of 8 do not divide an image of 96 x 256' in text
  assert 'heights 64 or 128, ' in text
  assert text.endswith('widths 256, or windows of 32, 64.')
  with pytest.raises(ValueError, match=r'widths 32 or 64'):
    model(draw(1, 64, 50, 3))
  with pytest.raises(ValueError, match=r'heights 32, widths 64'):
    model(draw(1, 7, 64, 3))
  with pytest.raises(ValueError, match='side of 1 or more, not 0'):
    fj.create_model('swinv2_test', window=0)


def test_every_size_that_is_named_as_fitting_works():
  model = nnx.eval_shape(lambda: fj.create_model('swinv2_test', 5, window=6))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  sides = [side for side in range(1, 400) if swin_v2.fits(side, 6)]
  assert sides == [96, 192, 384]
  for side in sides:
    x = jax.ShapeDtypeStruct((1, side, 192, 3), np.float32)
    assert jax.eval_shape(run, state, x).shape == (1, 5)
