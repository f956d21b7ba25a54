# SPDX-License-Identifier: Apache-2.0
"""The scores and the confusion matrix that loggers get from a test."""

import csv
import types

import numpy as np
import pytest

from flatten_jax.evaluation import log_test
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.runtime.workdir import run_log, workdirs

SCORES = {'top1': 66.7, 'top5': 100.0, 'mean_class': 66.7}


class Board:
  """Notes what the loggers would get."""

  enabled = True

  def __init__(self):
    self.scores, self.images = {}, {}

  def write_scores(self, step, values):
    self.scores[step] = values

  def write_images(self, step, images):
    self.images[step] = images


def save_predictions(folder):
  names = ('a $ b', '日本', 'c' * 99)
  logits = np.eye(3, dtype=np.float32)[[0, 1, 1]]
  Predictions(
    np.array(list('xyz')), np.arange(3), logits, np.ones(3, bool), names
  ).save(folder / 'predictions_test.npz')


def test_the_test_is_logged_with_its_confusion_matrix(tmp_path):
  save_predictions(tmp_path)
  board = Board()
  log_test.write(
    board, tmp_path, SCORES | {'step': 9, 'name': 'test', 'views': '3x10'}
  )
  assert board.scores == {9: {f'test/{k}': v for k, v in SCORES.items()}}
  picture = board.images[9]['test/confusion']
  assert picture.dtype == np.uint8 and picture.shape[2] == 3
  assert len(np.unique(picture)) > 10
  log_test.write(types.SimpleNamespace(enabled=False), tmp_path, {})


def test_many_classes_have_a_picture_without_names():
  picture = log_test.confusion(
    np.eye(400, dtype=int), tuple(map(str, range(400)))
  )
  assert max(picture.shape) <= 1200


@pytest.fixture
def finished(tmp_path):
  """A workdir whose newest metrics are later than the tested checkpoint."""
  with run_log.RunLog(tmp_path, 0, ('csv',)) as board:
    for step in (9, 20):
      board.write(step, {'train/loss': step / 10})
  save_predictions(tmp_path)
  return tmp_path


def table(workdir):
  with (workdir / 'metrics.csv').open(newline='') as file:
    return {row['step']: row for row in csv.DictReader(file)}


def test_a_later_evaluation_is_added_at_its_step_and_nothing_is_lost(finished):
  scores = SCORES | {'step': 9, 'name': 'test'}
  log_test.write_later(('csv', 'tensorboard'), finished, scores, 'evaluate/x')
  rows = table(finished)
  assert rows['9'] == {
    'step': '9',
    'train/loss': '0.9',
    **{f'evaluate/x/{key}': str(value) for key, value in SCORES.items()},
  }
  assert rows['20']['train/loss'] == '2.0'
  assert [row['step'] for row in run_log.read_metrics(finished)] == [9, 20]
  with run_log.RunLog(finished, 9, ('csv',)) as board:  # Resumed after step 9.
    board.write(10, {'train/loss': 1.0})
  assert table(finished).keys() == {'9', '10'}
  assert table(finished)['9']['evaluate/x/top1'] == '66.7'


def test_loggers_of_a_training_that_goes_on_are_left_alone(finished, caplog):
  scores = SCORES | {'step': 9, 'name': 'test'}
  with workdirs.exclusive(finished):
    log_test.write_later(('csv',), finished, scores, 'test')
  assert 'do not get these scores' in caplog.text
  assert 'test/top1' not in table(finished)['9']
