# SPDX-License-Identifier: Apache-2.0
"""Tests of ResNet's padding and sizes; see test_parity.py for its values."""

from flax import nnx
import jax
from jax import lax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import resnet
from flatten_jax.models.layers import convolution


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_a_strided_convolution_pads_both_sides_equally():
  conv = convolution.Conv(3, 4, 3, (2, 2), use_bias=False, rngs=nnx.Rngs(0))
  x = draw(1, 8, 8, 3)
  y = conv(x)
  assert y.shape == (1, 4, 4, 4)
  corner = np.einsum('hwi,hwio->o', x[0, :2, :2], conv.kernel[1:, 1:])
  np.testing.assert_allclose(y[0, 0, 0], corner, atol=1e-5)
  same = lax.conv_general_dilated(
    x, conv.kernel[...], (2, 2), 'SAME', None, None, ('NHWC', 'HWIO', 'NHWC')
  )
  assert np.abs(same - y).max() > 0.1


def test_any_size_fits_and_strides_round_up():
  model = nnx.eval_shape(lambda: fj.create_model('resnet_test', 5))
  graphdef, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((1, 33, 130, 3), np.float32)
  features = jax.eval_shape(
    lambda state, x: nnx.merge(graphdef, state).features(x), state, x
  )
  assert features.shape == (1, 2, 5, 128)


def test_the_stride_is_on_the_three_by_three():
  block = fj.create_model('resnet_test').stages[1][0]
  assert (block.conv1.strides, block.conv2.strides) == ((1, 1), (2, 2))


def test_a_one_by_one_convolution_is_a_matrix_product():
  conv = convolution.Conv(3, 4, 1, (2, 2), use_bias=False, rngs=nnx.Rngs(0))
  x = draw(2, 5, 8, 3)
  y = lax.conv_general_dilated(
    x, conv.kernel[...], (2, 2), 'VALID', None, None, ('NHWC', 'HWIO', 'NHWC')
  )
  np.testing.assert_allclose(conv(x), y, atol=1e-6)


# Equal numbers, as after a ReLU or in a black border; an odd side.
@pytest.mark.parametrize('shape', [(2, 8, 8, 2), (1, 7, 12, 3), (1, 1, 1, 1)])
def test_the_first_of_equals_gets_the_gradient(shape):
  x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)

  def reference(x):
    return nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))

  y, pull = jax.vjp(resnet.max_pool, x)
  expected, expected_pull = jax.vjp(reference, x)
  np.testing.assert_array_equal(y, expected)
  grad = draw(*y.shape)
  np.testing.assert_allclose(pull(grad)[0], expected_pull(grad)[0], atol=1e-6)


def test_nan_passes_through_max_pooling():
  x = draw(1, 8, 8, 1)
  x[0, 4, 4] = np.nan
  seen = np.isnan(resnet.max_pool(x))[0, :, :, 0]
  assert seen.tolist() == [
    [i == 2 and j == 2 for j in range(4)] for i in range(4)
  ]
