# SPDX-License-Identifier: Apache-2.0
"""`config.refit`: the epochs on all videos, after those with a validation."""

import json

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.evaluation import metrics
from flatten_jax.inputs import pipeline
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import loop, optimizer, phases, setup, trainer

BEST = 3  # Of the steps 3, 6 and 9.


@pytest.fixture
def refit_config(config, monkeypatch):
  """24 training and 12 validation videos, whose scores are known."""
  config.refit = 0.5

  def validate(model, *_):
    scores = dict.fromkeys((*metrics.TITLES, 'loss'), 0.0)
    scores |= {'views': '', 'videos': 1, 'scored': 0}
    return scores | {'top1': 50.0 * (model.step == BEST)}

  monkeypatch.setattr(trainer.evaluate, 'validate', validate)
  return config


def same(a, b):
  """Checks that two trees are equal to the bit."""
  a, b = jax.device_get((a, b))
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_it_trains_the_best_weights_on_all_videos(refit_config, tmp_path):
  """Each step is what the parts of the loop give, from that checkpoint on."""
  config = refit_config
  found = fj.train_and_evaluate(config, tmp_path)
  assert int(found.step) == 9 + 7  # 3 x 24 / 8, and 1.5 x 36 / 8 rounded.

  config = configs.resolve(configs.fill_and_check(config), splits_of(config))
  videos = phases.together(*(splits_of(config)[s] for s in ('train', 'val')))
  experiment = Experiment.create(config, videos.class_names)
  tx = optimizer.make(config)
  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.best_step() == BEST
    state = setup.abstract_state(experiment, tx)
    state = checkpoints.restore(state, BEST)
    assert checkpoints.info(16).epoch == pytest.approx(3 + 7 / 4.5)
    assert checkpoints.scores(16) is None
  state = setup.without_moments(state, 9)
  step = setup.make_train_step(experiment, tx)
  refit = phases.make(config, splits_of(config))[1]
  seen = set()
  with setup.training_batches(videos, config, start=9) as batches:
    for number in range(9, 16):
      batch = next(batches)
      seen |= set(batch['index'].tolist())
      rate = experiment.to_all_devices(refit.rate(number))
      state, _ = step(state, experiment.to_devices(batch), rate)
  same(found, state)
  assert seen == set(range(36))

  log = (tmp_path / 'log.txt').read_text()
  assert (
    'Refit: all 36 videos are trained on from now on, for 1.5 epochs, from '
    'the weights after epoch 1.0' in log
  )
  tested = json.loads((tmp_path / 'results.json').read_text())['test']
  assert tested['step'] == 16 and not any(
    'val split' in x for x in tested['warnings']
  )
  warned = fj.evaluate(None, tmp_path, split='val')['warnings']
  assert any('train on the val split too' in text for text in warned)


def splits_of(config):
  """Returns the splits that a run of the config opens."""
  return context.open_videos(config)


@pytest.mark.parametrize('number', [9, 12])
def test_it_resumes_to_the_bit(refit_config, tmp_path, monkeypatch, number):
  """Before its first step, and in its midst."""
  monkeypatch.setattr(loop.evaluate, 'evaluate_splits', lambda *_: {})
  config = refit_config
  config.save_every = 0.4
  whole = fj.train_and_evaluate(config, tmp_path / 'whole')
  original = setup.training_batches

  def training_batches(train, config, start):
    batches = original(train, config, start)

    class Interrupted(pipeline.Batches):
      """Ends before a batch of the refit."""

      def __next__(self):
        nonlocal start
        if start == number:
          raise KeyboardInterrupt
        start += 1
        return super().__next__()

    return Interrupted(batches)

  with monkeypatch.context() as patch:
    patch.setattr(setup, 'training_batches', training_batches)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path / 'resumed')
  resumed = fj.train_and_evaluate(config, tmp_path / 'resumed')
  same(resumed, whole)
  log = (tmp_path / 'resumed' / 'log.txt').read_text()
  assert f'Resuming after step {9 if number == 9 else 10}' in log
  assert log.count('from the weights after epoch 1.0') == 1 + (number == 9)


def test_its_schedule_is_the_first_one_shortened(config):
  config.refit = 0.5
  splits = splits_of(config)
  first, refit = phases.make(config, splits)
  assert (first.begin, first.end, refit.begin, refit.end) == (0, 9, 9, 16)
  assert (first.epoch(9), refit.epoch(9)) == (3.0, 3.0)
  for step, same_step in ((9, 0), (16, 9)):  # The first, and the end.
    assert refit.rate(step) == pytest.approx(first.rate(same_step), rel=0.1)
  assert max(map(refit.rate, range(9, 16))) == pytest.approx(1e-3, rel=0.1)
  assert phases.at((first, refit), 9) is first
  assert phases.at((first, refit), 10) is refit
  config.refit = 0.0
  assert len(phases.make(config, splits)) == 1
