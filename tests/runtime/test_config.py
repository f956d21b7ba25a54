# SPDX-License-Identifier: Apache-2.0
"""Resolving configs: wrong values are refused before anything is read."""

import pytest

from configs import common, folder
from flatten_jax.inputs.sources import dataset
from flatten_jax.models import create_model
from flatten_jax.runtime import config as configs
from flatten_jax.runtime.workdir import run_log


@pytest.mark.parametrize(
  ('key', 'value', 'hint'),
  [
    ('test_checkpoint', 'bset', "'last' or 'best'"),
    ('eval_frame_order', 'backwards', "'reversed'"),
    ('eval_average', 'median', "'probs'"),
    ('mix_stage', 'images', "'after_flatten'"),
    ('keep_last', 0, '1 or more'),
    ('batch_size', 0, '1 or more'),
    ('lr', -1.0, '0 or more'),
    ('lr', float('nan'), '0 or more'),
    ('data.sampling', 'x', "'dense' or 'segment'"),
    ('data.holdout', 1.5, 'from 0 to 1'),
    ('data.num_frames', 5, 'square number of frames'),
    ('data.randaugment', 'rand-x', 'randaugment'),
    ('data.views', '3x', 'views'),
    ('model.dtype', 'bf16', "'bfloat16'"),
    ('model.name', 'uniformer', "no model 'uniformer'"),
  ],
)
def test_a_wrong_value_is_refused_before_a_video_is_read(
  config, key, value, hint
):
  config.update_from_flattened_dict({key: value})
  with pytest.raises(ValueError, match=hint):
    configs.fill_and_check(config)


def test_initial_weights_that_do_not_exist_are_refused(config):
  config.model.pretrained = 'imagenet'
  with pytest.raises(ValueError, match='nor one of the published weights'):
    configs.check_initial_weights(config)


def test_the_best_checkpoint_needs_a_val_split(config):
  config.test_checkpoint = 'best'
  with pytest.raises(ValueError, match='needs a val split'):
    configs.resolve(config, {'train': None, 'test': None})


def test_keys_and_values_of_earlier_versions_are_translated():
  old = {'lr_end': 1e-5, 'mix': 'mosaics', 'data': {'erase': 0.5}}
  config = configs.complete(old)
  assert (config.min_lr, config.mix_stage) == (1e-5, 'after_flatten')
  assert config.data.random_erasing == 0.5
  assert configs.complete({'lr_end': 1e-5, 'min_lr': 1e-4}).min_lr == 1e-4
  assert config.batch_size == common.base().batch_size
  with pytest.raises(ValueError, match=r"'data\.eraze', which is not known"):
    configs.complete({'data': {'eraze': 0.5}})


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


def test_an_unknown_dtype_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match=r"'bfloat16'.*not 'bf16'"):
    create_model('uniformer_test', dtype='bf16')


def test_the_warmup_is_a_tenth_of_the_epochs_or_as_it_is_given():
  config = configs.fill_and_check(folder.get_config(''))
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
