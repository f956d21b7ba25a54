# SPDX-License-Identifier: Apache-2.0
"""What would fail, or mislead, at the end of a training is refused before."""

import jax
import optax
import pytest

from configs import folder
from flatten_jax.checkpoints import resume_check
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.inputs.sources import dataset, folds
from flatten_jax.models import create_model
from flatten_jax.runtime import checks, run_log, trained
from flatten_jax.runtime.run import Run
from flatten_jax.training import setup

CLASSES = ('left', 'right')


@pytest.mark.parametrize(
  ('key', 'value', 'hint'),
  [
    ('test_checkpoint', 'bset', "'last' or 'best'"),
    ('test_checkpoint', 'best', 'needs a val split'),
    ('eval_frame_order', 'backwards', "'reversed'"),
    ('mix_stage', 'images', "'after_flatten'"),
    ('keep_last', 0, '1 or more'),
  ],
)
def test_a_value_of_the_end_is_refused_at_the_start(config, key, value, hint):
  config[key] = value
  config.batch_size = 8 * jax.device_count()
  with pytest.raises(ValueError, match=hint):
    checks.check(config, {'train': None, 'test': None})


def test_an_unknown_dtype_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match=r"'bfloat16'.*not 'bf16'"):
    create_model('uniformer_test', dtype='bf16')


def test_the_warmup_is_a_tenth_of_the_epochs_or_as_it_is_given():
  config = folder.get_config('')
  assert setup.choose_epochs(config, 5000).warmup_epochs == 2.0
  config.epochs = 30.0
  assert setup.choose_epochs(config, 5000).warmup_epochs == 3.0
  config.warmup_epochs = 5.0
  assert setup.choose_epochs(config, 5000).warmup_epochs == 5.0


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
  run = Run.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(run.initial_state(tx), info, None)
  other = Run.create(config, (*CLASSES, 'up')).abstract_state(tx)
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(ValueError, match=r'head\.bias: \(2,\) there, \(3,\)'):
      checkpoints.restore_latest(other, lambda info: None)
    assert checkpoints.steps() == [0]


def test_a_model_without_batch_norm_goes_on(config, tmp_path):
  config.model.name = 'swinv2_test'
  tx = optax.sgd(0.1)
  run = Run.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(run.initial_state(tx), info, None)
    wanted = run.abstract_state(tx)
    assert checkpoints.restore_latest(wanted, print) is not wanted


def test_a_model_is_scored_as_it_was_trained_and_differences_are_told(
  config, tmp_path
):
  run = Run.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(run.initial_state(optax.sgd(0.1)), info, None)
  trained.as_trained(config, tmp_path)
  assert not (tmp_path / 'log.txt').exists()
  other = config.copy_and_resolve_references()
  other.flatten, other.mean, other.data.stride = 'nested', (0.1, 0.2, 0.3), 2
  scored = trained.as_trained(other, tmp_path)
  run_log.stop()
  assert (scored.flatten, tuple(scored.mean)) == ('row_major', (0.45,) * 3)
  assert scored.data.stride == 2
  text = (tmp_path / 'log.txt').read_text()
  assert "flatten stays 'row_major'; the config has 'nested'" in text
  assert 'data.stride was in training 4; the config has 2' in text


def test_a_machine_without_git_is_described_all_the_same(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert run_log.describe_machine()['commit'] == 'not a git checkout'
