# SPDX-License-Identifier: Apache-2.0
"""What would fail, or mislead, at the end of a training is refused before."""

import optax
import pytest

from configs import common, folder
from flatten_jax.checkpoints import resume_check
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.load import load_config
from flatten_jax.inputs.sources import dataset, folds
from flatten_jax.models import create_model
from flatten_jax.runtime import config as configs, run_log
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import setup

CLASSES = ('left', 'right')


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
    folds.fold_numbers(data)
  data = config.data.to_dict() | {'fold': 0}
  with pytest.raises(ValueError, match=r'data\.fold=0 would change nothing'):
    dataset.open_splits(data)


def test_a_run_goes_on_with_as_many_videos_as_it_began_with(config):
  saved = RunInfo(CLASSES, config.to_dict(), videos=24)
  resume_check.check_resumable(saved, saved)
  with pytest.raises(ValueError, match=r'began with 24 training videos.*25'):
    ours = RunInfo(CLASSES, config.to_dict(), videos=25)
    resume_check.check_resumable(saved, ours)
  old = RunInfo(CLASSES, config.to_dict())  # Of before that was noted.
  resume_check.check_resumable(old, saved)
  with config.unlocked():
    config.data.images = '/images'
  with pytest.raises(ValueError, match=r"data\.images: was '', is '/images'"):
    ours = RunInfo(CLASSES, config.to_dict(), videos=24)
    resume_check.check_resumable(saved, ours)


def test_a_whole_checkpoint_of_another_model_is_not_called_damaged(
  config, tmp_path
):
  tx = optax.sgd(0.1)
  run = Experiment.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(setup.initial_state(run, tx), info, None)
  other = Experiment.create(config, (*CLASSES, 'up'))
  other = setup.abstract_state(other, tx)
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(ValueError, match=r'head\.bias: \(2,\) there, \(3,\)'):
      checkpoints.restore_latest(other, lambda info: None)
    assert checkpoints.steps() == [0]


def test_a_model_without_batch_norm_goes_on(config, tmp_path):
  config.model.name = 'swinv2_test'
  tx = optax.sgd(0.1)
  run = Experiment.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(setup.initial_state(run, tx), info, None)
    wanted = setup.abstract_state(run, tx)
    assert checkpoints.restore_latest(wanted, print) is not wanted


def test_a_model_is_scored_as_it_was_trained_and_differences_are_told(
  config, tmp_path
):
  run = Experiment.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(setup.initial_state(run, optax.sgd(0.1)), info, None)
  load_config(tmp_path, config)
  assert not (tmp_path / 'log.txt').exists()
  other = config.copy_and_resolve_references()
  other.flatten, other.mean, other.data.stride = 'nested', (0.1, 0.2, 0.3), 2
  scored = load_config(tmp_path, other)
  run_log.stop()
  assert (scored.flatten, tuple(scored.mean)) == ('row_major', (0.45,) * 3)
  assert scored.data.stride == 2
  text = (tmp_path / 'log.txt').read_text()
  assert "flatten stays 'row_major'; the config has 'nested'" in text
  assert 'data.stride was in training 4; the config has 2' in text


def test_a_machine_without_git_is_described_all_the_same(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert run_log.describe_machine()['commit'] == 'not a git checkout'
