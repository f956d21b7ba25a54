# SPDX-License-Identifier: Apache-2.0
"""Patches of images and clips."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flatten_jax.models.layers import devices
from flatten_jax.models.layers.patch_embed import PatchConv, to_patches
from tests.support.other_devices import TPU


@pytest.mark.parametrize(
  ('shape', 'patch'),
  [
    ((2, 8, 12, 3), (4, 4)),
    ((2, 4, 8, 8, 3), (2, 4, 2)),
    ((1, 6, 6, 9), (3, 2)),
  ],
)
def test_patches_are_the_same_on_every_device(shape, patch):
  x = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
  ours = to_patches(x, patch)
  with devices.use([TPU]):
    on_tpu = to_patches(x, patch)
    program = str(jax.make_jaxpr(to_patches, static_argnums=1)(x, patch))
  np.testing.assert_array_equal(on_tpu, ours)
  assert ('concatenate' in program) == (shape[-1] < 8)


def test_a_patch_convolution_is_the_convolution():
  layer = PatchConv(3, 5, (2, 4), rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).standard_normal((2, 6, 9, 3), np.float32)
  expected = jax.lax.conv_general_dilated(
    x, layer.kernel[...], (2, 4), 'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )  # fmt: skip
  for device in ([TPU], jax.devices()):
    with devices.use(device):
      np.testing.assert_allclose(
        layer(x), np.asarray(expected) + np.asarray(layer.bias), atol=1e-5
      )
