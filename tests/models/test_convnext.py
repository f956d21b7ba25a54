# SPDX-License-Identifier: Apache-2.0
"""Tests of ConvNeXt's sizes and its start; see test_timm_images.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models


@pytest.mark.parametrize('side', [64, 75, 95])
def test_any_size_fits_and_strides_round_down(side):
  model = fj.create_model('convnext_test', 3)
  features = jax.eval_shape(
    model.features, jax.ShapeDtypeStruct((1, side, 32, 3), jnp.float32)
  )
  assert features.shape == (1, 2, 1, 32)


def test_32_pixels_are_the_least():
  assert models.takes_size({'name': 'convnext_tiny'}, 32, 33)
  assert not models.takes_size({'name': 'convnext_tiny'}, 32, 31)


def test_kernels_start_as_officially_and_blocks_as_almost_nothing():
  model = fj.create_model('convnext_test', 400, dim=16, layer_scale=1e-6)
  block = model.stages[3][0]
  for kernel in (block.depthwise, block.fc1, model.embeds[1].proj, model.head):
    np.testing.assert_allclose(kernel.kernel[...].std(), 0.02, rtol=0.1)
    assert not np.any(kernel.bias)
  x = np.random.default_rng(0).standard_normal((1, 4, 4, 128), np.float32)
  change = np.asarray(block(x)) - x
  assert 0 < np.abs(change).max() < 1e-5
