# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that may be resumed or evaluated, and those that are refused."""

import dataclasses
import os

import optax
import pytest

from flatten_jax.checkpoints import resume_check, training_data
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.load import load_config
from flatten_jax.checkpoints.training_data import describe
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import setup

CLASSES = ('left', 'right')
WORKDIR = 'runs/my run'


def test_a_config_of_an_earlier_version_is_completed_and_resumed(config):
  config.min_lr, config.mix_stage = 1e-5, 'after_flatten'
  ours = RunInfo(CLASSES, config.to_dict())
  values = dataclasses.asdict(ours)
  old = values['config']
  old['lr_end'], old['mix'] = old.pop('min_lr'), 'mosaics'
  del old['mix_stage'], old['eval_average'], old['data']['image_crop']
  resume_check.check_resumable(RunInfo.from_json(values), ours, WORKDIR)


def test_another_learning_rate_is_refused_and_other_workers_are_not(config):
  saved = RunInfo(CLASSES, config.to_dict())
  config.data.workers += 1
  resume_check.check_resumable(
    saved, RunInfo(CLASSES, config.to_dict()), WORKDIR
  )
  config.lr *= 2
  with pytest.raises(ValueError, match='another config:\n  lr: was') as error:
    resume_check.check_resumable(
      saved, RunInfo(CLASSES, config.to_dict()), WORKDIR
    )
  last = str(error.value).splitlines()[-1].split(' --config.')
  assert last == [
    "  --workdir='runs/my run_new'",
    "model.pretrained='runs/my run'",
  ]


def test_a_run_resumes_only_with_the_same_number_of_videos(config):
  saved = RunInfo(CLASSES, config.to_dict(), videos=24)
  resume_check.check_resumable(saved, saved, WORKDIR)
  with pytest.raises(ValueError, match='24 then, 25 now'):
    ours = RunInfo(CLASSES, config.to_dict(), videos=25)
    resume_check.check_resumable(saved, ours, WORKDIR)
  old = RunInfo(CLASSES, config.to_dict())  # The number is unknown.
  resume_check.check_resumable(old, saved, WORKDIR)


def resumed_with(config, before, now):
  """Resumes a run of the records `before` with those of `now`."""
  saved, ours = (
    RunInfo(
      CLASSES,
      config.to_dict(),
      videos=len(records),
      data=training_data.describe(Videos(tuple(records), CLASSES)),
    )
    for records in (before, now)
  )
  resume_check.check_resumable(saved, ours, WORKDIR)


def listed(root, *names):
  return [Record(f'{root}{n}', f'/{n}', i % 2) for i, n in enumerate(names)]


@pytest.mark.parametrize(
  ('names', 'changes'),
  [
    (('left/a.mp4', 'right/b.mp4', 'left/x.mp4'), '1 of 2 classes: left'),
    (('left/c.mp4', 'right/b.mp4', 'left/a.mp4'), 'in another order'),
    (('left/a.mp4', 'right/b.mp4'), '3 then, 2 now'),
    (('left/a.mp4', 'left/c.mp4', 'right/b.mp4'), 'classes: left, right'),
  ],
)
def test_other_videos_under_the_same_number_are_refused(config, names, changes):
  before = listed('', 'left/a.mp4', 'right/b.mp4', 'left/c.mp4')
  with pytest.raises(ValueError, match=rf'other training videos \(.*{changes}'):
    resumed_with(config, before, listed('', *names))


def test_other_weights_of_the_videos_are_refused(config):
  records = listed('', 'left/a.mp4', 'right/b.mp4')
  videos = Videos(tuple(records), CLASSES, weights=(1.0, 2.0))
  same, other = (
    dataclasses.replace(videos, weights=(1.0, x)) for x in (2.0, 3.0)
  )
  saved = RunInfo(CLASSES, config.to_dict(), data=describe(videos))
  ours = dataclasses.replace(saved, data=describe(same))
  resume_check.check_resumable(saved, ours, WORKDIR)
  ours = dataclasses.replace(saved, data=describe(other))
  with pytest.raises(ValueError, match='names or weights in 1 of 2 classes: r'):
    resume_check.check_resumable(saved, ours, WORKDIR)


def test_videos_may_move_as_a_whole_and_be_encoded_again(config):
  names = ('left/a', 'right/b', os.fsdecode(b'left/\xe9'))
  before = listed('/data/v1/', *(f'{name}.avi' for name in names))
  for root in ('', '/scratch/', '../a b/'):
    now = listed(root, *(f'{name}.mp4' for name in names))
    resumed_with(config, before, now)


def test_another_size_of_the_videos_is_a_warning(config, tmp_path, caplog):
  path = tmp_path / 'a.mp4'
  videos = Videos((Record('a.mp4', str(path), 0),), CLASSES)
  path.write_bytes(b'one')
  saved = RunInfo(CLASSES, config.to_dict(), 0, 0.0, 1, describe(videos))
  path.write_bytes(b'other')
  ours = dataclasses.replace(saved, data=describe(videos))
  resume_check.check_resumable(saved, ours, WORKDIR)
  assert 'videos have other sizes than when this run began' in caplog.text


def test_images_may_move_on_resume_but_not_be_added(config):
  config.data.images = '/images'
  saved = RunInfo(CLASSES, config.to_dict())
  config.data.images = '/moved'
  resume_check.check_resumable(
    saved, RunInfo(CLASSES, config.to_dict()), WORKDIR
  )
  config.data.images = ''
  with pytest.raises(ValueError, match=r"data\.images: was '/images', is ''"):
    resume_check.check_resumable(
      saved, RunInfo(CLASSES, config.to_dict()), WORKDIR
    )


def test_an_intact_checkpoint_of_another_model_is_not_quarantined(
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


def test_a_model_without_batch_norm_is_restored(config, tmp_path):
  config.model.name = 'swinv2_test'
  tx = optax.sgd(0.1)
  run = Experiment.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(setup.initial_state(run, tx), info, None)
    wanted = setup.abstract_state(run, tx)
    assert checkpoints.restore_latest(wanted, print) is not wanted


def test_evaluation_keeps_the_trained_layout_and_logs_differences(
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
  other.channels = 'bgr'
  scored = load_config(tmp_path, other)
  run_log.stop()
  assert (scored.flatten, tuple(scored.mean)) == ('row_major', (0.45,) * 3)
  assert (scored.channels, scored.data.stride) == ('rgb', 2)
  text = (tmp_path / 'log.txt').read_text()
  assert "flatten stays 'row_major'; the config has 'nested'" in text
  assert "channels stays 'rgb'; the config has 'bgr'" in text
  assert 'data.stride was in training 4; the config has 2' in text


def test_evaluation_keeps_the_trained_flow_and_logs_another_method(
  config, tmp_path
):
  config.data.input, config.data.flow_frames = 'flow', 2
  other = config.copy_and_resolve_references()
  config = configs.fill_and_check(config)
  run = Experiment.create(config, CLASSES)
  with Checkpoints(tmp_path) as checkpoints:
    info = RunInfo(CLASSES, config.to_dict())
    checkpoints.save(setup.initial_state(run, optax.sgd(0.1)), info, None)
  other.data.input, other.data.flow_frames = 'rgb', 0
  other.data.flow_method, other.data.resize = 'farneback', (20, 24)
  scored = load_config(tmp_path, other)
  run_log.stop()
  assert (scored.data.input, scored.data.flow_frames) == ('flow', 2)
  assert tuple(scored.mean) == tuple(config.mean)
  text = (tmp_path / 'log.txt').read_text()
  assert "data.input stays 'flow'; the config has 'rgb'" in text
  assert "flow_method was in training 'dis'; the config has 'farneback'" in text
  assert 'data.resize was in training (); the config has (20, 24)' in text
