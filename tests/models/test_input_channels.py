# SPDX-License-Identifier: Apache-2.0
"""Every model takes optical flow, and starts from weights of RGB."""

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models

TWINS = sorted(name for name in fj.list_models() if name.endswith('_test'))


def kernels(model):
  """Returns the parameters with as many dimensions as first kernels have."""
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  return {
    jax.tree_util.keystr(path): np.asarray(value)
    for path, value in jax.tree_util.tree_leaves_with_path(params)
    if np.ndim(value) >= 4
  }


@pytest.mark.parametrize(
  ('name', 'channels'), [('resnet_test', 4), *((name, 7) for name in TWINS)]
)
def test_a_model_of_rgb_starts_a_model_of_flow(name, channels):
  """The first kernels are the mean over RGB; RGB itself keeps its own."""
  rgb = fj.create_model(name, num_classes=3)
  state = fj.export_torch(rgb)
  model = fj.create_model(name, num_classes=3, in_channels=channels)
  assert model.input_spec.num_channels == channels
  with pytest.raises(ValueError, match=r"allow=\{'channels'\}"):
    fj.load_torch(model, state)
  report = fj.load_torch(model, state, allow={'channels'})
  assert report.resized
  assert all('mean over RGB' in name for name in report.resized)
  old, new = kernels(rgb), kernels(model)
  changed = [k for k in old if old[k].shape != new[k].shape]
  assert changed
  first = 3 * (channels % 2)
  for key in changed:
    # The last of several frames, for TDN.
    ours, theirs = new[key][..., -channels:, :], old[key][..., -3:, :]
    np.testing.assert_array_equal(ours[..., :first, :], theirs[..., :first, :])
    mean = theirs.mean(axis=-2)
    for channel in range(first, channels):
      np.testing.assert_allclose(ours[..., channel, :], mean, rtol=1e-5)


@pytest.mark.parametrize('name', TWINS)
def test_a_model_of_flow_takes_its_channels_only(name):
  channels = 6
  spec = models.input_spec(name)
  model, state = nnx.split(
    nnx.eval_shape(
      lambda: fj.create_model(name, num_classes=3, in_channels=channels)
    )
  )
  frames = (spec.num_frames,) if models.takes_clips(name) else ()

  fits = models.takes_size({'name': name}, spec.crop, spec.crop)
  side = spec.crop if fits else 128

  def logits(count):
    shape = (1, *frames, side, side, count)
    images = jax.ShapeDtypeStruct(shape, np.float32)
    return jax.eval_shape(lambda s, x: nnx.merge(model, s)(x), state, images)

  assert logits(channels).shape == (1, 3)
  with pytest.raises(ValueError, match=f'{channels}]'):
    logits(3)


@pytest.mark.parametrize(
  ('name', 'kind', 'fields'),
  [('two_stream_temporal', 'flow', 10), ('tsn_bninception_flow', 'flow', 5)],
)
def test_models_of_flow_ask_for_it(name, kind, fields):
  spec = models.input_spec(name)
  assert (spec.input, spec.flow_frames) == (kind, fields)


@pytest.mark.parametrize('wrong', [0, 1, 2.5, '3'])
def test_a_wrong_number_of_channels_is_refused(wrong):
  with pytest.raises(ValueError, match='in_channels must be 3 for RGB, 2 L'):
    fj.create_model('resnet_test', in_channels=wrong)


def test_an_external_model_takes_flow_or_says_what_it_lacks():
  name, options = 'tests.support.plain_cnn:build_', {'image_shape': (32, 32)}
  model = fj.create_model(f'{name}linen', 3, in_channels=4, **options)
  assert model(np.zeros((1, 32, 32, 4), np.float32)).shape == (1, 3)
  with pytest.raises(ValueError, match=r'4 channels .*: add the argument in'):
    fj.create_model(f'{name}nnx', 3, in_channels=4, **options)
