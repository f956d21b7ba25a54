# SPDX-License-Identifier: Apache-2.0
"""Tests of the numerics of common layers, which are PyTorch's."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flatten_jax.models.layers import blocks, dense, norms, patch_embed


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_gelu_is_the_exact_one():
  x = np.linspace(-6, 6, 49, dtype=np.float32)
  exact = np.array(
    [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
  )
  np.testing.assert_allclose(dense.gelu(jnp.asarray(x)), exact, atol=1e-6)
  assert np.abs(jax.nn.gelu(x) - exact).max() > 1e-4  # The tanh form is not.


def test_dense_is_a_matrix_over_the_last_axis():
  layer = dense.Dense(3, 2, rngs=nnx.Rngs(0))
  x = draw(2, 4, 5, 3)
  expected = np.einsum('bhwi,io->bhwo', x, layer.kernel[...])
  np.testing.assert_allclose(
    layer(x), expected + layer.bias[...][None, None, None], atol=1e-6
  )


def test_patches_are_embedded_row_by_row_and_a_rest_is_left_out():
  layer = patch_embed.PatchConv(3, 5, 2, rngs=nnx.Rngs(0))
  x = draw(2, 5, 6, 3)
  out = layer(x)
  assert out.shape == (2, 2, 3, 5)
  expected = np.einsum('bhwi,hwio->bo', x[:, 2:4, 4:6], layer.kernel[...])
  np.testing.assert_allclose(
    out[:, 1, 2], expected + layer.bias[...][None], atol=1e-6
  )


def test_an_image_smaller_than_a_patch_is_refused():
  layer = patch_embed.PatchConv(3, 5, 4, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match=r'3 x 8 has no whole patch of 4 x 4'):
    layer(draw(1, 3, 8, 3))


def test_layer_norm_is_mean_zero_variance_one():
  layer = norms.LayerNorm(64, epsilon=0.0)
  y = np.asarray(layer(5 + 3 * draw(2, 4, 64)))
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y.var(-1), 1, atol=1e-5)


def test_the_running_variance_is_the_unbiased_one_and_keeps_nine_tenths():
  layer = norms.BatchNorm(3)
  x = 2 + 3 * draw(2, 2, 1, 3)
  y = layer(x, train=True)
  flat = x.reshape(-1, 3)
  np.testing.assert_allclose(layer.mean[...], 0.1 * flat.mean(0), rtol=1e-5)
  np.testing.assert_allclose(
    layer.var[...], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5
  )
  # The batch itself is normalized by its biased variance.
  np.testing.assert_allclose(np.asarray(y).reshape(-1, 3).var(0), 1, atol=1e-4)


def test_batch_norm_at_inference_uses_and_keeps_the_running_statistics():
  layer = norms.BatchNorm(2)
  layer.mean.set_value(jnp.array([1.0, 2.0]))
  layer.var.set_value(jnp.array([4.0, 9.0]))
  y = layer(np.array([[3.0, 2.0]], np.float32))
  np.testing.assert_allclose(y, [[1.0, 0.0]], atol=1e-5)
  np.testing.assert_array_equal(layer.mean[...], [1.0, 2.0])


def test_batch_statistics_of_large_values_are_accurate():
  layer = norms.BatchNorm(1)
  x = 1000 + draw(8, 8, 8, 1)
  layer(x, train=True)
  variance = (np.asarray(layer.var[...]) - 0.9) / 0.1
  np.testing.assert_allclose(variance, x.var(ddof=1), rtol=1e-3)


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
  drop = blocks.DropPath(0.25)
  y = np.asarray(
    drop(jnp.ones((4000, 2, 3)), train=True, rngs=nnx.Rngs(dropout=0))
  )
  assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
  assert (y == y[:, :1, :1]).all()
  assert abs(y.mean() - 1) < 0.05


def test_drop_path_does_nothing_at_inference_or_with_rate_zero():
  x = draw(2, 3)
  np.testing.assert_array_equal(blocks.DropPath(0.9)(x), x)
  np.testing.assert_array_equal(blocks.DropPath(0)(x, train=True), x)


def test_drop_path_names_what_is_missing():
  with pytest.raises(ValueError, match='drop_path_rate'):
    blocks.DropPath(0.1)(draw(2, 3), train=True)
  with pytest.raises(ValueError, match=r'not 1\.5'):
    blocks.DropPath(1.5)


def test_initial_values_depend_on_the_key_and_not_on_jit():
  def kernel(seed):
    return dense.Dense(40, 50, rngs=nnx.Rngs(seed)).kernel[...]

  np.testing.assert_array_equal(kernel(0), kernel(0))
  assert np.abs(kernel(0) - kernel(1)).max() > 0
  traced = jax.jit(lambda: kernel(0))()
  np.testing.assert_array_equal(traced, kernel(0))
  assert np.abs(kernel(0)).max() <= 40**-0.5  # PyTorch's bound.
