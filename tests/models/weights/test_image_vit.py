# SPDX-License-Identifier: Apache-2.0
"""Tests of weights of video transformers: published forms, and images'."""

import json

from flax import nnx, serialization, traverse_util
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import weights_options
from flatten_jax.models.layers import positions
from flatten_jax.models.weights import conversion, key_names

# File of names and shapes -> the model, its options and its classes.
KEYS = {
  'vivit_b16x2_k400_scenic_nc400': ('vivit_b', {}, 400),
  'vivit_b16x2_fe_k400_scenic_12temporal_nc400': (
    'vivit_b_fe',
    {'temporal_depth': 12},
    400,
  ),
  'vivit_l16x2_k400_scenic_nc400_unpublished': ('vivit_l', {}, 400),
  'vivit_l16x2_fe_k400_scenic_24temporal_nc400': (
    'vivit_l_fe',
    {'temporal_depth': 24},
    400,
  ),
  'vivit_l16x2_fe_ssv2_scenic_4temporal_nc174_unpublished': (
    'vivit_l_fe',
    {'clip_shape': (32, 256, 256)},
    174,
  ),
  'vidtr_l_k400_model_nc400': ('vidtr_l', {}, 400),
  'vtn_vit_b_k400_model_state_nc400': ('vtn_b', {}, 400),
}
LAYOUTS = {
  'optimizer.target': lambda tree: {'optimizer': {'target': tree}},
  'optimizer.target.params': lambda t: {'optimizer': {'target': {'params': t}}},
  'params': lambda tree: {'params': tree},
}


@pytest.mark.parametrize('file', KEYS)
def test_names_and_shapes_are_the_published_ones(parity_folder, file):
  name, options, classes = KEYS[file]
  text = (parity_folder / 'keys' / f'{file}.json').read_text()
  published = {
    k.removeprefix('optimizer/target/').replace('/', '.'): tuple(shape)
    for k, shape in json.loads(text).items()
  }
  model = nnx.eval_shape(lambda: fj.create_model(name, classes, **options))
  naming = next(iter(key_names.namings_of(model).values()))
  ours = {}
  for path, x in conversion._tensors(model).items():
    x = np.zeros(x.shape, bool)
    ours |= naming.to_theirs('.'.join(map(str, path)), x, model)
  published = {
    k: v for k, v in published.items() if not key_names.is_computed(k)
  }
  assert {k: v.shape for k, v in ours.items()} == published


def noisy(name, **options):
  """Returns a model with no two equal values."""
  model = fj.create_model(name, 5, **options)
  rng = np.random.default_rng(0)
  nnx.update(
    model,
    traverse_util.unflatten_dict(
      {
        path: rng.standard_normal(x.shape).astype(np.float32)
        for path, x in conversion._tensors(model).items()
      }
    ),
  )
  return model


def same(a, b):
  a, b = conversion._tensors(a), conversion._tensors(b)
  assert a.keys() == b.keys()
  return all(np.array_equal(a[path], b[path]) for path in a)


def write_flax(path, state, layout):
  tree = traverse_util.unflatten_dict(state, sep='.')
  content = LAYOUTS[layout](tree) | {'global_step': 7, 'model_state': {}}
  if 'optimizer' in content:  # Moments have the names of the parameters.
    content['optimizer']['state'] = {'param_states': tree}
  else:
    content['opt_state'] = {'0': {'trace': {'params': tree}}}
  path.write_bytes(serialization.msgpack_serialize(content))


@pytest.mark.parametrize('naming', ['scenic', 'scenic_pre_linen'])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('twin', ['vivit_test', 'vivit_fe_test'])
def test_scenics_files_are_read_in_every_layout(twin, layout, naming, tmp_path):
  model, other = noisy(twin), fj.create_model(twin, 5)
  state = fj.export_torch(model, naming=naming)
  write_flax(tmp_path / 'checkpoint', state, layout)
  report = fj.load_torch(other, tmp_path / 'checkpoint')
  assert same(model, other)
  assert not (report.resized or report.left_at_init or report.dropped)


def test_names_joined_by_slashes_are_read():
  model, other = noisy('vivit_test'), fj.create_model('vivit_test', 5)
  state = fj.export_torch(model)
  fj.load_torch(other, {k.replace('.', '/'): v for k, v in state.items()})
  assert same(model, other)


def test_leftovers_of_a_flax_file_are_refused(tmp_path):
  state = fj.export_torch(noisy('vivit_fe_test', temporal_depth=3))
  write_flax(tmp_path / 'checkpoint', state, 'params')
  model = fj.create_model('vivit_fe_test', 5)
  with pytest.raises(ValueError, match=r'Only in the file: Temporal.*block_2'):
    fj.load_torch(model, tmp_path / 'checkpoint')


def test_the_depth_in_time_is_taken_from_the_file(tmp_path):
  deep = noisy('vivit_fe_test', temporal_depth=3)
  write_flax(tmp_path / 'checkpoint', fj.export_torch(deep), 'params')
  path = str(tmp_path / 'checkpoint')
  assert same(deep, fj.create_model('vivit_fe_test', 5, pretrained=path))


def image_vit(layers=2, classes=7, dim=16, side=2):
  """Returns an image ViT by timm's names."""
  rng = np.random.default_rng(0)
  shapes = {
    'cls_token': (1, 1, dim),
    'pos_embed': (1, 1 + side**2, dim),
    'patch_embed.proj.weight': (dim, 3, 16, 16),
    'patch_embed.proj.bias': (dim,),
    'norm.weight': (dim,),
    'norm.bias': (dim,),
    'head.weight': (classes, dim),
    'head.bias': (classes,),
  }
  for i in range(layers):
    for name, out, into in (
      ('attn.qkv', 3 * dim, dim),
      ('attn.proj', dim, dim),
      ('mlp.fc1', 4 * dim, dim),
      ('mlp.fc2', dim, 4 * dim),
    ):
      shapes[f'blocks.{i}.{name}.weight'] = (out, into)
      shapes[f'blocks.{i}.{name}.bias'] = (out,)
    for name in ('norm1', 'norm2'):
      shapes[f'blocks.{i}.{name}.weight'] = (dim,)
      shapes[f'blocks.{i}.{name}.bias'] = (dim,)
  return {
    name: rng.standard_normal(shape).astype(np.float32)
    for name, shape in shapes.items()
  }


@pytest.mark.parametrize('twin', ['vivit_test', 'vivit_fe_test'])
def test_vivit_starts_as_an_image_vit(twin):
  model, vit = fj.create_model(twin, 5, clip_shape=(4, 32, 32)), image_vit()
  before = conversion._tensors(model)
  with pytest.raises(ValueError, match='would start as an image'):
    fj.load_torch(model, vit)
  report = fj.load_torch(model, vit, allow={'inflate'})
  ours = conversion._tensors(model)
  kernel = np.asarray(ours['embeds', 0, 'kernel'])
  image = vit['patch_embed.proj.weight'].transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(kernel, np.stack([0 * image, image]))
  table = np.asarray(ours['pos_embeds', 0])
  times = 2 if twin == 'vivit_test' else 1
  np.testing.assert_array_equal(
    table[0, 1:], np.tile(vit['pos_embed'][0, 1:], (times, 1))
  )
  np.testing.assert_array_equal(table[:, 0], vit['pos_embed'][:, 0])
  np.testing.assert_array_equal(ours['cls_tokens', 0], vit['cls_token'])
  np.testing.assert_array_equal(
    ours['stages', 0, 1, 'qkv', 'kernel'], vit['blocks.1.attn.qkv.weight'].T
  )
  fresh = [path for path in before if path[:2] in (('stages', 1), ('head',))]
  for path in fresh:
    np.testing.assert_array_equal(ours[path], before[path])
  assert {'head.kernel', 'head.bias'} <= set(report.left_at_init)
  assert set(report.dropped) == {'head.weight', 'head.bias'}


def test_vidtr_starts_as_an_image_vit():
  model = fj.create_model('vidtr_test', 5, clip_shape=(3, 32, 32))
  vit = image_vit()
  report = fj.load_torch(model, vit, allow={'inflate'})
  ours = conversion._tensors(model)
  np.testing.assert_array_equal(
    ours['pos_embeds', 0], np.tile(vit['pos_embed'], (1, 4, 1))
  )
  for name, shape in (('cls_s', (3, 1, 16)), ('cls_t', (1, 5, 16))):
    expected = np.broadcast_to(vit['cls_token'], shape)
    np.testing.assert_array_equal(ours[(name,)], expected)
  kernel = vit['patch_embed.proj.weight'].transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(ours['embeds', 0, 'kernel'], kernel[None])
  assert set(report.left_at_init) == {'head.kernel', 'head.bias'}


def test_vtn_starts_as_an_image_vit():
  model, vit = fj.create_model('vtn_test', 5), image_vit(layers=1)
  before = conversion._tensors(model)
  report = fj.load_torch(model, vit, allow={'inflate'})
  ours = conversion._tensors(model)
  np.testing.assert_array_equal(ours['pos_embeds', 0], vit['pos_embed'])
  np.testing.assert_array_equal(ours['cls_tokens', 0], vit['cls_token'])
  np.testing.assert_array_equal(ours['norms', 0, 'scale'], vit['norm.weight'])
  assert set(report.dropped) == {'head.weight', 'head.bias'}
  for path in before:
    fresh = path[:2] == ('stages', 1) or path[0] in ('neck', 'frame_embed')
    assert not fresh or np.array_equal(before[path], ours[path])


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize(
  'twin, key', [('vidtr_test', 'model'), ('vtn_test', 'model_state')]
)
def test_pytorch_files_are_read_wrapped_or_not(twin, key, prefix):
  model, other = noisy(twin), fj.create_model(twin, 5)
  state = fj.export_torch(model)
  if twin == 'vtn_test':
    state['temporal_encoder.embeddings.position_ids'] = np.arange(288)[None]
  content = {key: {prefix + k: v for k, v in state.items()}, 'epoch': 50}
  fj.load_torch(other, content)
  assert same(model, other)


def test_an_image_table_of_another_size_is_interpolated():
  model = fj.create_model('vivit_test', 5, clip_shape=(2, 48, 48))
  vit = image_vit()
  fj.load_torch(model, vit, allow={'inflate'})
  table = np.asarray(conversion._tensors(model)['pos_embeds', 0])[0, 1:]
  grid = vit['pos_embed'][0, 1:].reshape(2, 2, -1)
  table = table.reshape(3, 3, -1)
  np.testing.assert_array_equal(table[::2, ::2], grid)  # The corners stay.
  np.testing.assert_allclose(table[1, 1], grid.mean(axis=(0, 1)), atol=1e-6)


def test_tables_are_resized_as_by_scenic(parity_folder):
  path = parity_folder / 'data_facts_vivit_vtn_vidtr.json'
  facts = json.loads(path.read_text())['vivit_posemb']

  def resized(name, new, old):
    table = np.array(facts[name])[:, None]
    return np.asarray(positions.resize(table, new, old))[:, 0]

  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
  for side in (2, 4):
    ours = resized('grid_3x3', (side, side), (3, 3))
    close(ours, facts[f'resize_to_{side}x{side}'])
  close(resized('temporal_4', (6,), (4,)), facts['temporal_4_to_6'])


@pytest.mark.parametrize(
  'twin, old',
  [
    ('vivit_test', (4, 32, 32)),
    ('vivit_test', (8, 32, 48)),
    ('vivit_fe_test', (4, 32, 32)),
    ('vivit_fe_test', (8, 48, 48)),
  ],
)
def test_clips_of_another_size_need_an_allowance(twin, old):
  source, model = noisy(twin, clip_shape=old), fj.create_model(twin, 5)
  state = fj.export_torch(source)
  with pytest.raises(ValueError, match='would interpolate'):
    fj.load_torch(model, state)
  report = fj.load_torch(model, state, allow={'positions'})
  assert report.resized
  x = np.zeros((1, 4, 32, 48, 3), np.float32)
  # The model interpolates in the same way by itself.
  np.testing.assert_allclose(model(x), source(x), atol=1e-4)


def test_published_weights_bring_the_options_that_they_need():
  assert weights_options('vivit_b_fe', 'kinetics400') == {'temporal_depth': 12}
  assert weights_options('vivit_b', 'kinetics400') == {}
