# SPDX-License-Identifier: Apache-2.0
"""Networks of clips and flow that start as networks of images."""

import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import bn_inception
from tests.support import official, torch_writer, weight_writer


def resnet(model):
  """A ResNet of the sizes of a video model, by torchvision's names."""
  depth = tuple(len(stage) for stage in model.stages)
  block = model.stages[0][0]
  width = getattr(block, 'slow', block).norm1.scale.shape[0]
  return image('resnet_test', depth=depth, width=width)


def image(name, publisher=None, **options):
  """Weights of an image model, for seven classes."""
  model = fj.create_model(name, 7, **options)
  state = fj.export_torch(model, naming=publisher)
  return {key: official.fill(key, x.shape) for key, x in state.items()}


def kernel(state, name, time=None):
  """A kernel in our axes, repeated along time."""
  value = np.moveaxis(state[name], (0, 1), (-1, -2))
  return value if time is None else np.stack([value / time] * time)


RESNETS = {  # Twin -> the size in time of its stem, and what starts by itself.
  'i3d_test': (5, 'non_local'),
  'slowfast_test': (1, 'fast fusions non_local conv'),
  'tdn_test': (None, 'long_term shift near_norm conv'),
  'motion_squeeze_test': (None, 'motion'),
  'tsn_test': (None, ''),
}
STEMS = {'i3d_test': 'embeds.0.', 'slowfast_test': 'embeds.0.slow.'}
STEMS['tdn_test'] = 'embeds.0.'


@pytest.mark.parametrize('twin', RESNETS)
def test_a_network_of_clips_starts_as_a_resnet(twin, tmp_path):
  model = fj.create_model(twin, 5)
  before, state = official.flat_state(model), resnet(model)
  torch_writer.save(tmp_path / 'resnet.pth', state)
  with pytest.raises(ValueError, match='would start as an image'):
    fj.load_torch(model, state)
  report = fj.load_torch(model, tmp_path / 'resnet.pth', allow={'inflate'})
  ours, (time, own) = official.flat_state(model), RESNETS[twin]
  stem = STEMS.get(twin, '')
  np.testing.assert_allclose(
    ours[f'{stem}conv.kernel'], kernel(state, 'conv1.weight', time), rtol=1e-6
  )
  np.testing.assert_array_equal(
    ours[f'{stem}norm.var'], state['bn1.running_var']
  )
  assert set(report.dropped) == {'fc.weight', 'fc.bias'}
  for name in report.left_at_init:
    np.testing.assert_array_equal(ours[name], before[name])
    parts = {part.rstrip('123') for part in name.split('.')}
    assert parts & {'head', 'shortcut', *own.split()}, name
  fresh = {name for name in before if (ours[name] == before[name]).all()}
  # Those that began with the same values, zeros and ones, are few.
  assert fresh == set(report.left_at_init)


def test_kernels_are_divided_by_their_time():
  model = fj.create_model('i3d_test', 5)
  state = resnet(model)
  fj.load_torch(model, state, allow={'inflate'})
  ours = official.flat_state(model)
  for i, time in ((0, 3), (1, 1)):  # Of the second stage.
    np.testing.assert_allclose(
      ours[f'stages.1.{i}.conv1.kernel'],
      kernel(state, f'layer2.{i}.conv1.weight', time),
      rtol=1e-6,
    )


def test_pyslowfasts_image_network_has_its_own_names():
  """R50_IN1K.pyth: kernels of four axes, in the names of the video network."""
  model = fj.create_model('i3d_test', 5)
  before = official.flat_state(model)
  state = {}
  for name, value in fj.export_torch(model).items():
    if 'nonlocal' not in name:
      shape = (
        value.shape if value.ndim < 5 else (*value.shape[:2], *value.shape[3:])
      )
      state[name] = official.fill(name, shape)
  state['head.projection.weight'] = np.zeros((7, 128), np.float32)
  state['head.projection.bias'] = np.zeros(7, np.float32)
  report = fj.load_torch(model, {'model_state': state}, allow={'inflate'})
  ours = official.flat_state(model)
  stem = kernel(state, 's1.pathway0_stem.conv.weight', 5)
  np.testing.assert_allclose(ours['embeds.0.conv.kernel'], stem, rtol=1e-6)
  np.testing.assert_array_equal(ours['head.kernel'], before['head.kernel'])
  assert all('non_local' in x or 'head' in x for x in report.left_at_init)


def test_slowfasts_kernels_that_see_the_fast_path_stay():
  model = fj.create_model('slowfast_test', 5)
  before, state = official.flat_state(model), resnet(model)
  report = fj.load_torch(model, state, allow={'inflate'})
  ours = official.flat_state(model)
  for i in range(4):
    for part in ('conv1', 'shortcut'):
      name = f'stages.{i}.0.slow.{part}.kernel'
      np.testing.assert_array_equal(ours[name], before[name])
      assert name in report.left_at_init
      assert name not in report.resized
  for i, time in ((0, 1), (3, 1)):
    np.testing.assert_allclose(
      ours[f'stages.{i}.0.slow.conv3.kernel'],
      kernel(state, f'layer{i + 1}.0.conv3.weight', time),
      rtol=1e-6,
    )


def test_tdns_differences_start_as_the_first_stage():
  model = fj.create_model('tdn_test', 5)
  before, state = official.flat_state(model), resnet(model)
  fj.load_torch(model, state, allow={'inflate'})
  ours = official.flat_state(model)
  mean = kernel(state, 'conv1.weight').mean(axis=-2, keepdims=True)
  np.testing.assert_allclose(
    ours['embeds.0.near_conv.kernel'], mean.repeat(12, axis=-2), rtol=1e-6
  )
  for stage in ('embeds.0.near.0', 'stages.0.0'):
    for number in (1, 2, 3):
      np.testing.assert_array_equal(
        ours[f'{stage}.conv{number}.kernel'],
        kernel(state, f'layer1.0.conv{number}.weight'),
      )
  for name in ('conv.bias', 'near_norm.scale', 'near.0.conv1.bias'):
    name = f'embeds.0.{name}'
    np.testing.assert_array_equal(ours[name], before[name])


@pytest.mark.parametrize('twin', [x for x in RESNETS if x != 'tsn_test'])
def test_a_resnet_of_another_depth_is_refused(twin):
  model = fj.create_model(twin, 5)
  state = resnet(model)
  less = {k: x for k, x in state.items() if not k.startswith('layer3.1')}
  with pytest.raises(ValueError, match=r'Only in the model: layer3\.1'):
    fj.load_torch(model, less, allow={'inflate'})
  more = state | {
    k.replace('layer3.1', 'layer3.9'): x for k, x in state.items()
  }
  with pytest.raises(ValueError, match=r'Only in the file: layer3\.9'):
    fj.load_torch(model, more, allow={'inflate'})


SIZES = {name: getattr(bn_inception.TEST, name) for name in ('stem', 'stages')}


@pytest.mark.parametrize('publisher', ['cadene', 'yjxiong'])
def test_tsn_of_flow_starts_with_the_mean_over_colors(publisher):
  model = fj.create_model('tsn_bninception_flow', 5, **SIZES)
  state = image('bn_inception_test', publisher)
  if publisher == 'yjxiong':
    state = {
      k: x[None] if '_bn.' in k and x.ndim == 1 else x for k, x in state.items()
    }
  report = fj.load_torch(model, state, allow={'inflate', 'channels'})
  ours = official.flat_state(model)
  mean = kernel(state, 'conv1_7x7_s2.weight').mean(axis=-2, keepdims=True)
  name = 'embeds.0.conv1.conv.kernel'
  np.testing.assert_allclose(ours[name], mean.repeat(10, axis=-2), rtol=1e-6)
  assert set(report.left_at_init) == {'head.kernel', 'head.bias'}
  assert report.resized == (f'{name} (mean over RGB, for 10 channels)',)


def test_i3d_starts_as_googlenet():
  model = fj.create_model('i3d_inception_test', 5)
  state = {}
  for name, value in official.in_names(model, 'torchvision').items():
    value = value[:, :, 0] if value.ndim == 5 else value
    value = value[..., None, None] if value.ndim == 2 else value
    state[name] = official.fill(name, value.shape)
  state['fc.weight'] = np.zeros((7, 16), np.float32)
  state['fc.bias'] = np.zeros(7, np.float32)
  state['aux1.fc2.bias'] = np.zeros(7, np.float32)
  report = fj.load_torch(model, state, allow={'inflate'})
  ours = official.flat_state(model)
  for name, theirs, time in (
    ('embeds.0.conv1.conv', 'conv1.conv.weight', 7),
    ('stages.1.0.three2.conv', 'inception4a.branch3.1.conv.weight', 3),
    ('stages.2.0.proj.conv', 'inception5a.branch4.1.conv.weight', 1),
  ):
    np.testing.assert_allclose(
      ours[f'{name}.kernel'], kernel(state, theirs, time), rtol=1e-6
    )
  assert set(report.left_at_init) == {'head.kernel', 'head.bias'}
  assert set(report.dropped) == {'aux1.fc2.bias', 'fc.weight', 'fc.bias'}


def test_two_stream_of_flow_starts_as_vgg_m(tmp_path):
  state = image('two_stream_test')
  weight_writer.matconvnet(tmp_path / 'vgg.mat', state)
  model = fj.create_model('two_stream_test', 5, in_channels=20)
  report = fj.load_torch(
    model, tmp_path / 'vgg.mat', allow={'channels', 'new_head'}
  )
  ours = official.flat_state(model)
  mean = kernel(state, 'conv1.weight').mean(axis=-2, keepdims=True)
  name = 'embeds.0.conv.kernel'
  np.testing.assert_allclose(ours[name], mean.repeat(20, axis=-2), rtol=1e-6)
  np.testing.assert_array_equal(ours['fc6.kernel'], state['fc6.weight'].T)
  assert set(report.left_at_init) == {'head.kernel', 'head.bias'}
