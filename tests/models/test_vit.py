# SPDX-License-Identifier: Apache-2.0
"""Tests of ViT's sizes and its position table; see test_timm_images.py."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models
from flatten_jax.models.layers import positions


@pytest.mark.parametrize('size', [(100, 64), (64, 4)])
def test_a_size_that_patches_do_not_divide_is_refused(size):
  model = nnx.eval_shape(lambda: fj.create_model('vit_test'))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  with pytest.raises(ValueError, match=r'patch of 8 px; got .* Frames of 8, 1'):
    jax.eval_shape(run, state, x)
  assert not models.takes_size({'name': 'vit_test'}, *size)
  assert models.takes_size({'name': 'vit_test'}, 64, 24)


def test_a_table_of_the_same_grid_stays():
  table = jnp.arange(20.0).reshape(5, 4)
  assert positions.resample_rest(table, (2, 2)) is table
  # As many positions, in another shape.
  other = positions.resample_rest(table, (1, 4))
  assert other.shape == (5, 4) and not np.array_equal(other, table)


def test_a_resampled_table_of_equal_places_is_equal_and_keeps_its_token():
  table = jnp.concatenate([jnp.full((1, 3), 7.0), jnp.full((16, 3), 2.0)])
  found = positions.resample_rest(table, (6, 3))
  np.testing.assert_array_equal(found[0], table[0])
  np.testing.assert_allclose(found[1:], np.full((18, 3), 2.0), rtol=1e-6)


def test_a_table_smaller_than_a_patch_is_refused():
  with pytest.raises(ValueError, match='size=4 is less than a patch of 8 px'):
    fj.create_model('vit_test', size=4)
