# SPDX-License-Identifier: Apache-2.0
"""Resolving configs: wrong values are refused before anything is read."""

import json
import pathlib
import re

import numpy as np
import pytest

from configs import common, folder
from flatten_jax.inputs import views
from flatten_jax.inputs.sources import dataset
from flatten_jax.models import create_model
from flatten_jax.runtime.configuration import (
  config as configs,
  config_keys,
  config_rules,
)
from flatten_jax.runtime.workdir import run_log

NAN, INF = float('nan'), float('inf')
SHARES = (-0.1, 1.1, 50, NAN, 'half', None)
BELOW_ONE = (-0.1, 1, 1.5, NAN, INF, '0.5')
COUNTS = (0, -1, 2.5, NAN, INF, '8', None, True)
COUNTS_OR_0 = (-1, 2.5, NAN, '8', None, False)
AMOUNTS = (-1, NAN, INF, '1', None)
SWITCHES = ('False', 'no', 0, 1, None)
TEXTS = (None, 5, True, ('a',))
WORDS = ('bset', '', None, 1)
# Values of each key that cannot be meant.
ONE_VIDEO = dataset.Videos((dataset.Record('a', 'a.mp4', 0),), ('a',))

WRONG = {
  'adam_eps': (0, -1e-8, NAN),
  'batch_norm': WORDS,
  'batch_norm_frozen': WORDS,
  'batch_norm_groups': COUNTS_OR_0,
  'batch_size': COUNTS,
  'beta1': BELOW_ONE,
  'beta2': BELOW_ONE,
  'channels': ('gbr', 'RGB', None),
  'clip_model': WORDS,
  'compile_cache': TEXTS,
  'coordinator': TEXTS,
  'channel_dropout': (*AMOUNTS, 0.6),
  'cutmix': AMOUNTS,
  'data.class_names': TEXTS,
  'data.rotation': (*AMOUNTS, 181.0),
  'data.color_jitter': AMOUNTS,
  'data.color_jitter_share': SHARES,
  'data.crop': (*COUNTS_OR_0, 7, 40),
  'data.crop_area': (0.5, (0.5,), (1, 0.08), (0, 1), (0.1, 1.1), '0.5', None),
  'data.time_crop': (0.5, (0.5,), (1, 0.5), (0, 1), (0.5, 1.1), '0.5', None),
  'data.crop_aspect': (1, (2, 1), (0, 1), (1, INF), (1, 2, 3)),
  'data.crop_method': WORDS,
  'data.crop_positions': (0, 4, '5', None),
  'data.crop_scale': (1, (2, 1), (0, 1), (1, INF), (1, 2, 3)),
  'data.crop_sizes': (1, (0, 1), (1, 0.5), (0.5, 2), None),
  'data.erasing_fill': WORDS,
  'data.flip': SWITCHES,
  'data.flip_except': ('left', (1,), ('',), None),
  'data.flip_pairs': ('left', ('left', 'right'), (('left',),), None),
  'data.flow_frames': COUNTS_OR_0,
  'data.flow_method': WORDS,
  'data.fold': (-2, 0.5, '0', None),
  'data.folds': (1, 0, -1, 2.5),
  'data.frame_cache_gib': AMOUNTS,
  'data.balanced': SWITCHES,
  'data.grayscale_share': SHARES,
  'data.group': TEXTS,
  'data.holdout': (*SHARES, 0.0, 1.0),
  'data.image_crop': COUNTS_OR_0,
  'data.image_share': (*BELOW_ONE, None),
  'data.images': TEXTS,
  'data.index': TEXTS,
  'data.input': ('flo', 'RGB', None),
  'data.motion_clips': COUNTS_OR_0,
  'data.motions': ('all', 'Many', None),
  'data.multi_label': SWITCHES,
  'data.num_clips': COUNTS_OR_0,
  'data.num_crops': COUNTS_OR_0,
  'data.num_frames': (*COUNTS_OR_0, 5),
  'data.prefix': TEXTS,
  'data.randaugment': (*TEXTS, 'rand-x'),
  'data.random_erasing': SHARES,
  'data.repeat_frame': SWITCHES,
  'data.repeated_aug': COUNTS,
  'data.resize': (256, (256,), (0, 256), None),
  'data.root': TEXTS,
  'data.sampling': ('x', None),
  'data.short_side': COUNTS_OR_0,
  'data.split_dir': TEXTS,
  'data.stride': COUNTS_OR_0,
  'data.test': TEXTS,
  'data.test_crop': COUNTS_OR_0,
  'data.test_frames': COUNTS_OR_0,
  'data.test_short_side': COUNTS_OR_0,
  'data.threads': COUNTS_OR_0,
  'data.time_limit': AMOUNTS,
  'data.train': TEXTS,
  'data.val': TEXTS,
  'data.val_clips': COUNTS,
  'data.val_crops': COUNTS,
  'data.val_holdout': BELOW_ONE,
  'data.views': (*TEXTS, '3x', '0x0', '3'),
  'data.weighted': SWITCHES,
  'data.workers': COUNTS_OR_0,
  'decay_all': SWITCHES,
  'distributed': SWITCHES,
  'ema': BELOW_ONE,
  'epochs': (0, 0.0, -2, NAN, INF, '1', None),
  'eval_average': ('median', None),
  'eval_every': AMOUNTS,
  'eval_frame_order': WORDS,
  'eval_views': COUNTS,
  'flatten': ('rowmajor', '', None, 9),
  'freeze': ('backbon', 'stage', 'stage0', 'stage-1', 2, None, ('stage2',)),
  'freeze_epochs': AMOUNTS,
  'fsdp_min_size': COUNTS_OR_0,
  'grad_accum_steps': COUNTS,
  'grad_clip_groups': COUNTS_OR_0,
  'grad_clip_norm': AMOUNTS,
  'grid': (3, '3x3', (3,), (0, 9), (2, 4), None),
  'join_timeout': COUNTS,
  'keep_last': COUNTS,
  'label_smoothing': BELOW_ONE,
  'layer_decay': (0, -0.5, 1.1, NAN),
  'log_every': COUNTS,
  'loggers': ('csv', ('cvs',), (1,), ('',), None),
  'lr': (-1, 5, NAN, INF, 'fast', None),
  'lr_step_factor': SHARES,
  'lr_steps': (11, (14.0, 11.0), (-1,), ('11',), None),
  'mean': (0.5, (0.5, 0.5), (123.675, 116.28, 103.53), (NAN,) * 3, 'imagenet'),
  'mesh.data': (0, -2, 1.5),
  'mesh.model': COUNTS,
  'min_lr': (-1, NAN),
  'mix_partners': ('backwards', None),
  'mix_stage': WORDS,
  'mixup': AMOUNTS,
  'model.drop_path_rate': BELOW_ONE,
  'model.dtype': ('bf16', 'fp16', 'int8', None),
  'model.name': ('uniformer', '', None, 5),
  'model.pretrained': TEXTS,
  'model.remat': SWITCHES,
  'momentum': BELOW_ONE,
  'nesterov': SWITCHES,
  'num_processes': COUNTS_OR_0,
  'optimizer': ('adam', '', None),
  'order_report': SWITCHES,
  'param_groups': ('head', ('head', 1.0, 1.0), (('head', -1, 0),), None),
  'patience': AMOUNTS,
  'precise_batch_norm': COUNTS_OR_0,
  'process_id': (-2, 0.5),
  'recipe': ('few', None, 1),
  'refit': SWITCHES,
  'save_every': AMOUNTS,
  'schedule': WORDS,
  'save_best_by': WORDS,
  'seed': (-1, 2.5, 10**20, NAN, True),
  'sharding': ('fdsp', '', None),
  'std': (0.5, (0, 0, 0), (58.395, 57.12, 57.375), (-0.1,) * 3),
  'test_checkpoint': WORDS,
  'warmup_epochs': (-2, 1e9, NAN),
  'warmup_lr': (-1, NAN),
  'weight_decay': AMOUNTS,
}


def test_every_key_has_wrong_values():
  assert set(WRONG) == set(config_keys.known_keys())


@pytest.mark.parametrize('key', WRONG)
def test_a_wrong_value_is_refused_before_a_video_is_read(config, key):
  configs.fill_and_check(config)
  for value in WRONG[key]:
    wrong = config.copy_and_resolve_references()
    with wrong.ignore_type():
      wrong.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=r'\w+ .*'):
      configs.fill_and_check(wrong)


@pytest.mark.parametrize(
  ('key', 'value', 'message'),
  [
    (
      'lr',
      -1.0,
      'config.lr must be a number, from 0 to 10; got -1.0; AdamW',
    ),
    ('mean', (123.0, 117.0, 104.0), 'of pixels in [0, 1], so divide by 255'),
    ('model.dtype', 'bf16', "'float32'. Did you mean 'bfloat16'?"),
    ('sharding', 'fdsp', "Did you mean 'fsdp'?"),
    ('model.name', 'UniFormer-XXS', "Did you mean 'uniformer_xxs'?"),
    ('flatten', 'rowmajor', "Did you mean 'row_major'?"),
    ('model.drop_path', 0.1, "Did you mean 'drop_path_rate'?"),
    ('warmup_epochs', 1e9, '--config.warmup_epochs=-1 for a tenth'),
    ('data.num_frames', 8, 'Grids that fit: (1, 8), (2, 4)'),
    # 4 x 32 px is a multiple of 32, and so is 4 x 40; 4 x 44 is not.
    ('data.crop', 44, 'a size that uniformer_xxs takes, such as 40 or 48'),
  ],
)
def test_the_message_says_what_to_write(key, value, message):
  config = common.base()
  with config.ignore_type(), config.unlocked():
    config.update_from_flattened_dict({key: value})
  with pytest.raises(ValueError, match=re.escape(message)):
    configs.fill_and_check(config)


def test_whole_numbers_may_be_written_as_floats():
  config = configs.complete({'batch_size': 32.0})
  assert config.batch_size == 32
  assert isinstance(config.batch_size, int)


def test_a_checkpoints_own_values_are_not_refused(config):
  with config.ignore_type():
    config.mean = (123.0, 117.0, 104.0)
  configs.fill_and_check(config, trusted=config)


def test_what_is_not_a_config_is_refused():
  for wrong in (None, 'configs/folder.py', folder.get_config):
    with pytest.raises(TypeError, match=r'folder\.get_config\(\)'):
      configs.complete(wrong)


def test_initial_weights_that_do_not_exist_are_refused(config):
  config.model.pretrained = 'imagenet'
  with pytest.raises(ValueError, match='nor one of the published weights'):
    configs.check_initial_weights(config)


@pytest.mark.parametrize(
  ('changes', 'splits', 'message'),
  [
    ({'test_checkpoint': 'best'}, ('train', 'test'), "Use 'last', or --config"),
    ({'patience': 5.0}, ('train', 'test'), 'patience=5 needs a val split'),
    (
      {'patience': 5.0, 'eval_every': 0.0},
      ('train', 'val'),
      r'patience=5 needs validations .* Use --config\.eval_every=1\.',
    ),
    ({'refit': True}, ('train', 'test'), 'has no val split with labels'),
    ({'refit': True}, ('train', 'val'), 'has no test split with labels'),
    (
      {'refit': True, 'test_checkpoint': 'best'},
      ('train', 'val', 'test'),
      'Set one of them',
    ),
  ],
)
def test_keys_that_need_validations_say_so(config, changes, splits, message):
  config.update(changes)
  with pytest.raises(ValueError, match=message):
    configs.resolve(config, dict.fromkeys(splits, ONE_VIDEO))


def test_no_more_epochs_are_frozen_than_there_are(config):
  config.freeze_epochs = 4.0
  with pytest.raises(ValueError, match=r'at most config\.epochs=3; got 4\.'):
    configs.resolve(config, {'train': range(24)})


def test_keys_and_values_of_earlier_versions_are_translated():
  old = {'lr_end': 1e-5, 'mix': 'mosaics', 'data': {'erase': 0.5}}
  config = configs.complete(old)
  assert (config.min_lr, config.mix_stage) == (1e-5, 'after_flatten')
  assert config.data.random_erasing == 0.5
  assert configs.complete({'lr_end': 1e-5, 'min_lr': 1e-4}).min_lr == 1e-4
  assert config.batch_size == common.base().batch_size


@pytest.mark.parametrize(
  ('typo', 'meant'),
  [
    ('data.eraze', 'data.random_erasing'),
    ('data.roots', 'data.root'),
    ('epoch', 'epochs'),
    ('num_frames', 'data.num_frames'),
    ('data.epochs', 'epochs'),
    ('learning_rate', 'lr'),
    ('mesh.date', 'mesh.data'),
    ('model', 'model.name'),
    ('data', 'data.root'),
    ('lr.max', 'lr'),
  ],
)
def test_an_unknown_key_is_refused_with_the_one_that_is_meant(typo, meant):
  with pytest.raises(ValueError, match=f'Did you mean config.{meant}'):
    configs.complete({typo: 1})


def test_what_is_left_open_is_the_models_or_the_weights():
  config = common.base()
  config.model.name = 'uniformer_xxs'
  plain = configs.fill_and_check(config)
  assert (plain.data.crop, plain.data.sampling) == (160, 'segment')
  assert plain.mean == (0.45,) * 3
  config.model.pretrained = 'imagenet1k'
  assert configs.fill_and_check(config).mean == common.IMAGENET_MEAN
  config.mean = (0.1, 0.2, 0.3)
  assert configs.fill_and_check(config).mean == (0.1, 0.2, 0.3)


def video_config(name='vivit_test', pretrained=''):
  config = common.base()
  config.model.name, config.model.pretrained = name, pretrained
  return config


def test_test_views_that_are_left_open_are_the_models():
  config = configs.fill_and_check(video_config())
  data = config.data
  assert (data.num_clips, data.num_crops, data.test_short_side) == (4, 3, 36)
  assert (config.channels, config.eval_average) == ('rgb', 'logits')
  assert views.of_config(data).count == 12
  image = configs.fill_and_check(video_config('uniformer_s')).data
  assert (image.num_clips, image.num_crops, image.test_short_side) == (1, 1, 0)


def test_given_test_views_win_and_those_of_a_checkpoint_come_next():
  config = video_config()
  config.data.num_clips, config.data.test_short_side = 2, 40
  first = configs.fill_and_check(config)
  assert (first.data.num_clips, first.data.num_crops) == (2, 3)
  assert first.data.test_short_side == 40
  again = configs.fill_and_check(video_config(), saved=first)
  assert (again.data.num_clips, again.data.test_short_side) == (2, 40)


def test_mean_and_std_that_are_left_open_turn_with_the_channels():
  config = video_config('uniformer_s', 'imagenet1k')
  config.channels = 'bgr'
  filled = configs.fill_and_check(config)
  assert filled.mean == common.IMAGENET_MEAN[::-1]
  assert filled.std == common.IMAGENET_STD[::-1]


def test_published_weights_bring_their_channels():
  config = video_config('timesformer_b', 'ssv2')
  assert configs.fill_and_check(config).channels == 'bgr'
  config.channels = 'rgb'
  assert configs.fill_and_check(config).channels == 'rgb'
  old = configs.of_checkpoint({'config': {'model': {'name': 'uniformer_s'}}})
  assert old.channels == 'rgb'


@pytest.mark.parametrize(('crop', 'side'), [(32, 36), (16, 18), (64, 72)])
def test_the_short_side_of_tests_grows_with_the_crop(crop, side):
  config = video_config()
  config.data.crop = crop
  assert configs.fill_and_check(config).data.test_short_side == side


def test_test_crops_may_be_larger_than_those_of_training():
  data = configs.fill_and_check(video_config('slowfast_r50')).data
  assert (data.crop, data.test_crop, data.test_short_side) == (224, 256, 256)
  assert str(views.of_config(data)) == '256x32x3x10'
  config = video_config('slowfast_r50')
  config.data.crop, config.data.views = 112, '128x32x3x10'
  data = configs.fill_and_check(config).data
  assert (data.test_crop, data.test_short_side) == (128, 128)
  config.data.views = '112x32x3x10'
  with pytest.raises(ValueError, match=r'Set data\.test_crop=112'):
    configs.fill_and_check(config)
  config.data.test_crop = 129
  with pytest.raises(ValueError, match=r'data\.test_crop=129; got 128'):
    configs.fill_and_check(config)


def test_a_test_crop_that_a_model_does_not_take_is_refused():
  config = video_config('tsn_bninception')
  config.data.test_crop = 240
  with pytest.raises(
    ValueError, match=r'data\.test_crop must be .* such as 224 or 256; got 240'
  ):
    configs.fill_and_check(config)


@pytest.mark.parametrize(
  'crop, found', [(0, '0, which is data.crop=40'), (100, '100')]
)
def test_a_size_of_images_that_a_model_does_not_take_is_refused(crop, found):
  config = common.base()  # 4 x 40 px are a multiple of 32, and 40 are not.
  config.data.crop, config.data.images = 40, '/images'
  config.data.image_crop = crop
  fitting = '32 or 64' if crop == 0 else '96 or 128'
  message = f'takes, such as {fitting}; got {found}.'
  with pytest.raises(ValueError, match=re.escape(message)):
    configs.fill_and_check(config)
  config.data.image_crop = 64
  configs.fill_and_check(config)


def test_a_model_of_neighboring_frames_gets_them():
  config = common.base()
  config.model.name, config.data.sampling = 'tdn_test', 'segment'
  message = "sampling must be 'tdn' for tdn_test, which compares 5 neighboring"
  with pytest.raises(ValueError, match=message):
    configs.fill_and_check(config)
  config.data.sampling, config.data.num_frames = 'tdn', 12
  with pytest.raises(ValueError, match='a multiple of 5; got 12'):
    configs.fill_and_check(config)


def test_flips_name_classes_of_the_data_set():
  config = configs.fill_and_check(common.base())
  config.data.flip, config.data.flip_except = True, ('lefft',)
  splits = {
    'train': dataset.Videos(
      (dataset.Record('', '', 0),) * 20, ('left', 'right')
    )
  }
  with pytest.raises(ValueError, match=r"'lefft'\. Did you mean 'left'"):
    configs.resolve(config, splits)


def test_test_views_larger_than_their_frames_are_refused():
  config = video_config()
  config.data.test_short_side = 31
  with pytest.raises(ValueError, match=r'at least data\.crop=32; got 31'):
    configs.fill_and_check(config)


def test_an_unknown_dtype_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match=r"got 'bf16'.*mean 'bfloat16'"):
    create_model('uniformer_test', dtype='bf16')


def test_the_warmup_is_a_tenth_of_the_epochs_or_as_it_is_given():
  config = configs.fill_and_check(common.base())
  config.epochs, config.warmup_epochs = -1.0, -1.0
  splits = {'train': range(5000)}
  assert configs.resolve(config, splits).warmup_epochs == 2.0
  config.epochs = 30.0
  assert configs.resolve(config, splits).warmup_epochs == 3.0
  config.warmup_epochs = 5.0
  assert configs.resolve(config, splits).warmup_epochs == 5.0


def test_what_is_divided_already_has_no_folds(config, clips_root):
  data = config.data.to_dict() | {'root': '', 'motion_clips': 24}
  with pytest.raises(ValueError, match='has no folds'):
    dataset.fold_numbers(data)
  data = config.data.to_dict() | {'fold': 0}
  with pytest.raises(ValueError, match=r'data\.fold=0 would change nothing'):
    dataset.open_splits(data)


def test_a_machine_without_git_is_described_all_the_same(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert run_log.describe_machine()['commit'] == 'not a git checkout'


def test_published_weights_set_the_options_that_they_need():
  config = common.base()
  config.model.name, config.model.pretrained = 'vivit_b_fe', 'kinetics400'
  filled = configs.fill_and_check(config)
  assert filled.model.temporal_depth == 12
  assert (filled.data.num_frames, filled.data.stride) == (32, 2)
  assert filled.mean == filled.std == (0.5, 0.5, 0.5)


@pytest.fixture
def temporal(tmp_path):
  """The config of a network whose depth a file of weights decides."""
  config = common.base()
  config.model.name = 'vivit_fe_test'
  config.model.pretrained = str(tmp_path / 'weights.npz')
  names = [f'TemporalTransformer.encoderblock_{i}.x' for i in range(4)]
  np.savez(config.model.pretrained, **dict.fromkeys(names, np.zeros(2)))
  return config


def test_a_run_resumes_without_the_file_that_decided_on_its_network(temporal):
  saved = configs.fill_and_check(temporal)
  assert saved.model.temporal_depth == 4
  pathlib.Path(temporal.model.pretrained).unlink()
  again = configs.fill_and_check(temporal, saved=saved, trusted=saved)
  assert again.to_dict() == saved.to_dict()
  other = temporal.copy_and_resolve_references()
  other.model.name = 'uniformer_test'  # Has no such option.
  assert 'temporal_depth' not in configs.fill_and_check(other, saved).model


def test_the_network_of_weights_is_the_same_without_them(temporal):
  config = configs.from_random_weights(configs.fill_and_check(temporal))
  config = configs.fill_and_check(config)
  assert (config.model.pretrained, config.model.temporal_depth) == ('', 4)


def test_values_of_python_become_those_of_a_config_file():
  given = {
    'seed': np.int64(3),
    'mean': np.array([0.5, 0.25, 0.5]),
    'data': {'root': pathlib.Path('videos')},
  }
  config = configs.complete(given)
  config_rules.check_all(config)
  assert (config.seed, config.mean) == (3, (0.5, 0.25, 0.5))
  assert config.data.root == 'videos'
  assert json.loads(json.dumps(config.to_dict()))['seed'] == 3
