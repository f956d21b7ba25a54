# SPDX-License-Identifier: Apache-2.0
"""Tests of loading PyTorch weights, and of exporting them."""

import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from tests.support import torch_writer

NUM_CLASSES = 5
FIXTURES = pathlib.Path(__file__).parents[2] / 'fixtures'


@pytest.fixture(scope='module')
def weights():
  """A state dict of the tiny twin, in PyTorch's names and shapes."""
  return twin_weights('uniformer_test')


def test_every_tensor_is_loaded(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  report = fj.load_torch(model, weights)
  count = len(jax.tree.leaves(nnx.state(model, (nnx.Param, nnx.BatchStat))))
  assert len(report.loaded) == count
  assert str(report) == f'{count} tensors loaded.'
  kernel = weights['blocks3.0.attn.qkv.weight'].T
  np.testing.assert_array_equal(model.stages[2][0].qkv.kernel[...], kernel)


def test_models_share_no_memory_with_state_dicts():
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  state = fj.export_torch(model)
  before = {key: value.copy() for key, value in state.items()}
  fj.load_torch(model, state)
  for value in state.values():
    value[...] = 9
  after = fj.export_torch(model)
  for key, value in before.items():
    np.testing.assert_array_equal(after[key], value)


def test_leftovers_on_both_sides_are_named_and_nothing_is_changed(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  before = np.asarray(model.head.kernel[...])
  wrong = dict(weights)
  wrong['blocks9.0.norm1.weight'] = wrong.pop('blocks1.0.norm1.weight')
  wrong['norm.bias'] = np.zeros(3)
  with pytest.raises(ValueError) as error:
    fj.load_torch(model, wrong)
  text = str(error.value)
  assert (
    'Only in the model: blocks1.0.norm1.weight (our stages.0.0.norm1.scale).'
    in text
  )
  assert 'Only in the file: blocks9.0.norm1.weight.' in text
  assert 'norm.bias: (3,) in the file, (16,) here' in text
  np.testing.assert_array_equal(model.head.kernel[...], before)


def test_a_head_for_other_classes_is_refused_unless_asked_for(weights):
  model = fj.create_model('uniformer_test', num_classes=3)
  with pytest.raises(ValueError, match=r"allow=\{'new_head'\}"):
    fj.load_torch(model, weights)
  report = fj.load_torch(model, weights, allow={'new_head'})
  assert report.left_at_init == ('head.bias', 'head.kernel')
  assert 'Left at their initial values: head.bias, head.kernel.' in str(report)


def test_new_head_keeps_a_head_that_fits(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  report = fj.load_torch(model, weights, allow={'new_head'})
  assert not report.left_at_init
  np.testing.assert_array_equal(model.head.bias[...], weights['head.bias'])


def twin_weights(name):
  """A state dict of a tiny twin, in PyTorch's names and shapes."""
  fixture = np.load(FIXTURES / f'{name}.npz')
  prefix = 'weights/'
  return {k[len(prefix) :]: fixture[k] for k in fixture if k.startswith(prefix)}


@pytest.mark.parametrize('name', ['resnet_test', 'swinv2_test'])
def test_every_tensor_of_a_twin_is_loaded_or_missed(name):
  weights = twin_weights(name)
  model = fj.create_model(name, NUM_CLASSES)
  report = fj.load_torch(model, weights)
  count = len(jax.tree.leaves(nnx.state(model, (nnx.Param, nnx.BatchStat))))
  assert len(report.loaded) == count
  assert not report.left_at_init + report.dropped
  learned = [k for k in weights if not k.endswith('num_batches_tracked')]
  for key in learned[::7]:
    broken = {k: v for k, v in weights.items() if k != key}
    with pytest.raises(ValueError, match='Only in the model'):
      fj.load_torch(model, broken)
  with pytest.raises(ValueError, match=r'Only in the file: extra\.weight'):
    fj.load_torch(model, weights | {'extra.weight': np.zeros(2)})


def test_names_of_microsoft_and_timm_load_the_same_model():
  weights = twin_weights('swinv2_test')
  theirs = {
    'layers.0.blocks.0.attn.relative_coords_table': np.zeros((1, 7, 7, 2)),
    'layers.0.blocks.0.attn.relative_position_index': np.zeros((16, 16)),
    'layers.1.blocks.1.attn_mask': np.zeros((2, 16, 16)),
  }
  for name, value in weights.items():
    if name.startswith('layers') and '.downsample' in name:
      stage = int(name.split('.')[1])
      name = name.replace(f'layers.{stage}', f'layers.{stage - 1}')
    theirs[name.replace('head.fc', 'head')] = value
  models = [fj.create_model('swinv2_test', NUM_CLASSES) for _ in range(2)]
  for model, source in zip(models, (weights, theirs), strict=True):
    fj.load_torch(model, source, allow={'window'})
  for a, b in zip(
    *(jax.tree.leaves(nnx.state(m)) for m in models), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def light(weights):
  """Converts weights to the form of the light variant's checkpoint."""
  weights = {k: v for k, v in weights.items() if 'patch_embed1.' not in k}
  extra = ['cls_token', 'cls_upsample.weight', 'norm_cls.bias', 'head_cls.bias']
  extra += ['patch_embed1.proj.0.weight', 'patch_embed1.proj.1.running_mean']
  return weights | {name: np.zeros(2, np.float32) for name in extra}


def test_the_light_checkpoint_fills_all_but_the_stem_and_reports_it(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  with pytest.raises(ValueError, match=r"allow=\{'light'\}"):
    fj.load_torch(model, light(weights))
  report = fj.load_torch(model, light(weights), allow={'light'})
  assert report.left_at_init == (
    'embeds.0.norm.bias',
    'embeds.0.norm.scale',
    'embeds.0.proj.bias',
    'embeds.0.proj.kernel',
  )
  assert len(report.dropped) == 6


def test_the_light_checkpoint_must_be_complete_otherwise(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  broken = light(weights)
  del broken['blocks2.0.conv1.bias']
  with pytest.raises(
    ValueError, match=r'Only in the model: blocks2\.0\.conv1\.bias'
  ):
    fj.load_torch(model, broken, allow={'light'})


def test_weights_without_a_head_are_refused(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  headless = {k: v for k, v in weights.items() if not k.startswith('head.')}
  for allow in ((), ('new_head',)):
    with pytest.raises(
      ValueError, match=r'Only in the model: head\.bias \(our'
    ):
      fj.load_torch(model, headless, allow=allow)


def test_a_pth_file_gives_the_same_model_as_its_state_dict(tmp_path, weights):
  path = tmp_path / 'weights.pth'
  wrapped = {f'module._orig_mod.{k}': v for k, v in weights.items()}
  torch_writer.save(path, {'epoch': 3, 'model': wrapped})

  model = fj.create_model('uniformer_test', NUM_CLASSES, pretrained=str(path))
  expected = fj.create_model('uniformer_test', NUM_CLASSES)
  fj.load_torch(expected, weights)
  for a, b in zip(
    *(jax.tree.leaves(nnx.state(m)) for m in (model, expected)), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_safetensors_load_as_well(tmp_path, weights):
  safetensors = pytest.importorskip('safetensors.numpy')
  path = tmp_path / 'weights.safetensors'
  safetensors.save_file(dict(weights), path)
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  fj.load_torch(model, path)
  np.testing.assert_array_equal(
    model.norm.var[...], weights['norm.running_var']
  )


def test_unknown_published_weights_are_refused_with_the_choices():
  with pytest.raises(ValueError, match=r"'imagenet22k'.*there are none"):
    fj.create_model('uniformer_test', pretrained='imagenet22k')
  model = fj.create_model('uniformer_test')
  with pytest.raises(ValueError, match=r'published weights.*imagenet1k'):
    fj.models.load_pretrained(model, 'uniformer_xxs', 'imagenet22k')


@pytest.mark.parametrize('pretrained', [True, 'x.safetensors'])
def test_weights_for_a_model_of_another_package_are_refused(pretrained):
  name = 'tests.support.plain_cnn:build_nnx'
  model = fj.create_model(name, 3, pretrained=None)
  with pytest.raises(ValueError, match='in the function that builds it'):
    fj.create_model(name, 3, pretrained=pretrained)
  with pytest.raises(ValueError, match='in the function that builds it'):
    fj.models.load_pretrained(model, name, pretrained)


def test_weights_load_from_a_url(tmp_path, weights):
  safetensors = pytest.importorskip('safetensors.numpy')
  path = tmp_path / 'weights.safetensors'
  safetensors.save_file(dict(weights), path)
  url = path.as_uri()
  model = fj.create_model('uniformer_test', NUM_CLASSES, pretrained=url)
  np.testing.assert_array_equal(model.head.bias[...], weights['head.bias'])


@pytest.mark.parametrize('array', [np.asarray, jnp.asarray])
def test_other_windows_are_loaded_when_allowed_and_reported(array):
  weights = twin_weights('swinv2_test')  # Made with windows of 4.
  table = 'layers.0.blocks.0.attn.relative_coords_table'
  weights[table] = array(np.zeros((1, 7, 7, 2)))
  fj.load_torch(fj.create_model('swinv2_test', NUM_CLASSES), weights)
  model = fj.create_model('swinv2_test', NUM_CLASSES, window=8)
  with pytest.raises(ValueError, match=r"allow=\{'window'\}"):
    fj.load_torch(model, weights)
  report = fj.load_torch(model, weights, allow={'window'})
  assert report.resized == ('position tables (window 4 there, 8 here)',)


def test_an_unknown_allowance_is_refused_with_the_choices(weights):
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  with pytest.raises(ValueError, match=r"'heads'.*'new_head': leave"):
    fj.load_torch(model, weights, allow={'heads'})


def test_another_architecture_is_refused():
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  with pytest.raises(ValueError, match=r'Only in the file: bn1\.bias'):
    fj.load_torch(model, twin_weights('resnet_test'))


@pytest.mark.parametrize(
  ('twin', 'naming'),
  [
    ('uniformer_test', None),
    ('resnet_test', None),
    ('swinv2_test', 'timm'),
    ('swinv2_test', 'microsoft'),
  ],
)
def test_exported_weights_are_what_was_loaded(tmp_path, twin, naming):
  weights = twin_weights(twin)
  model = fj.create_model(twin, NUM_CLASSES)
  fj.load_torch(model, weights)
  path = tmp_path / 'weights.safetensors'
  exported = fj.export_torch(model, path, naming=naming)
  if naming != 'microsoft':
    assert exported.keys() == weights.keys()
    for name, value in weights.items():
      if not name.endswith('num_batches_tracked'):
        np.testing.assert_array_equal(exported[name], value, err_msg=name)
  again = fj.create_model(twin, NUM_CLASSES, rngs=nnx.Rngs(1))
  fj.load_torch(again, path)
  for a, b in zip(
    *(jax.tree.leaves(nnx.state(m)) for m in (model, again)), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_an_exported_file_has_the_permissions_of_any_new_file(tmp_path):
  path = tmp_path / 'weights.safetensors'
  fj.export_torch(fj.create_model('resnet_test'), path)
  (tmp_path / 'new').touch()
  assert path.stat().st_mode == (tmp_path / 'new').stat().st_mode


def test_wrong_exports_are_refused(tmp_path):
  model = fj.create_model('swinv2_test')
  with pytest.raises(ValueError, match=r'safetensors, not as .*x\.pth'):
    fj.export_torch(model, tmp_path / 'x.pth')
  with pytest.raises(ValueError, match=r"'google'.*\['timm', 'microsoft'\]"):
    fj.export_torch(model, naming='google')


def test_the_file_that_pytorch_wrote_loads(weights):
  """Written by torch 2.13: model, optimizer and command line, as they come."""
  model = fj.create_model('uniformer_test', NUM_CLASSES)
  fj.load_torch(model, FIXTURES / 'uniformer_test.pth')
  kernel = weights['blocks3.0.attn.qkv.weight'].T
  np.testing.assert_array_equal(model.stages[2][0].qkv.kernel[...], kernel)
