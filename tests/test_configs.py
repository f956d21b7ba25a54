# SPDX-License-Identifier: Apache-2.0
"""The configs hold the paper's numbers, and no key of their own."""

import dataclasses
import importlib
import pathlib

from flax import nnx
import jax
import pytest

from configs import common
from flatten_jax.models import MODELS, takes_clips
from flatten_jax.runtime import config as configs, model_factory
from flatten_jax.training import optimizer

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(
  file.stem
  for file in (ROOT / 'configs').glob('*.py')
  if file.stem not in ('__init__', 'common')
)


def get(name, arg=''):
  return importlib.import_module(f'configs.{name}').get_config(arg)


def filled(name, arg=''):
  """With the input of its model."""
  return configs.fill_and_check(configs.complete(get(name, arg)))


def keys(config):
  return {
    name: keys(value) if hasattr(value, 'keys') else None
    for name, value in config.items()
  }


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_has_the_keys_of_the_base_and_no_other(name):
  """A misspelled key in a config file would otherwise do nothing."""
  config = get(name)
  module_keys = set(config.model) - set(common.base().model)
  ours = keys(config)
  for key in module_keys:
    del ours['model'][key]
  assert ours == keys(common.base())
  # The other keys are options of its model.
  options = MODELS[config.model.name].config
  fields = {field.name for field in dataclasses.fields(options)}
  assert module_keys <= fields
  assert 'drop_path_rate' in fields


# Tables 5 to 7 of the paper: frames, resolution, batch, base learning rate,
# epochs, warmup, crops x clips.
PAPER = {
  'k400_uniformer_xxs:frames=9': (9, 160, 128, 5e-4, 110, 10, '1x1'),
  'k400_uniformer_xxs': (16, 160, 64, 5e-4, 110, 10, '1x1'),
  'k400_uniformer_s:frames=9': (9, 224, 64, 1e-4, 110, 10, '1x4'),
  'k400_uniformer_s': (16, 224, 24, 5e-5, 110, 10, '1x4'),
  'k400_swinv2_t': (16, 192, 24, 1e-4, 110, 10, '1x4'),
  'k400_resnet101': (16, 224, 64, 2e-4, 110, 10, '3x10'),
  'ssv2_uniformer_s': (16, 224, 24, 1e-4, 25, 5, None),
  'hmdb51_uniformer_s': (16, 224, 24, 1e-4, 70, 7, None),
}
# Values that the paper leaves open, from UniFormer's released runs: drop path,
# weight decay, RandAugment.
STRONG, WEAK = 'rand-m7-n4-mstd0.5-inc1', 'rand-m5-n2-mstd0.25'
OPEN = {
  'k400_uniformer_xxs': (0.05, 0.05, WEAK),  # Weight decay: the paper's.
  'k400_uniformer_s': (0.1, 0.05, STRONG),
  'ssv2_uniformer_s': (0.3, 0.05, STRONG),
  'hmdb51_uniformer_s': (0.2, 0.05, WEAK),
  'k400_uniformer3d_xxs': (0.05, 0.1, WEAK),
  'k400_uniformer3d_s': (0.1, 0.05, STRONG),
  'ssv2_uniformer3d_s': (0.3, 0.05, STRONG),
  'hmdb51_uniformer3d_s': (0.2, 0.05, WEAK),
}
# Baselines, trained as UniFormer's runs were: frames, resolution, batch, base
# learning rate, epochs, warmup, crops x clips.
BASELINES = {
  'k400_uniformer3d_xxs': (16, 160, 256, 8e-4, 110, 10, '1x1'),
  'k400_uniformer3d_xxs:frames=8': (8, 160, 256, 8e-4, 110, 10, '1x1'),
  'k400_uniformer3d_s': (16, 224, 32, 1e-4, 110, 10, '1x4'),
  'k400_uniformer3d_s:frames=8': (8, 224, 128, 4e-4, 100, 10, '1x4'),
  'ssv2_uniformer3d_s': (16, 224, 32, 2e-4, 50, 5, '3x1'),
  'hmdb51_uniformer3d_s': (16, 224, 128, 5e-5, 25, 5, '3x5'),
}


@pytest.mark.parametrize('name', PAPER | BASELINES)
def test_a_config_is_its_row_of_the_papers_tables(name):
  frames, side, batch, lr, epochs, warmup, views = (PAPER | BASELINES)[name]
  config = filled(*name.split(':'))
  data = config.data
  assert (data.num_frames, data.crop) == (frames, side)
  assert (config.batch_size, config.lr) == (batch, lr)
  assert (config.epochs, config.warmup_epochs) == (epochs, warmup)
  assert views in (None, f'{data.num_crops}x{data.num_clips}')
  assert (config.beta1, config.beta2, config.adam_eps) == (0.9, 0.999, 1e-8)
  assert (config.warmup_lr, config.min_lr, config.grad_clip_norm) == (
    1e-6,
    1e-6,
    20,
  )
  assert (config.mixup, config.cutmix) == (0.8, 1.0)
  assert config.label_smoothing == 0.1
  assert (
    config.ema == 0 and config.layer_decay == 1 and config.grad_accum_steps == 1
  )
  assert config.flatten == 'row_major' and config.mix_stage == 'before_flatten'
  assert (data.crop_area, data.crop_aspect) == ((0.08, 1.0), (3 / 4, 4 / 3))
  assert (data.random_erasing, data.repeated_aug) == (0.25, 2)
  assert data.flip == (not name.startswith('ssv2'))
  assert data.sampling == (
    'segment' if 'xxs' in name or 'ssv2' in name else 'dense'
  )
  assert data.stride == (8 if frames < 16 and 'xxs' not in name else 4)
  assert data.short_side >= side


@pytest.mark.parametrize('name', OPEN)
def test_what_the_paper_leaves_open_is_from_uniformers_runs(name):
  config = get(name)
  drop_path, weight_decay, randaugment = OPEN[name]
  assert config.model.drop_path_rate == drop_path
  assert config.weight_decay == weight_decay
  assert config.data.randaugment == randaugment


def test_every_flattened_row_weighs_parameters_as_the_paper():
  for name in PAPER:
    assert get(*name.split(':')).weight_decay == 0.05


def test_layouts_are_an_argument_where_there_is_a_layout():
  for name in CONFIGS:
    if '_' in name and not takes_clips(get(name).model.name):
      for layout in ('row_major', 'nested', 'random'):
        assert get(name, f'flatten={layout}').flatten == layout


def test_a_number_of_frames_that_the_paper_has_not_is_refused():
  for name in ('k400_uniformer_xxs', 'k400_uniformer3d_s'):
    with pytest.raises(ValueError, match=r'rows of . and 16 frames, not of 25'):
      get(name, 'frames=25')


# The systems that the paper compares with, as they were published: frames,
# resolution, batch, base learning rate, epochs, warmup, crops x clips.
COMPARED = {
  'k400_video_swin_t': (32, 224, 64, 1e-3, 30, 2.5, '3x4'),
  'k400_video_swin_b': (32, 224, 64, 1e-3, 30, 2.5, '3x4'),
  'k400_video_swin_b:start=imagenet22k': (32, 224, 64, 3e-4, 30, 2.5, '3x4'),
  'ssv2_video_swin_b': (32, 224, 64, 3e-4, 60, 2.5, '3x1'),
  'k400_timesformer': (8, 224, 64, 5e-3, 15, 0, '3x1'),
  'k400_timesformer:variant=hr': (16, 448, 64, 5e-3, 15, 0, '3x1'),
  'k400_timesformer:variant=l': (96, 224, 64, 5e-3, 15, 0, '3x1'),
  'ssv2_timesformer': (8, 224, 64, 5e-3, 15, 0, '3x1'),
  'ssv2_timesformer:variant=hr': (16, 448, 64, 5e-3, 15, 0, '3x1'),
  'ssv2_timesformer:variant=l': (64, 224, 64, 5e-3, 15, 0, '3x1'),
  'k400_vivit_l': (32, 224, 64, 0.1, 30, 2.5, '3x4'),
  'ssv2_vivit_l_fe': (32, 256, 64, 0.4, 35, 2.5, '3x4'),
  'k400_vtn_b': (16, 224, 16, 1e-3, 25, 0, '1x1'),
  'k400_vidtr_l': (32, 224, 8, 1e-2, 50, 0, '3x10'),
  'hmdb51_vidtr_l': (32, 224, 8, 1e-2, 50, 0, '3x10'),
}
# Method, and the range of short sides of which a crop is taken.
CROPS = {
  'k400_timesformer': ('scale', 256, 320),
  'k400_timesformer:variant=hr': ('scale', 448, 512),
  'k400_timesformer:variant=l': ('scale', 256, 320),
  'ssv2_timesformer': ('inverse_scale', 256, 320),
  'ssv2_timesformer:variant=hr': ('inverse_scale', 448, 512),
  'ssv2_timesformer:variant=l': ('inverse_scale', 256, 320),
  'k400_vivit_l': ('scale_each_axis', 0.9 * 256, 1.33 * 256),
  'ssv2_vivit_l_fe': ('scale_each_axis', 0.9 * 288, 1.33 * 288),
  'k400_vtn_b': ('scale', 256, 320),
  'k400_vidtr_l': ('scale', 256, 320),
  'hmdb51_vidtr_l': ('scale', 256, 320),
}
FAMILIES = ('video_swin', 'timesformer', 'vivit', 'vtn', 'vidtr')
AUGMENTED = ('ssv2_video_swin_b', 'ssv2_vivit_l_fe')
# Weight decay, drop path, start.
REGULARIZED = {
  'k400_video_swin_t': (0.02, 0.1, 'imagenet1k'),
  'k400_video_swin_b': (0.05, 0.3, 'imagenet1k'),
  'k400_video_swin_b:start=imagenet22k': (0.05, 0.2, 'imagenet22k'),
  'ssv2_video_swin_b': (0.05, 0.4, 'kinetics400_window16'),
  'k400_timesformer': (1e-4, 0.1, 'imagenet21k'),
  'ssv2_timesformer': (1e-4, 0.1, 'imagenet21k'),
  'k400_vivit_l': (0, 0, 'imagenet21k'),
  'ssv2_vivit_l_fe': (0, 0.3, 'kinetics400'),
  'k400_vtn_b': (1e-4, 0, 'imagenet21k'),
  'k400_vidtr_l': (1e-5, 0, 'imagenet21k'),
  'hmdb51_vidtr_l': (1e-5, 0, 'kinetics400'),
}


@pytest.mark.parametrize('name', COMPARED)
def test_a_compared_system_trains_as_it_was_published(name):
  frames, side, batch, lr, epochs, warmup, views = COMPARED[name]
  config = filled(*name.split(':'))
  data = config.data
  assert (data.num_frames, data.crop) == (frames, side)
  assert (config.batch_size, config.lr) == (batch, lr)
  assert (config.epochs, config.warmup_epochs) == (epochs, warmup)
  assert f'{data.num_crops}x{data.num_clips}' == views
  rule = {
    'video_swin': 'segment_middle' if 'ssv2' in name else 'mmaction2',
    'timesformer': 'segment_middle' if 'ssv2' in name else 'timesformer',
  }
  family = next(x for x in FAMILIES if x in name)
  assert data.sampling == rule.get(family, family)
  stride = {'k400_vivit_l': 2, 'ssv2_vivit_l_fe': 1, 'k400_vtn_b': 8}
  assert data.stride == stride.get(name, data.stride)
  probs = 'video_swin' in name or 'vidtr' in name
  assert config.eval_average == ('probs' if probs else 'logits')
  assert (data.test_frames or frames) == (250 if 'vtn' in name else frames)
  short_side = {'vtn_b': 256, 'vivit_l': 256, 'vivit_l_fe': 288}
  assert data.test_short_side == short_side.get(name.split('_', 1)[1], 0)
  assert config.channels == ('bgr' if 'ssv2_timesformer' in name else 'rgb')
  configs.check_initial_weights(config)

  # UniFormer's recipe has these; the published ones of others have not.
  assert config.cutmix == 0 and data.repeated_aug == 1 and config.ema == 0
  assert config.min_lr == 0
  augmented = (bool(data.randaugment), bool(config.label_smoothing))
  assert augmented == ((name in AUGMENTED),) * 2
  assert data.random_erasing == (0.25 if name == 'ssv2_video_swin_b' else 0)
  assert config.mixup == (0.3 if name == 'ssv2_vivit_l_fe' else 0)
  assert config.grad_clip_norm == ('vivit' in name)
  # ViViT's mirrors clips of Something-Something too.
  assert data.flip == (not name.startswith('ssv2') or 'vivit' in name)


@pytest.mark.parametrize('name', COMPARED)
def test_training_crops_of_a_compared_system_are_as_published(name):
  data = get(*name.split(':')).data
  if name in CROPS:
    method, low, high = CROPS[name]
    assert data.crop_method == method
    sides = [data.short_side * factor for factor in data.crop_scale]
    assert sides == pytest.approx([low, high])
  else:
    assert (data.crop_method, data.short_side) == ('area', 256)
    assert (data.crop_area, data.crop_aspect) == ((0.08, 1.0), (3 / 4, 4 / 3))
  colors = (data.color_jitter, data.color_jitter_share, data.grayscale_share)
  assert colors == ((0.4, 0.8, 0.1) if name == 'k400_vivit_l' else (0, 1, 0))


@pytest.mark.parametrize('name', REGULARIZED)
def test_a_compared_system_starts_and_is_regularized_as_published(name):
  config = get(*name.split(':'))
  decay, drop_path, start = REGULARIZED[name]
  assert config.weight_decay == decay
  assert config.model.drop_path_rate == drop_path
  assert config.model.pretrained == start


@pytest.mark.parametrize('name', COMPARED)
def test_a_compared_system_builds_and_has_an_optimizer(name):
  """Without memory for weights: the largest is 2.4 GB."""
  config = filled(*name.split(':'))
  model = nnx.eval_shape(lambda: model_factory.build_model(config, 174))
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  rule, schedule = optimizer.make(config, steps_per_epoch=100)

  def step(params):
    return rule.update(params, rule.init(params), params)[0]

  assert jax.tree.map(jax.numpy.shape, jax.eval_shape(step, params)) == (
    jax.tree.map(jax.numpy.shape, params)
  )
  steps = int(config.warmup_epochs * 100)
  assert schedule(steps) == pytest.approx(config.lr, rel=0.02)
  if config.optimizer == 'sgd':
    last = schedule(config.epochs * 100 - 1) / config.lr
    assert last == pytest.approx(0 if 'vivit' in name else 0.01, abs=1e-5)


def test_video_swin_learns_its_backbone_slowly_and_its_tables_without_decay():
  """173 tensors of 24 blocks' names: 12 tables, 159 others, the head's two."""
  config = filled('k400_video_swin_t')
  model = nnx.eval_shape(lambda: model_factory.build_model(config, 400))
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  factors = [
    jax.tree.leaves(optimizer.group_factors(params, config, place))
    for place in (1, 2)
  ]
  groups = list(zip(*factors, strict=True))
  assert len(groups) == 173
  assert groups.count((1.0, 0.0)) == 12
  assert groups.count((0.1, 1.0)) == 159
  assert groups.count((1.0, 1.0)) == 2
  assert set(jax.tree.leaves(optimizer.decay_factors(params, config))) == {0, 1}


def test_ssv2_vivit_has_the_temporal_layers_of_the_weights_it_starts_from():
  config = filled('ssv2_vivit_l_fe')
  assert config.model.temporal_depth == 24  # Published; its own would be 4.
  config = get('ssv2_vivit_l_fe')
  config.model.pretrained = ''
  config = configs.fill_and_check(configs.complete(config))
  assert 'temporal_depth' not in config.model  # The model's own, 4.
  assert MODELS['vivit_l_fe'].config.temporal_depth == 4


def test_a_word_that_is_not_a_variant_is_refused():
  with pytest.raises(
    ValueError, match="variant must be base or hr or l; got 'x'"
  ):
    get('k400_timesformer', 'variant=x')
  with pytest.raises(ValueError, match='Did you mean'):
    get('k400_video_swin_b', 'start=imagenet21k')


def test_arguments_are_converted_and_checked():
  assert get('k400_uniformer_xxs', 'flatten=nested').flatten == 'nested'
  with pytest.raises(ValueError, match='frames=16'):
    get('k400_uniformer_xxs', 'frame=9')
  with pytest.raises(ValueError, match='a whole number'):
    get('k400_uniformer_xxs', 'frames=nine')


def test_the_results_have_a_row_for_every_config_of_the_paper():
  text = (ROOT / 'docs' / 'experiments.md').read_text()
  for name in CONFIGS:
    assert '_' not in name or f'| {name}.py' in text


def test_quickstart_and_folder_never_flip():
  """Left and right are labels of the one, and may be of the other."""
  assert not get('quickstart').data.flip
  assert not get('folder').data.flip
