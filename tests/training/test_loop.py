# SPDX-License-Identifier: Apache-2.0
"""Whole training runs: their files, interruptions and bad data."""

import itertools
import json
import logging
import os
import shutil
import signal

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.evaluation import label_mapping
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import loop, setup, trainer


def same(a, b):
  """Checks that two trees are equal to the bit."""
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope='module')
def finished(tmp_path_factory, shared_config):
  """The workdir of a run that was not interrupted, and its last state."""
  workdir = tmp_path_factory.mktemp('finished')
  return workdir, fj.train_and_evaluate(shared_config, workdir)


def test_a_run_leaves_results_that_can_be_read(finished):
  workdir, state = finished
  assert int(state.step) == 9
  test = json.loads((workdir / 'results.json').read_text())['test']
  assert test['videos'] == test['scored'] == 12
  assert test['views'] == '16x4x1x1'
  assert test['gflops_per_view'] > 0
  assert test['params_m'] > 0
  assert 0 <= test['top1'] <= test['top5'] <= 100
  metrics = run_log.read_metrics(workdir)
  assert [m['step'] for m in metrics if 'train/loss' in m] == [2, 4, 6, 8, 9]
  assert [m['step'] for m in metrics if 'val/top1' in m] == [3, 6, 9]
  text = (workdir / 'log.txt').read_text()
  assert 'stages/0/0/pos' in text.replace('.', '/')  # The parameter table.
  assert '12 of 12 videos scored' in text
  assert list((workdir / 'tensorboard').iterdir())
  confusion = (workdir / 'confusion_test.csv').read_text().splitlines()
  assert len(confusion) == 13
  run = json.loads((workdir / 'run.json').read_text())
  assert len(run['class_names']) == 12


def test_the_same_run_twice_is_the_same_to_the_bit(finished, config, tmp_path):
  """Weights, every logged number except the speed, and every prediction."""
  workdir, state = finished
  again = fj.train_and_evaluate(config, tmp_path)
  same(jax.device_get(again), jax.device_get(state))
  logged = [
    [
      {
        k: v
        for k, v in row.items()
        if k not in ('clips_per_second', 'input_wait')
      }
      for row in run_log.read_metrics(folder)
    ]
    for folder in (workdir, tmp_path)
  ]
  assert logged[0] == logged[1]
  name = 'predictions_test.npz'
  assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()


def test_predictions_can_be_scored_again(finished):
  workdir, _ = finished
  test = json.loads((workdir / 'results.json').read_text())['test']
  again = fj.score_workdir(workdir)['test']
  assert again == {key: test[key] for key in again}
  predictions = Predictions.load(workdir / 'predictions_test.npz')
  assert predictions.logits.shape == (12, 12)


def test_evaluation_needs_nothing_but_the_workdir(finished):
  workdir, _ = finished
  before = (workdir / 'predictions_test.npz').read_bytes()
  scores = fj.evaluate(None, workdir)
  assert scores['scored'] == 12
  assert (workdir / 'predictions_test.npz').read_bytes() == before
  assert fj.evaluate(None, workdir, '3x2')['views'] == '16x4x3x2'
  assert (workdir / 'predictions_test.npz').read_bytes() == before
  fj.evaluate(None, workdir)
  page = (workdir / 'report_test.md').read_text()
  assert '12 of 12 videos scored' in page and 'Most confused' in page
  with pytest.raises(ValueError, match=r'data\.crop=16'):
    fj.evaluate(None, workdir, '224x4x3x2')


def test_a_checkpoint_contains_its_config_and_classes(finished):
  workdir, _ = finished
  checkpoints = Checkpoints(workdir, create=False)
  info = checkpoints.info(checkpoints.choose())
  assert info.batch == 9
  assert info.epoch == 3
  assert info.class_names[0] == 'clockwise'
  assert info.config['data']['crop'] == 16
  # The last two, and the best one if it is another.
  assert {6, 9} <= set(checkpoints.steps())
  assert checkpoints.best_step() in checkpoints.steps()


class StopAt:
  """Calls `action` before batch `number` is handed out."""

  def __init__(self, monkeypatch, number, action):
    original = setup.training_batches

    class Interrupted(pipeline.Batches):
      """Counts its batches."""

      def __next__(self):
        batch = super().__next__()
        if self.count == number:
          action()
        self.count += 1
        return batch

    def training_batches(train, config, start):
      batches = Interrupted(original(train, config, start))
      batches.count = start
      return batches

    monkeypatch.setattr(setup, 'training_batches', training_batches)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(
  finished, config, tmp_path, monkeypatch, workers
):
  """It stops in the middle of an epoch and continues with other workers."""
  workdir, state = finished

  def crash():
    raise KeyboardInterrupt

  config.save_every = 0.4  # Every step; the interruption is between two.
  config.eval_every = 0.0
  with monkeypatch.context() as patch:
    StopAt(patch, 4, crash)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path)
  config.data.workers = workers
  resumed = fj.train_and_evaluate(config, tmp_path)
  same(jax.device_get(resumed), jax.device_get(state))
  results = [
    Predictions.load(folder / 'predictions_test.npz').logits
    for folder in (workdir, tmp_path)
  ]
  same(*results)
  assert 'Resuming after step' in (tmp_path / 'log.txt').read_text()


def test_a_frozen_start_on_balanced_classes_resumes_to_the_bit(
  config, tmp_path, monkeypatch
):
  """It is resumed where all parameters begin to be trained."""
  config.freeze_epochs, config.data.balanced = 1.0, True
  config.epochs, config.eval_every = 2.0, 0.0
  config.weight_decay, config.model.depth = 0.5, (1, 0, 0, 0)
  scores = dict.fromkeys((*trainer.metrics.TITLES, 'loss'), 0.0)
  scores |= {'views': '', 'videos': 1, 'scored': 0}
  monkeypatch.setattr(loop.evaluate, 'validate', lambda *_: scores)
  monkeypatch.setattr(loop.evaluate, 'evaluate_splits', lambda *_: {})
  whole = fj.train_and_evaluate(config, tmp_path / 'whole')

  def crash():
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    StopAt(patch, 4, crash)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path / 'resumed')
  resumed = fj.train_and_evaluate(config, tmp_path / 'resumed')
  same(jax.device_get(resumed), jax.device_get(whole))
  with Checkpoints(tmp_path / 'whole', create=False) as checkpoints:
    border = checkpoints.restore_weights(3)
  experiment = Experiment.create(config, tuple('abcdefghijkl'))
  weights = zip(
    ('params', 'batch_stats'), experiment.random_weights(), strict=True
  )
  for path, value in jax.tree_util.tree_leaves_with_path(dict(weights)):
    found = border
    for entry in path:
      found = found[str(entry.key)]
    assert (found != value).all() == ('head' in str(path)), path
  text = (tmp_path / 'resumed' / 'log.txt').read_text()
  assert 'Resuming after step 3' in text
  for line in (
    'Classes have 2 to 2 training videos: each class is drawn equally often',
    'For 1 epochs only head.bias and head.kernel are trained',
    'features of random weights',
    'All parameters are trained from now on',
  ):
    assert line in text


@pytest.mark.slow
def test_a_run_with_everything_on_resumes_to_the_bit(
  config, tmp_path, monkeypatch
):
  """With EMA, accumulation, layer decay and all augmentations."""
  config.model.depth = (1, 1, 1, 1)
  config.batch_norm_frozen, config.precise_batch_norm = 'all_but_first', 2
  config.ema, config.grad_accum_steps, config.layer_decay = 0.9, 2, 0.8
  config.freeze_epochs, config.data.balanced = 0.7, True
  config.mix_stage = 'after_flatten'
  config.data.randaugment = 'rand-m7-n4-mstd0.5-inc1'
  config.data.random_erasing, config.data.repeated_aug = 0.25, 2
  config.epochs, config.save_every, config.eval_every = 2.0, 0.4, 0.0
  whole = fj.train_and_evaluate(config, tmp_path / 'whole')

  def crash():
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    StopAt(patch, 3, crash)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path / 'resumed')
  resumed = fj.train_and_evaluate(config, tmp_path / 'resumed')
  same(jax.device_get(resumed), jax.device_get(whole))
  # The averaged weights are evaluated.
  with Checkpoints(tmp_path / 'whole', create=False) as checkpoints:
    weights = checkpoints.restore_weights(6)
  leaves = [jax.tree.leaves(x) for x in (weights, whole.average)]
  same(*jax.device_get(leaves))
  head = weights['params']['head']['kernel']
  assert (head != whole.params['head']['kernel']).any()
  # A run without EMA is another experiment; no checkpoint is set aside.
  config.ema = 0.0
  with pytest.raises(ValueError, match=r'ema: was 0\.9'):
    fj.train_and_evaluate(config, tmp_path / 'whole')
  assert not list((tmp_path / 'whole').glob('damaged*'))


def test_sigterm_saves_and_logs_how_to_continue(config, tmp_path, monkeypatch):
  config.save_every = 0.0
  config.eval_every = 0.0
  with monkeypatch.context() as patch:
    StopAt(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stop:
      fj.train_and_evaluate(config, tmp_path)
  assert stop.value.code == 0
  assert Checkpoints(tmp_path, create=False).steps() == [3]
  assert 'the same command resumes' in (tmp_path / 'log.txt').read_text()


@pytest.mark.parametrize('step', [6, 9])
def test_sigterm_ends_a_validation_which_is_made_up_for(
  finished, config, tmp_path, monkeypatch, step
):
  """The last, and one before; scores and checkpoints are as without it."""
  validate = trainer.evaluate.validate

  def stopped(model, *args):
    if model.step == step:
      os.kill(os.getpid(), signal.SIGTERM)
    return validate(model, *args)

  with monkeypatch.context() as patch:
    patch.setattr(trainer.evaluate, 'validate', stopped)
    for _ in range(2):  # The second time, before anything is trained.
      with pytest.raises(SystemExit):
        fj.train_and_evaluate(config, tmp_path)
      with Checkpoints(tmp_path, create=False) as checkpoints:
        assert checkpoints.steps()[-1] == step
        assert checkpoints.scores(step) is None
  assert not (tmp_path / 'results.json').exists()
  state = fj.train_and_evaluate(config, tmp_path)
  same(jax.device_get(state), jax.device_get(finished[1]))
  with (
    Checkpoints(finished[0], create=False) as whole,
    Checkpoints(tmp_path, create=False) as resumed,
  ):
    assert whole.steps() == resumed.steps()
    for saved in whole.steps():
      assert whole.scores(saved) == resumed.scores(saved)
  rows = [
    [row for row in run_log.read_metrics(folder) if 'val/loss' in row]
    for folder in (finished[0], tmp_path)
  ]
  assert rows[0] == rows[1] and len(rows[0]) == 3


def test_a_damaged_checkpoint_is_set_aside(finished, config, tmp_path):
  """The newest is truncated: the one before is used, and the log says so."""
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  for file in (workdir / 'checkpoints' / '9' / 'state').rglob('*'):
    if file.is_file():
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  state = fj.train_and_evaluate(config, workdir)
  same(jax.device_get(state), jax.device_get(finished[1]))
  text = (workdir / 'log.txt').read_text()
  assert 'Checkpoint 9 cannot be read' in text
  assert 'Resuming after step 6' in text
  assert (workdir / 'damaged_checkpoint_9').is_dir()


def test_another_config_in_the_same_workdir_is_refused(finished, config):
  workdir, _ = finished
  config.lr = 5e-3
  with pytest.raises(ValueError, match=r'lr: was 0\.001, is 0\.005'):
    fj.train_and_evaluate(config, workdir)


@pytest.mark.parametrize('metric', ['loss', 'grad_norm'])
def test_a_metric_that_is_not_finite_stops_the_run(
  metric, config, tmp_path, monkeypatch
):
  original = setup.make_train_step

  def make_train_step(experiment, tx, **options):
    step, count = original(experiment, tx, **options), itertools.count(1)

    def poisoned(*args):
      state, metrics = step(*args)
      if next(count) == 5:
        metrics = metrics | {metric: jax.device_put(np.float32(np.nan))}
      return state, metrics

    return poisoned

  monkeypatch.setattr(setup, 'make_train_step', make_train_step)
  with pytest.raises(FloatingPointError, match='of step 5 is nan'):
    fj.train_and_evaluate(config, tmp_path)
  assert Checkpoints(tmp_path, create=False).steps() == [3]


def test_broken_videos_are_named_and_not_counted_as_scored(
  config, clips_root, tmp_path
):
  root = tmp_path / 'clips'
  shutil.copytree(clips_root, root)
  broken = [next(root.glob(f'{split}/up/*.mp4')) for split in ('train', 'test')]
  for path in broken:
    path.write_bytes(path.read_bytes()[:100])
  config.data.root = str(root)
  config.eval_every = 0.0
  fj.train_and_evaluate(config, tmp_path / 'run')
  named = (tmp_path / 'run' / 'unreadable.txt').read_text().splitlines()
  assert {line.split('\t')[0] for line in named} == set(map(str, broken))
  assert all(line.split('\t')[1] for line in named)  # The causes.
  text = (tmp_path / 'run' / 'results.json').read_text()
  test = json.loads(text)['test']
  assert (test['videos'], test['scored']) == (12, 11)
  assert '11 of 12 videos scored' in (tmp_path / 'run' / 'log.txt').read_text()


def test_labels_are_matched_by_class_name():
  """Two lists number the same classes differently."""
  names = ('down', 'left', 'up')
  records = tuple(Record(str(i), f'{i}.mp4', i) for i in range(3))
  videos = Videos(records, ('up', 'down', 'left'))
  matched = label_mapping.match_labels(videos, names, 'test')
  assert [record.label for record in matched.records] == [2, 0, 1]
  assert matched.class_names == ('down', 'left', 'up')
  with pytest.raises(ValueError, match='sideways'):
    others = Videos(records, ('up', 'down', 'sideways'))
    label_mapping.match_labels(others, names, 'test')


def test_an_unwritable_workdir_is_refused_at_once(config, tmp_path):
  file = tmp_path / 'a_file'
  file.write_text('')
  with pytest.raises(OSError, match='--workdir'):
    fj.train_and_evaluate(config, file / 'workdir')


def test_evaluating_an_empty_folder_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match='--workdir'):
    fj.evaluate(None, tmp_path)


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(
  config, tmp_path
):
  config.batch_size = 6
  with pytest.raises(ValueError, match='multiple of 8'):
    fj.train_and_evaluate(config, tmp_path)


def test_frames_that_fill_no_grid_are_refused_before_reading(config, tmp_path):
  config.data.num_frames = 15
  with pytest.raises(ValueError, match='15'):
    fj.train_and_evaluate(config, tmp_path)


@pytest.fixture(autouse=True)
def quiet():
  yield
  run_log.stop()
  logging.getLogger('absl').setLevel(logging.WARNING)
