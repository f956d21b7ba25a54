# SPDX-License-Identifier: Apache-2.0
"""The best validation is kept, tested, and decides when training ends."""

import json
import logging

import jax
import pytest

from configs import common
from flatten_jax.checkpoints import manager
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.runtime.configuration.config_rules import CHOICES
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import loop, steps
from flatten_jax.training.best_validation import BestValidation
from tests.training.test_loop import StopAt, same
from tests.training.test_prefetch import one_parameter
from tests.training.test_survival import save, state_at

COUNTS = {'views': '', 'videos': 12, 'scored': 12}
COUNTS |= {'classes': 12, 'scored_classes': 12, 'top5': 90.0}


@pytest.mark.parametrize(
  ('worse', 'better'),
  [
    ({'top1': 50.0, 'loss': 0.1}, {'top1': 51.0, 'loss': 9.0}),
    # Of equal top-1, the lower loss; of equal losses, the first.
    ({'top1': 50.0, 'loss': 0.2}, {'top1': 50.0, 'loss': 0.1}),
    (
      {'top1': 50.0, 'loss': 0.1, 'step': 9},
      {'top1': 50.0, 'loss': 0.1, 'step': 6},
    ),
    # Earlier versions saved no loss.
    ({'top1': 50.0}, {'top1': 50.0, 'loss': 9.0, 'step': 9}),
  ],
)
def test_validations_have_an_order(worse, better):
  assert manager.rank(worse) < manager.rank(better)


@pytest.mark.parametrize(
  ('by', 'best'),
  [('top1', 0), ('loss', 1), ('top5', 2), ('mean_class', 3), ('map', 4)],
)
def test_any_metric_of_a_validation_can_be_what_is_best(by, best):
  names = 'top1', 'loss', 'top5', 'mean_class', 'map'
  rows = [[9, 5, 1, 1, 1], [1, 0.5, 1, 1, 1], [1, 5, 9, 1, 1]]
  rows += [[1, 5, 1, 9, 1], [1, 5, 1, 1, 9]]
  scores = [dict(zip(names, row, strict=True)) for row in rows]
  assert max(range(5), key=lambda i: manager.rank(scores[i], by)) == best
  assert set(names) == set(manager.BEST_BY) == set(CHOICES['save_best_by'])


class Saved:
  """The best validation among the checkpoints of a run."""

  def __init__(self, step=None, best_by='top1', **scores):
    self.best_by = best_by
    self.best_step = lambda: step
    self.scores = lambda _: scores


def test_each_validation_has_a_line_with_its_epoch_and_the_best():
  best = BestValidation(Saved(), 2.5, 0.0)
  top1 = {5: 50.0, 10: 75.0, 15: 75.0}
  lines = [
    best.add(step, COUNTS | {'top1': x, 'mean_class': x, 'loss': 1.0})
    for step, x in top1.items()
  ]
  assert lines[0] == (
    'Epoch 2.0: val: top-1 50.00 % (6 of 12; 95 %: 25 to 75); the best so far'
  )
  assert lines[1].endswith('(9 of 12; 95 %: 47 to 91); the best so far')
  assert lines[2].endswith('95 %: 47 to 91); best 75.00 % at epoch 4.0')
  assert not best.ends(10_000)


@pytest.mark.parametrize(
  ('by', 'texts'),
  [
    ('loss', ('; loss 2.0000; the best so far', 'best loss 2.0000 at epoch 1')),
    (
      'mean_class',
      ('; mean class 25.00 %; the best', 'best mean class 25.00 '),
    ),
  ],
)
def test_a_line_names_the_value_that_is_compared(by, texts):
  best = BestValidation(Saved(best_by=by), 2.0, 0.0)
  better = COUNTS | {'top1': 50.0, 'mean_class': 25.0, 'loss': 2.0}
  worse = COUNTS | {'top1': 75.0, 'mean_class': 20.0, 'loss': 3.0}
  lines = best.add(2, better), best.add(4, worse)
  for line, text in zip(lines, texts, strict=True):
    assert text in line


def test_a_workdir_knows_what_its_run_calls_the_best(tmp_path):
  scores = {
    1: {'top1': 50.0, 'loss': 2.0},
    2: {'top1': 40.0, 'loss': 1.0},
    3: {'top1': 30.0, 'loss': 3.0},
  }
  config = common.base()
  config.save_best_by = 'loss'
  info = RunInfo(('a', 'b'), config.to_dict())
  with Checkpoints(tmp_path, keep_last=1, best_by='loss') as checkpoints:
    for step, found in scores.items():
      checkpoints.save(state_at(step), info, found)
  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.best_by == 'loss'
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.choose('best') == checkpoints.best_step() == 2
  with Checkpoints(tmp_path, best_by='top1') as checkpoints:  # Changed later.
    assert checkpoints.best_step() == 2


@pytest.mark.parametrize(
  ('saved', 'patience', 'step', 'ends'),
  [
    (Saved(260, top1=83.3), 15, 400, False),
    (Saved(260, top1=83.3), 15, 410, True),
    (Saved(260, top1=83.3), 0, 4000, False),
    (Saved(), 1, 4000, False),
    (Saved(10, top1=0.0), 0.04, 10, False),  # At least a step.
  ],
)
def test_training_ends_after_epochs_without_a_better_one(
  saved, patience, step, ends
):
  best = BestValidation(saved, 10, patience)
  assert best.ends(step) == ends
  if ends:
    assert best.last_line(step) == (
      'Stopped at epoch 41.0: no better validation for 15 epochs; best 83.30 % '
      'at epoch 26.0'
    )


@pytest.fixture
def scripted(config, monkeypatch):
  """A run of 8 epochs whose best validation, of a patience of 2, is the third.

  Returns the config, and the steps of the validations that were computed.
  """
  top1 = {3: 10, 6: 50, 9: 50, 12: 40, 15: 50, 18: 90, 21: 90, 24: 0}
  loss = {3: 0.1, 6: 2, 9: 1, 12: 0.1, 15: 1, 18: 0.1, 21: 0.2, 24: 9}
  validated, tested = [], []

  def validate(model, *_):
    scores = {'top1': float(top1[model.step]), 'loss': float(loss[model.step])}
    validated.append(model.step)
    return COUNTS | scores | {'mean_class': scores['top1']}

  monkeypatch.setattr(steps, 'train_step', one_parameter)
  monkeypatch.setattr(loop.evaluate, 'validate', validate)
  monkeypatch.setattr(
    loop.evaluate, 'evaluate_splits', lambda *_: tested.append(1)
  )
  config.epochs, config.patience, config.test_checkpoint = 8.0, 2.0, 'best'
  return config, validated, tested


def change_commit(path, commit):
  """Writes another commit into a run.json; returns the one that it had."""
  run = json.loads(path.read_text())
  before, run['machine']['commit'] = run['machine']['commit'], commit
  path.write_text(json.dumps(run))
  return before


def test_a_run_stops_early_saves_and_is_tested(scripted, tmp_path):
  config, validated, tested = scripted
  state = loop.train_and_evaluate(config, tmp_path)
  assert int(state.step) == 15 and validated == [3, 6, 9, 12, 15]
  assert tested == [1]
  line = 'Stopped at epoch 5.0: no better validation for 2 epochs; best 50.00 '
  line += '% at epoch 3.0'
  text = (tmp_path / 'log.txt').read_text()
  assert text.count(line) == 1
  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.steps() == [9, 12, 15]
    assert checkpoints.choose('best') == 9
    assert checkpoints.scores(9) == COUNTS | {
      'top1': 50.0,
      'mean_class': 50.0,
      'loss': 1.0,
      'step': 9,
    }
  # The same command goes straight to the test; more patience trains on.
  here = change_commit(tmp_path / 'run.json', 'another')
  again = loop.train_and_evaluate(config, tmp_path)
  same(jax.device_get(again), jax.device_get(state))
  assert validated == [3, 6, 9, 12, 15] and tested == [1, 1]
  assert (tmp_path / 'log.txt').read_text().count(line) == 2
  # run.json is about the machine, and the commit, that trained last.
  assert change_commit(tmp_path / 'run.json', 'another') == 'another'
  config.patience = 3.0
  assert int(loop.train_and_evaluate(config, tmp_path).step) == 24
  assert change_commit(tmp_path / 'run.json', 'another') == here
  assert validated[5:] == [18, 21, 24] and len(tested) == 3


def test_a_killed_run_stops_where_it_would_have(
  scripted, tmp_path, monkeypatch
):
  config, validated, _ = scripted

  def crash():
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    StopAt(patch, 13, crash)
    with pytest.raises(KeyboardInterrupt):
      loop.train_and_evaluate(config, tmp_path)
  state = loop.train_and_evaluate(config, tmp_path)
  assert int(state.step) == 15
  assert validated == [3, 6, 9, 12, 15]


def test_before_a_validation_the_best_checkpoint_is_the_last(
  tmp_path, caplog, monkeypatch
):
  monkeypatch.setattr(run_log.log, 'propagate', True)
  caplog.set_level(logging.INFO, 'flatten_jax')
  save(tmp_path, [1, 3])
  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.choose('best') == 3
  assert caplog.messages[-1] == (
    'There was no validation yet: the last checkpoint is used'
  )
