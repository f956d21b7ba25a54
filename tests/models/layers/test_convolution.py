# SPDX-License-Identifier: Apache-2.0
"""Tests of convolutions for CPU against XLA's own."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from flatten_jax.models.layers import convolution, depthwise, devices
from tests.support.other_devices import TPU


@pytest.mark.parametrize(
  ('form', 'strides'),
  [
    ('frame_conv', (1, 1, 1)),
    ('frame_conv', (1, 2, 2)),
    ('frame_conv', (2, 2, 2)),
    ('summed_conv', (1, 1, 1)),
    ('summed_conv', (1, 2, 2)),
  ],
)
@pytest.mark.parametrize('frames', [1, 4, 5])
@pytest.mark.parametrize('side', [1, 3])
def test_convolutions_of_images_equal_the_native_one(
  form, strides, frames, side
):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, frames, 8, 7, 3), np.float32)
  kernel = rng.standard_normal((3, side, side, 3, 4), np.float32)

  def of(conv):
    def loss(x, kernel):
      y = conv(x, kernel, strides)
      return jnp.sin(y).sum(), y

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(x, kernel)

  ours, theirs = of(getattr(convolution, form)), of(convolution.native_conv)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, theirs
  )


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def plain_depthwise(x, kernel):
  axes = 'THW'[-(x.ndim - 2) :]
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,) * len(axes),
    padding='SAME',
    dimension_numbers=(f'N{axes}C', f'{axes}IO', f'N{axes}C'),
    feature_group_count=x.shape[-1],
  )


def with_gradients(function, *args):
  """The output, and the gradients of its product with fixed noise."""

  @jax.jit
  def run(*args):
    out, backward = jax.vjp(function, *args)
    return out, *backward(draw(*out.shape, seed=9).astype(out.dtype))

  return run(*args)


# Sides that tiles of the kernel's gradient divide, do not, and exceed.
@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('side', [(8, 8), (5, 7), (1, 1), (3, 2), (9, 4)])
def test_a_depthwise_convolution_and_its_gradient_equal_the_grouped_one(
  side, size
):
  x, kernel = draw(2, *side, 6), draw(size, size, 1, 6, seed=1)
  ours = with_gradients(depthwise.depthwise_conv_by_shifts, x, kernel)
  plain = with_gradients(plain_depthwise, x, kernel)
  for a, b in zip(ours, plain, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


# TensorFlow pads even sides at their end only.
@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('side', [(8, 8), (5, 7), (1, 2)])
def test_a_strided_depthwise_convolution_equals_the_grouped_one(side, size):
  x, kernel = draw(2, *side, 6), draw(size, size, 1, 6, seed=1)
  ours, native = (
    with_gradients(lambda x, k, conv=conv: conv(x, k, 2), x, kernel)
    for conv in (depthwise.depthwise_conv, depthwise.native_depthwise_conv)
  )
  for a, b in zip(ours, native, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


# Each tap of its own, and 125 of them in a loop over time.
@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('space', [(4, 8, 8), (1, 3, 2), (3, 5, 7)])
def test_a_depthwise_convolution_over_time_equals_the_grouped_one(space, size):
  x, kernel = draw(2, *space, 6), draw(size, size, size, 1, 6, seed=1)
  ours = with_gradients(depthwise.depthwise_conv_by_shifts, x, kernel)
  plain = with_gradients(plain_depthwise, x, kernel)
  for a, b in zip(ours, plain, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_other_platforms_get_the_grouped_convolution():
  args = draw(2, 8, 8, 4), draw(3, 3, 1, 4, seed=1)

  def program():  # The lambda is new each time: jax keeps what it traced.
    return str(jax.make_jaxpr(lambda *x: depthwise.depthwise_conv(*x))(*args))

  assert 'custom_vjp' in program()
  ours = depthwise.depthwise_conv(*args)
  with devices.use([TPU]):
    assert 'custom_vjp' not in program()
    theirs = depthwise.depthwise_conv(*args)
  np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_gradients_have_the_dtype_of_their_arguments():
  args = draw(2, 8, 8, 4), draw(3, 3, 1, 4, seed=1)
  half = [x.astype(jnp.bfloat16) for x in args]
  full = with_gradients(depthwise.depthwise_conv_by_shifts, *args)
  gradients = with_gradients(depthwise.depthwise_conv_by_shifts, *half)
  for a, b in zip(gradients, full, strict=True):
    assert a.dtype == jnp.bfloat16
    scale = np.abs(b).max()
    np.testing.assert_allclose(np.float32(a), b, atol=0.05 * scale)
