# SPDX-License-Identifier: Apache-2.0
"""Tests of the names of every publisher, and of the logits of its files."""

import json

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models.weights import key_names
from flatten_jax.models.weights.naming import is_computed
from tests.support import official, torch_writer

# Parity file, publisher of the names, and key of the weights.
PUBLISHED = [
  ('resnet50_2x3x96x96', 'torchvision', None),
  ('swinv2_tiny_w6_2x3x192x192', 'timm', 'state_dict'),
  ('swinv2_tiny_w6_2x3x192x192', 'microsoft', 'model'),
  ('uniformer_xxs_2d_plain_2x3x96x96', 'uniformer', 'model'),
  ('uniformer_xxs_3d_2x3x8x64x64', 'uniformer', 'model_state'),
]
# Names and shapes of a published file -> model, options, publisher.
BASE16 = ('video_swin_b', {'window': (16, 7, 7)}, 'microsoft')
KEYS = {
  'video_swin_tiny_window877_kinetics400_nc400': (
    'video_swin_t',
    {},
    'microsoft',
  ),
  'video_swin_base_window877_kinetics400_nc400': (
    'video_swin_b',
    {},
    'microsoft',
  ),
  'video_swin_base_window1677_kinetics400_22k_nc400': BASE16,
  'video_swin_base_window1677_sthv2_nc174': BASE16,
  'video_swin_tiny_window877_kinetics400_mmaction2_nc400': (
    'video_swin_t',
    {},
    'openmmlab',
  ),
  'video_swin_base_window877_kinetics400_mmaction2_nc400': (
    'video_swin_b',
    {},
    'openmmlab',
  ),
  'swin3d_t_torchvision_nc400': ('video_swin_t', {}, 'torchvision'),
  'timesformer_divST_8x32_224_K400_nc400': ('timesformer_b', {}, 'facebook'),
  'timesformer_divST_8_224_SSv2_nc174': ('timesformer_b', {}, 'facebook'),
  'timesformer_divST_16x16_448_K400_nc400': ('timesformer_hr', {}, 'facebook'),
  'timesformer_divST_96x4_224_K400_nc400': ('timesformer_l', {}, 'facebook'),
  'vivit_b16x2_k400_scenic_nc400': ('vivit_b', {}, 'scenic'),
  'vivit_b16x2_fe_k400_scenic_12temporal_nc400': (
    'vivit_b_fe',
    {'temporal_depth': 12},
    'scenic',
  ),
  'vivit_l16x2_k400_scenic_nc400_unpublished': ('vivit_l', {}, 'scenic'),
  'vivit_l16x2_fe_k400_scenic_24temporal_nc400': (
    'vivit_l_fe',
    {'temporal_depth': 24},
    'scenic',
  ),
  'vivit_l16x2_fe_ssv2_scenic_4temporal_nc174_unpublished': (
    'vivit_l_fe',
    {'clip_shape': (32, 256, 256)},
    'scenic',
  ),
  'vidtr_l_k400_model_nc400': ('vidtr_l', {}, 'gluonmm'),
  'vtn_vit_b_k400_model_state_nc400': ('vtn_b', {}, 'vtn'),
}


@pytest.mark.parametrize('file', KEYS)
def test_names_and_shapes_are_the_published_ones(parity_folder, file):
  name, options, publisher = KEYS[file]
  text = (parity_folder / 'keys' / f'{file}.json').read_text()
  published = {
    key.removeprefix('optimizer/target/').replace('/', '.'): tuple(shape)
    for key, shape in json.loads(text).items()
    if not is_computed(key)
  }
  classes = int(file.removesuffix('_unpublished').rpartition('_nc')[2])
  model = nnx.eval_shape(lambda: fj.create_model(name, classes, **options))
  names, ours = key_names.namings_of(model)[publisher], {}
  state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  for path, x in jax.tree_util.tree_leaves_with_path(state):
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    ours |= names.to_theirs(name, np.zeros(x.shape, bool), model)
  assert {key: x.shape for key, x in ours.items()} == published


def in_names_of_microsoft(weights):
  """timm's names -> Microsoft's, with the tables that its files carry."""
  attn = 'layers.0.blocks.0.attn'
  published = {
    f'{attn}.relative_coords_table': np.zeros((1, 11, 11, 2), np.float32),
    f'{attn}.relative_position_index': np.zeros((36, 36), np.int64),
    'layers.0.blocks.1.attn_mask': np.zeros((64, 36, 36), np.float32),
  }
  for name, value in weights.items():
    for stage in (1, 2, 3):
      name = name.replace(
        f'layers.{stage}.downsample', f'layers.{stage - 1}.downsample'
      )
    published[name.replace('head.fc', 'head')] = value
  return published


@pytest.mark.slow
@pytest.mark.parametrize(('file', 'publisher', 'key'), PUBLISHED)
def test_published_files_give_the_official_logits(
  parity_folder, tmp_path, file, publisher, key
):
  weights = official.read(parity_folder, file)[1]
  if publisher == 'microsoft':
    weights = in_names_of_microsoft(weights)
  content = weights if key is None else {key: weights, 'epoch': 110}
  torch_writer.save(tmp_path / 'weights.pth', content)
  case = official.load(parity_folder, file, checkpoint=tmp_path / 'weights.pth')

  with jax.default_matmul_precision('highest'):
    logits = jax.jit(lambda x: case.model(x))(case.images)

  np.testing.assert_allclose(logits, case.truth['logits'], atol=1e-5)
  exported = fj.export_torch(
    case.model, naming='microsoft' if publisher == 'microsoft' else None
  )
  for name, value in exported.items():
    np.testing.assert_array_equal(value, weights[name], err_msg=name)


def test_the_light_checkpoint_for_images_in_the_plain_model(parity_folder):
  light = official.read(parity_folder, 'uniformer_xxs_2d_light_2x3x128x128')[1]
  model = fj.create_model('uniformer_xxs')
  report = fj.load_torch(model, light, allow={'light'})
  assert all(name.startswith('embeds.0.') for name in report.left_at_init)
  stem = [name for name in light if name.startswith('patch_embed1.proj.')]
  learned = [name for name in stem if 'num_batches' not in name]
  assert set(learned) < set(report.dropped)
  assert len(report.dropped) - len(learned) == 7  # The token's.


def test_filters_of_an_image_model_are_inflated_over_time(parity_folder):
  flat = official.read(parity_folder, 'uniformer_small_2d_2x3x96x96')[1]
  model = fj.create_model('uniformer3d_s')
  with pytest.raises(ValueError, match=r"allow=\{'inflate'\}"):
    fj.load_torch(model, flat)
  report = fj.load_torch(model, flat, allow={'inflate'})
  assert not report.left_at_init + report.dropped
  assert 'stages.0.0.mix.kernel' in report.resized
  kernel = model.stages[0][0].mix.kernel[...]  # [5 5 5 1 C]
  assert kernel.shape[:3] == (5, 5, 5)
  theirs = flat['blocks1.0.attn.weight'].transpose(2, 3, 1, 0)
  np.testing.assert_allclose(kernel.sum(axis=0), theirs, rtol=1e-5)
  np.testing.assert_array_equal(kernel[0], kernel[4])
