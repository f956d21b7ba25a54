# SPDX-License-Identifier: Apache-2.0
"""The nano models: about as large, and as costly, as `uniformer_nano`."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import pytest

import flatten_jax as fj
from flatten_jax import models
from flatten_jax.runtime.cost import cost

NAMES = sorted({*fj.list_models('*_nano'), *fj.list_models('*_nano_*')})


def build(name):
  spec = models.input_spec(name)
  create = functools.partial(
    fj.create_model, name, 12, in_channels=spec.num_channels
  )
  return nnx.eval_shape(create), spec


def test_every_compared_network_has_a_nano():
  families = {name.partition('_nano')[0] for name in NAMES}
  assert families >= {
    *('uniformer', 'uniformer3d', 'resnet', 'swinv2', 'i3d', 'slowfast'),
    'vit',
    *('video_swin', 'timesformer', 'vivit', 'vtn', 'vidtr', 'tdn'),
    *('motion_squeeze', 'two_stream_spatial', 'two_stream_temporal'),
  }
  assert 'i3d_nano_nl' in NAMES


@pytest.mark.parametrize('name', NAMES)
def test_a_nano_has_its_size_and_its_cost(name):
  model, spec = build(name)
  found = cost(model, frames=spec.num_frames, resolution=spec.crop)
  assert 0.5e6 < found.params < 1.2e6
  # A ViT of these parameters has as few only with 2 x 2 patches a frame.
  assert 0.012 < found.gflops < 0.11


@pytest.mark.parametrize('name', NAMES)
def test_a_nano_trains_on_the_clips_of_the_quickstart(name):
  """All of it but the compilation: the gradient of every parameter."""
  model, spec = build(name)
  graphdef, params, rest = nnx.split(model, nnx.Param, ...)
  clips = jax.ShapeDtypeStruct(
    (32, spec.num_frames, spec.crop, spec.crop, spec.num_channels), jnp.float32
  )

  def loss(params, rest, clips):
    model = nnx.merge(graphdef, params, rest, copy=True)
    images = clips if models.takes_clips(name) else fj.flatten(clips)
    logits = model(images, train=True, rngs=nnx.Rngs(dropout=0))
    assert logits.shape == (32, 12)
    return logits.mean()

  gradient = jax.eval_shape(jax.grad(loss), params, rest, clips)
  assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)
