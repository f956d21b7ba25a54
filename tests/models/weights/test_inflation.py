# SPDX-License-Identifier: Apache-2.0
"""Tests that video models start as image models by the official rules."""

import numpy as np
import pytest

import flatten_jax as fj
from tests.support import image_weights, official

# File -> the model, and the publisher of the image model's names.
IMPORTS = {
  'swin2d_window7_to_video_swin_tiny': ('video_swin_t', 'swin'),
  'swin2d_window12_to_video_swin_tiny': ('video_swin_t', 'swin'),
  'vit_base_patch16_224_to_timesformer_base': ('timesformer_b', 'vit'),
  'vit_base_patch16_224_to_timesformer_hr': ('timesformer_hr', 'vit'),
}
HEAD = {'head.kernel', 'head.bias'}


@pytest.mark.slow
@pytest.mark.parametrize('file', IMPORTS)
def test_image_weights_start_a_video_model_as_officially(parity_folder, file):
  truth = np.load(parity_folder / 'imports' / f'{file}.npz')
  name, publisher = IMPORTS[file]
  sources = zip(truth['source_names'], truth['source_shapes'], strict=True)
  image = {
    str(key): official.fill(str(key), tuple(map(int, shape.split('x'))))
    for key, shape in sources
  }
  model = fj.create_model(name)
  with pytest.raises(ValueError, match='inflate'):
    fj.load_torch(model, image, allow={'new_head'})
  content = {'model': image} if publisher == 'swin' else image
  report = fj.load_torch(model, content, allow={'inflate'})
  assert set(report.left_at_init) >= HEAD
  assert set(report.dropped) == {'head.weight', 'head.bias'}
  ours = official.in_names(model, publisher)
  for i, key in enumerate(truth['names']):
    if not key.startswith('head'):
      shape = tuple(map(int, truth['shapes'][i].split('x')))
      assert ours[key].shape == shape
      value = np.asarray(ours[key], np.float64)
      close(np.sqrt(np.square(value).sum()), truth['l2'][i], key)
      largest = np.abs(value).sum()  # Of which the rest of a sum is little.
      np.testing.assert_allclose(
        value.sum(), truth['sum'][i], rtol=0, atol=1e-12 * largest, err_msg=key
      )
  for key in set(truth) - {'names', 'shapes', 'l2', 'sum', 'kept_at_init'}:
    name, _, part = key.removeprefix('table/').rpartition('/')
    if part == 'first_169_rows':
      close(ours[name][:169], truth[key], key)
      np.testing.assert_array_equal(ours[name][169:338], ours[name][:169])
    elif part == 'first4':
      close(ours[name][:4], truth[key], key)
    elif part == 'every_37th_channel':
      close(ours[name][0, :, ::37], truth[key], key)


def close(ours, theirs, name):
  np.testing.assert_allclose(ours, theirs, rtol=1e-8, err_msg=name)


@pytest.mark.parametrize('publisher', ['swin', 'swin_timm'])
def test_video_swin_starts_as_an_image_swin(publisher):
  model = fj.create_model('video_swin_test', 5)
  before = official.flat_state(model)
  image = image_weights.swin(model, publisher)
  report = fj.load_torch(model, image, allow={'inflate'})
  ours = official.in_names(model, publisher)
  kernel = image['patch_embed.proj.weight']
  np.testing.assert_array_equal(
    ours['patch_embed.proj.weight'], np.stack([kernel / 2] * 2, axis=2)
  )
  name = 'layers.1.blocks.0.attn.relative_position_bias_table'
  frames = 2 * model.stages[0][0].attn.window[0] - 1
  np.testing.assert_array_equal(ours[name], np.tile(image[name], (frames, 1)))
  name = 'layers.0.blocks.0.mlp.fc1.weight'
  np.testing.assert_array_equal(ours[name], image[name])
  assert set(report.left_at_init) == HEAD
  for name in HEAD:
    np.testing.assert_array_equal(
      official.flat_state(model)[name], before[name]
    )


def test_a_timesformer_starts_as_a_vit():
  model = fj.create_model('timesformer_test', 5)
  image = image_weights.vit(dim=8, side=3)
  report = fj.load_torch(model, image, allow={'inflate'})
  ours = official.in_names(model, 'facebook')
  for name in ('attn.qkv.weight', 'attn.proj.bias', 'norm1.weight'):
    theirs = image[f'blocks.1.{name}']
    for prefix in ('', 'temporal_'):
      np.testing.assert_array_equal(
        ours[f'model.blocks.1.{prefix}{name}'], theirs
      )
  assert not ours['model.time_embed'].any()
  assert not ours['model.blocks.1.temporal_fc.weight'].any()
  assert set(report.left_at_init) >= {*HEAD, 'time_embed'}


def test_a_timesformers_table_of_another_size_is_flat_or_keeps_places():
  image = image_weights.vit(dim=8, side=2)
  table = image['pos_embed'][0, 1:, 0]
  for way, expected, said in (
    (
      'flat',
      [0, 0, 0, 1, 1],
      'pos_embed (in flat order, as officially; import',
    ),
    ('grid', [0, 0, 1, 0, 0], 'pos_embed (on its grid)'),
  ):
    model = fj.create_model('timesformer_test', 5, import_positions=way)
    report = fj.load_torch(model, image, allow={'inflate'})
    found = model.pos_embed[0, 1:6, 0]
    np.testing.assert_array_equal(found, table[expected], err_msg=way)
    assert said in str(report)
  with pytest.raises(ValueError, match="'flat' or 'grid'"):
    fj.create_model('timesformer_test', import_positions='both')


@pytest.mark.parametrize('twin', ['vivit_test', 'vivit_fe_test'])
def test_a_vivit_starts_as_a_vit(twin):
  model = fj.create_model(twin, 5, clip_shape=(4, 32, 32))
  vit = image_weights.vit()
  before = official.flat_state(model)
  with pytest.raises(ValueError, match='would start as an image'):
    fj.load_torch(model, vit)
  report = fj.load_torch(model, vit, allow={'inflate'})
  ours = official.flat_state(model)
  image = vit['patch_embed.proj.weight'].transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(
    ours['embeds.0.kernel'], np.stack([0 * image, image])
  )
  table = ours['pos_embeds.0']
  times = 2 if twin == 'vivit_test' else 1
  np.testing.assert_array_equal(
    table[0, 1:], np.tile(vit['pos_embed'][0, 1:], (times, 1))
  )
  np.testing.assert_array_equal(table[:, 0], vit['pos_embed'][:, 0])
  np.testing.assert_array_equal(ours['cls_tokens.0'], vit['cls_token'])
  np.testing.assert_array_equal(
    ours['stages.0.1.qkv.kernel'], vit['blocks.1.attn.qkv.weight'].T
  )
  for name in before:  # The encoder of time, and the head.
    if name.startswith(('stages.1', 'pos_embeds.1', 'head')):
      np.testing.assert_array_equal(ours[name], before[name])
      assert name in report.left_at_init
  assert set(report.left_at_init) >= HEAD
  assert set(report.dropped) == {'head.weight', 'head.bias'}


def test_an_image_table_of_another_size_is_interpolated():
  model = fj.create_model('vivit_test', 5, clip_shape=(2, 48, 48))
  vit = image_weights.vit()
  fj.load_torch(model, vit, allow={'inflate'})
  table = np.asarray(model.pos_embeds[0])[0, 1:].reshape(3, 3, -1)
  grid = vit['pos_embed'][0, 1:].reshape(2, 2, -1)
  np.testing.assert_array_equal(table[::2, ::2], grid)  # The corners stay.
  np.testing.assert_allclose(table[1, 1], grid.mean(axis=(0, 1)), atol=1e-6)


@pytest.mark.parametrize(
  ('twin', 'options', 'dim', 'layers', 'side'),
  [
    ('timesformer_test', {'size': 32}, 8, 2, 3),
    ('vivit_test', {}, 16, 2, 2),
    ('vidtr_test', {}, 16, 2, 2),
    ('vit_test', {'patch': 16, 'size': 48}, 16, 2, 2),
  ],
)
@pytest.mark.parametrize('tokens', [0, 2])
def test_a_table_without_one_class_token_is_refused(
  twin, options, dim, layers, side, tokens
):
  vit = image_weights.vit(dim, layers, side, classes=5)
  table = vit['pos_embed']
  vit['pos_embed'] = np.concatenate([table[:, :1]] * tokens + [table[:, 1:]], 1)
  model = fj.create_model(twin, 5, **options)
  before = official.flat_state(model)
  shape = rf'pos_embed: \(1, {side**2 + tokens}, {dim}\) in the file'
  with pytest.raises(ValueError, match=shape):
    fj.load_torch(model, vit, allow={'inflate', 'positions'})
  np.testing.assert_equal(official.flat_state(model), before)


def test_a_timesformer_needs_a_table():
  vit = image_weights.vit(dim=8, side=3)
  del vit['pos_embed']
  model = fj.create_model('timesformer_test', 5)
  with pytest.raises(ValueError, match='Only in the model: pos_embed'):
    fj.load_torch(model, vit, allow={'inflate'})


@pytest.mark.parametrize('twin', ['vivit_test', 'vidtr_test'])
@pytest.mark.parametrize('dim', [16, 32])
def test_a_vit_of_another_width_or_patch_is_refused(twin, dim):
  model, vit = fj.create_model(twin, 5), image_weights.vit(dim)
  if dim == 16:
    kernel = vit['patch_embed.proj.weight']
    vit['patch_embed.proj.weight'] = kernel[..., ::2, ::2]
  shape = r'\(16, 16, 3, 32\)' if dim == 32 else r'\(8, 8, 3, 16\)'
  with pytest.raises(ValueError, match=rf'weight: {shape} in the file'):
    fj.load_torch(model, vit, allow={'inflate'})


@pytest.mark.parametrize('name', ['norm.bias', 'pos_embed', 'cls_token'])
def test_a_single_number_is_refused_by_name(name):
  vit = image_weights.vit(classes=5) | {name: np.zeros((), np.float32)}
  for twin in ('vit_test', 'vivit_test', 'vidtr_test'):
    options = {'patch': 16} if twin == 'vit_test' else {}
    with pytest.raises(ValueError, match=rf'{name}: \(\) in the file'):
      model = fj.create_model(twin, 5, **options)
      fj.load_torch(model, vit, allow={'inflate', 'positions'})


def in_vidtrs_names(vit):
  """Returns a ViT as VidTr's authors publish it."""
  model = fj.create_model('vidtr_test', 5, clip_shape=(1, 32, 32))
  fj.load_torch(model, vit, allow={'inflate'})
  state = fj.export_torch(model)
  rows = vit['pos_embed'].shape[1]
  state['pos_embedding'] = state['pos_embedding'][:, :rows]
  del state['cls_t']
  return {'cls' if k == 'cls_s' else k: x for k, x in state.items()}


@pytest.mark.parametrize('names', [dict, in_vidtrs_names])
def test_a_vidtr_starts_as_a_vit(names):
  model = fj.create_model('vidtr_test', 5, clip_shape=(3, 32, 32))
  vit = image_weights.vit()
  report = fj.load_torch(model, names(vit), allow={'inflate'})
  ours = official.flat_state(model)
  np.testing.assert_array_equal(
    ours['pos_embeds.0'], np.tile(vit['pos_embed'], (1, 4, 1))
  )
  for name, shape in (('cls_s', (3, 1, 16)), ('cls_t', (1, 5, 16))):
    expected = np.broadcast_to(vit['cls_token'], shape)
    np.testing.assert_array_equal(ours[name], expected)
  kernel = vit['patch_embed.proj.weight'].transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(ours['embeds.0.kernel'], kernel[None])
  np.testing.assert_array_equal(
    ours['stages.0.1.fc2.kernel'], vit['blocks.1.mlp.fc2.weight'].T
  )
  assert set(report.left_at_init) == HEAD


def test_a_vtn_starts_as_a_vit():
  model, vit = fj.create_model('vtn_test', 5), image_weights.vit(layers=1)
  before = official.flat_state(model)
  report = fj.load_torch(model, vit, allow={'inflate'})
  ours = official.flat_state(model)
  np.testing.assert_array_equal(ours['pos_embeds.0'], vit['pos_embed'])
  np.testing.assert_array_equal(ours['cls_tokens.0'], vit['cls_token'])
  np.testing.assert_array_equal(ours['norms.0.scale'], vit['norm.weight'])
  assert set(report.dropped) == {'head.weight', 'head.bias'}
  for name in before:
    if name.startswith(('stages.1', 'neck', 'frame_embed', 'head')):
      np.testing.assert_array_equal(ours[name], before[name])
      assert name in report.left_at_init


@pytest.mark.parametrize(
  ('twin', 'dim', 'layers', 'side'),
  [
    ('timesformer_test', 8, 2, 3),
    ('vivit_test', 16, 2, 2),
    ('vidtr_test', 16, 2, 2),
    ('vtn_test', 16, 1, 2),
  ],
)
def test_a_file_of_google_starts_them_as_timms_does(
  twin, dim, layers, side, tmp_path
):
  vit = image_weights.vit(dim, layers, side)
  one, other = (fj.create_model(twin, 5) for _ in range(2))
  fj.load_torch(one, vit, allow={'inflate'})
  np.savez(tmp_path / 'ViT-T_16.npz', **image_weights.google(vit, heads=2))
  fj.load_torch(other, tmp_path / 'ViT-T_16.npz', allow={'inflate'})
  one, other = official.flat_state(one), official.flat_state(other)
  for name in one:
    np.testing.assert_array_equal(other[name], one[name], err_msg=name)
