# SPDX-License-Identifier: Apache-2.0
"""The learning-rate range test: its curve, its end, and what is suggested."""

import contextlib
import json
import math

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.profiling import lr_range
from flatten_jax.runtime import context
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import setup

RATES = np.geomspace(1e-7, 1, 71).tolist()  # Ten for each factor of ten.


@pytest.fixture(autouse=True)
def no_log():
  yield
  run_log.stop()


def valley(rates):
  """Losses that fall from 1e-5 on, fastest at 1e-4, are lowest at 1e-3."""
  knots = [-7, -5, -4.05, -3.95, -3, -2, 0]
  values = [2.5, 2.5, 2.2, 1.7, 1.4, 3.0, 50.0]
  return np.interp(np.log10(rates), knots, values)


def test_a_tenth_of_the_rate_with_the_lowest_loss_is_suggested():
  losses = valley(RATES)
  found = lr_range.suggest(RATES, losses, losses)
  assert (found['lowest'], found['suggestion']) == (1e-3, 1e-4)
  assert found['steepest'] == 1e-4
  assert found['command'] == '--config.lr=0.0001'


def test_the_steepest_descent_is_not_that_of_one_noisy_step():
  losses = valley(RATES)
  losses[22], losses[23] = 2.9, 2.2  # A hard batch before 1e-5.
  found = lr_range.suggest(RATES, losses, losses)
  assert 6e-5 < found['steepest'] < 2e-4


@pytest.mark.parametrize(
  'losses',
  [
    np.full(71, 2.5),
    2.5 + np.log1p(RATES),  # It only rises.
    2.5 + 0.1 * np.sin(np.arange(71)),  # It varies as at the beginning.
    np.concatenate([[1.0], np.full(70, 2.5)]),  # Its first batch was easy.
  ],
)
def test_nothing_is_suggested_where_the_loss_never_fell(losses):
  found = lr_range.suggest(RATES, losses, losses)
  assert found == {
    'suggestion': None,
    'lowest': None,
    'steepest': None,
    'command': '',
  }


def test_nothing_is_suggested_by_a_few_losses():
  for count in range(6):
    losses = [3.0, 2.9, 2.8, 2.7, 2.6, 2.5][:count]
    found = lr_range.suggest(RATES[:count], losses, losses)
    assert found['suggestion'] is None


def test_the_smoothed_loss_is_a_mean_with_weights_that_fade():
  found = lr_range.run_test(RATES, iter(valley(RATES)))
  losses, beta = found['losses'], lr_range.memory_factor(len(RATES))
  assert beta == pytest.approx(1 - 1 / (0.05 * 71))
  for count in (1, 2, 40):
    weights = beta ** np.arange(count)[::-1]
    mean = np.average(losses[:count], weights=weights)
    assert found['smoothed'][count - 1] == pytest.approx(mean)
  assert lr_range.memory_factor(1000) == 0.98  # Gugger's.
  assert lr_range.memory_factor(10) == 0


def test_a_test_ends_where_the_loss_is_four_times_its_lowest():
  taken = []
  losses = (taken.append(x) or x for x in valley(RATES))
  found = lr_range.run_test(RATES, losses)
  assert found['stopped'] == 'risen'
  smoothed = found['smoothed']
  assert smoothed[-1] > 4 * min(smoothed) >= max(smoothed[:-1])
  assert len(taken) == len(found['losses']) == len(found['rates']) < 71
  assert found['rates'] == RATES[: len(taken)]
  # The average lags behind by a part of a factor of ten.
  assert 1e-3 <= found['lowest'] <= 2e-3


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_test_ends_before_a_loss_that_is_not_finite(bad):
  losses = valley(RATES)
  losses[45:] = bad
  found = lr_range.run_test(RATES, iter(losses))
  assert found['stopped'] == 'not finite'
  assert len(found['losses']) == 45 and np.isfinite(found['smoothed']).all()
  assert found['suggestion']


def test_a_curve_without_a_loss_is_drawn_too(tmp_path):
  found = lr_range.run_test(RATES, iter([math.nan]))
  found |= {'model': 'a$b$', 'optimizer': 'sgd', 'batch_size': 8, 'lr': 0.1}
  lr_range.draw(found, tmp_path / 'empty.png')
  assert (tmp_path / 'empty.png').stat().st_size > 1000
  assert lr_range.summary(found) == (
    'The loss of the first step is not finite: no rate can be suggested.'
  )


def test_a_loss_that_falls_to_the_end_is_told():
  losses = np.linspace(3, 1, 71)
  found = lr_range.run_test(RATES, iter(losses))
  found |= {'batch_size': 8, 'lr': 0.1}
  assert (found['stopped'], found['lowest']) == ('steps', 1.0)
  assert '--config.lr=0.1, a tenth of' in lr_range.summary(found)
  assert 'larger rates may be as good' in lr_range.summary(found)


def test_the_rate_that_broke_the_network_is_not_the_best():
  losses = np.linspace(3, 1, 71)
  losses[50:] = math.nan  # By the update with rate 49.
  found = lr_range.run_test(RATES, iter(losses)) | {'batch_size': 8, 'lr': 0.1}
  assert (found['stopped'], len(found['rates'])) == ('not finite', 50)
  assert found['lowest'] == pytest.approx(RATES[48], rel=0.05)
  text = lr_range.summary(found)
  assert text.endswith('ended at 0.0079, after which the loss was not finite.')
  # Rounded to two digits, neighbors of many steps are the same.
  many = np.geomspace(1e-7, 1, 1000).tolist()
  losses = np.linspace(3, 1, 1000)
  losses[996:] = math.nan
  found = lr_range.run_test(many, iter(losses)) | {'batch_size': 8, 'lr': 0.1}
  assert 'larger rates' not in lr_range.summary(found)


def test_losses_of_real_steps_fall_and_rise(config, tmp_path):
  config.model.depth = (1, 0, 0, 0)
  config.model.drop_path_rate = 0.0
  config.mixup = config.cutmix = config.label_smoothing = 0.0
  (tmp_path / 'checkpoints').mkdir()
  found = fj.lr_range(config, tmp_path, steps=60)
  losses, smoothed = found['losses'], found['smoothed']
  assert losses[0] == pytest.approx(math.log(12), abs=0.3)
  assert len(set(losses)) == len(losses)  # Every step has other clips.
  best = int(np.argmin(smoothed))
  assert smoothed[best] < smoothed[0] - 0.02
  assert smoothed[-1] > smoothed[best] + 0.1
  assert 1e-5 < found['suggestion'] < 0.1
  assert found['lr'] == 1e-3 and found['batch_size'] == 8
  assert json.loads((tmp_path / 'lr_range.json').read_text()) == found
  assert (tmp_path / 'lr_range.png').read_bytes().startswith(b'\x89PNG')
  assert not list((tmp_path / 'checkpoints').iterdir())
  text = (tmp_path / 'log.txt').read_text()
  assert f'Suggested for batches of 8: {found["command"]}, a tenth of' in text


def test_a_loss_that_never_falls_is_told_in_one_line():
  found = lr_range.run_test(RATES, iter(np.full(71, 2.5)))
  assert lr_range.summary(found) == (
    'The loss never fell, so that no rate can be suggested. The test ended at '
    '1, where the rates end.'
  )


@pytest.mark.parametrize('epochs', [0.0, 1.0])
def test_each_step_has_the_next_batch_and_its_rate(
  config, tmp_path, monkeypatch, epochs
):
  config.freeze, config.freeze_epochs = 'backbone', epochs
  seen = []

  def make(experiment, tx, frozen):
    def update(state, batch, rate):
      seen.append((float(rate), jax.device_get(batch['index']).tolist()))
      return state, {'loss': rate}

    assert ('stages.0.0.pos.kernel' in frozen) == (not epochs)
    assert 'head.kernel' not in frozen
    return update

  monkeypatch.setattr(setup, 'make_train_step', make)
  monkeypatch.setattr(jax, 'transfer_guard', lambda _: contextlib.nullcontext())
  found = fj.lr_range(config, tmp_path, steps=10)
  with setup.training_batches(
    context.open_videos(config)['train'], config, start=0
  ) as batches:
    wanted = [next(batches)['index'].tolist() for _ in seen]
  assert [clips for _, clips in seen] == wanted
  np.testing.assert_allclose([rate for rate, _ in seen], found['rates'])
  assert found['stopped'] == 'risen' and len(seen) == 2


def test_weights_of_the_config_are_wanted(config, tmp_path):
  config.model.pretrained = 'no/such/weights'
  with pytest.raises((ValueError, OSError), match='no/such/weights'):
    fj.lr_range(config, tmp_path)


def test_wrong_numbers_are_refused(config, tmp_path, monkeypatch):
  with pytest.raises(ValueError, match='10 steps or more; got steps=9'):
    fj.lr_range(config, tmp_path, steps=9)
  config.batch_size = 9  # On eight devices.
  with pytest.raises(ValueError, match='batch_size'):
    fj.lr_range(config, tmp_path)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match='one process'):
    fj.lr_range(config, tmp_path)
