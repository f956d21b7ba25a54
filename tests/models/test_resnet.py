# SPDX-License-Identifier: Apache-2.0
"""ResNet's padding and sizes; its numbers are in test_parity.py."""

from flax import nnx
import jax
from jax import lax
import numpy as np

import flatten_jax as fj
from flatten_jax.models import resnet


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_a_strided_convolution_pads_both_sides_alike():
  conv = resnet.Conv(3, 4, 3, stride=2, dtype=np.float32, rngs=nnx.Rngs(0))
  x = draw(1, 8, 8, 3)
  y = conv(x)
  assert y.shape == (1, 4, 4, 4)
  corner = np.einsum('hwi,hwio->o', x[0, :2, :2], conv.kernel[1:, 1:])
  np.testing.assert_allclose(y[0, 0, 0], corner, atol=1e-5)
  same = lax.conv_general_dilated(
    x, conv.kernel[...], (2, 2), 'SAME', None, None, ('NHWC', 'HWIO', 'NHWC')
  )
  assert np.abs(same - y).max() > 0.1


def test_any_size_will_do_and_strides_round_up():
  model = nnx.eval_shape(lambda: fj.create_model('resnet_test', 5))
  graphdef, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((1, 33, 130, 3), np.float32)
  features = jax.eval_shape(
    lambda state, x: nnx.merge(graphdef, state).features(x), state, x
  )
  assert features.shape == (1, 2, 5, 128)


def test_the_stride_is_on_the_three_by_three():
  block = fj.create_model('resnet_test').stages[1][0]
  assert (block.conv1.stride, block.conv2.stride) == (1, 2)
