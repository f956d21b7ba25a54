# SPDX-License-Identifier: Apache-2.0
"""`config.refit`: more training, on all videos, after what is validated."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints import load
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.evaluation import metrics
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources import prepared
from flatten_jax.publishing import model_card
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import (
  config as configs,
  recipe_rules,
  recipes,
)
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import (
  loop,
  optimizer,
  phases,
  precise_batch_norm,
  setup,
  trainer,
)


@pytest.fixture
def refit_config(config, monkeypatch):
  """24 training and 12 validation videos; the validation takes no time."""
  config.refit = True

  def validate(model, *_):
    scores = dict.fromkeys((*metrics.TITLES, 'loss'), 0.0)
    scores |= {'views': '', 'videos': 1, 'scored': 0}
    return scores | {'top1': 100.0 / model.step, 'top5': float(model.step)}

  monkeypatch.setattr(trainer.evaluate, 'validate', validate)
  return config


def interrupt(patch, number):
  """Ends a training before the batch of that number."""
  original = setup.training_batches

  def training_batches(train, config, start):
    batches = original(train, config, start)

    class Interrupted(pipeline.Batches):
      def __next__(self):
        nonlocal start
        if start == number:
          raise KeyboardInterrupt
        start += 1
        return super().__next__()

    return Interrupted(batches)

  patch.setattr(setup, 'training_batches', training_batches)


def same(a, b):
  """Checks that two trees are equal to the bit."""
  a, b = jax.device_get((a, b))
  jax.tree.map(np.testing.assert_array_equal, a, b)


def splits_of(config):
  """Returns the splits that a run of the config opens."""
  return context.open_videos(config)


def test_it_trains_the_best_weights_on_all_videos(refit_config, tmp_path):
  """Each step is what the parts of the loop give, and so is the mean."""
  config = refit_config
  found = fj.train_and_evaluate(config, tmp_path)
  assert int(found.step) == 9 + 7  # 3 x 24 / 8, and 1.5 x 36 / 8 rounded.

  config = configs.resolve(configs.fill_and_check(config), splits_of(config))
  refit = phases.make(config, splits_of(config))[1]
  experiment = Experiment.create(config, refit.train.class_names)
  tx = optimizer.make(config)
  with Checkpoints(tmp_path, create=False) as checkpoints:
    best = checkpoints.restore(setup.abstract_state(experiment, tx), 3)
  step = sharding.put(np.int32(9), best.step.sharding)
  state = setup.without_moments(jax.tree.map(jnp.copy, best))
  state = state.replace(step=step)
  train_step = setup.make_train_step(experiment, tx)
  seen = set()
  with setup.training_batches(refit.train, config, start=9) as batches:
    for number in range(9, 16):
      batch = next(batches)
      seen |= set(batch['index'].tolist())
      rate = experiment.to_all_devices(refit.rate(number))
      state, _ = train_step(state, experiment.to_devices(batch), rate)
  assert seen == set(range(36))
  weights = [(s.params, s.batch_stats) for s in (state, best)]
  params, stats = jax.tree.map(lambda a, b: (a + b) / 2, *weights)
  measure = precise_batch_norm.make(experiment, refit.train, 4.5, 100)
  same(found, measure(state.replace(params=params, batch_stats=stats), 16))

  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.best_step() == 3
    assert checkpoints.info(16).epoch == pytest.approx(7 / 4.5)
    assert checkpoints.scores(16) is None
  log = (tmp_path / 'log.txt').read_text()
  assert 'Refit: all 36 videos are trained on from now on' in log
  assert 'from the weights after epoch 1.0' in log
  tested = json.loads((tmp_path / 'results.json').read_text())['test']
  assert tested['step'] == 16
  assert not any('val split' in text for text in tested['warnings'])
  best = load.load_config(tmp_path)
  best.test_checkpoint = 'best'
  assert fj.evaluate(best, tmp_path)['step'] == 3


def test_only_what_the_refit_made_is_said_to_know_the_val_split(
  refit_config, tmp_path, monkeypatch
):
  config = refit_config
  config.save_every = 0.4
  with monkeypatch.context() as patch:
    interrupt(patch, 12)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path)
  best, val = load.load_config(tmp_path), tmp_path / 'val.csv'
  best.test_checkpoint = 'best'
  splits, lines = splits_of(config), ['path,label,split']
  for split, name in (('train', 'train'), ('val', 'test')):
    paths = [pathlib.Path(record.path) for record in splits[split].records]
    lines += [f'{path},{path.parent.name},{name}' for path in paths]
  val.write_text('\n'.join(lines))
  for asked, known in ((None, 12), (best, 0)):
    found = fj.evaluate(asked, tmp_path, split='val')
    warned = any('trained on the val split too' in t for t in found['warnings'])
    assert warned == bool(known)
    other = asked or load.load_config(tmp_path)
    other.data.root, other.data.motion_clips = str(val), 0
    before = len((tmp_path / 'log.txt').read_text())
    fj.evaluate(other, tmp_path, split='test')
    text = (tmp_path / 'log.txt').read_text()[before:]
    assert ('trained on 12 of these 12 videos' in text) == bool(known)
    model = load.load_model(tmp_path, asked)
    card = model_card.text(model, tmp_path)
    assert ('of a training on the validation videos too' in card) == bool(known)


def test_videos_without_labels_are_not_trained_on(config):
  splits = splits_of(config)
  records = [
    dataclasses.replace(record, label=-1) if i % 3 else record
    for i, record in enumerate(splits['val'].records)
  ]
  missing = prepared.MissingVideo('/set', 'x', 'missing')
  records[0] = dataclasses.replace(records[0], path=missing)
  splits['val'] = dataclasses.replace(splits['val'], records=tuple(records))
  config.refit = True
  _, refit = phases.make(config, splits)
  assert len(refit.train) == 24 + 3
  assert min(record.label for record in refit.train.records) >= 0
  assert recipes.facts_of(config, splits).val == 3


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_split_without_labels_makes_a_refit_meaningless(config, split):
  splits = splits_of(config)
  records = [dataclasses.replace(r, label=-1) for r in splits[split].records]
  splits[split] = dataclasses.replace(splits[split], records=tuple(records))
  config.refit = True
  with pytest.raises(ValueError, match=f'has no {split} split with labels'):
    recipe_rules.check_validation(config, splits)
  assert getattr(recipes.facts_of(config, splits), split) == 0


@pytest.mark.parametrize('damaged', [True, False])
def test_it_ends_with_the_checkpoint_that_it_began_with(
  refit_config, tmp_path, monkeypatch, damaged
):
  config = refit_config
  config.save_every, config.keep_last = 0.4, 9
  with monkeypatch.context() as patch:
    interrupt(patch, 12)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path)
  if damaged:
    folder = tmp_path / 'checkpoints' / '3'
    largest = max(folder.rglob('*'), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    expected = pytest.raises(OSError, match=r'best checkpoint .* is damaged')
  else:
    config.save_best_by = 'top5'
    expected = pytest.raises(ValueError, match=r'refit began with .* step 3:')
  with expected:
    fj.train_and_evaluate(config, tmp_path)
  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.steps()[-1] == 10


@pytest.mark.parametrize('number', [9, 12])
def test_it_resumes_to_the_bit(refit_config, tmp_path, monkeypatch, number):
  """Before its first step, and in its midst."""
  monkeypatch.setattr(loop.evaluate, 'evaluate_splits', lambda *_: {})
  config = refit_config
  config.save_every = 0.4
  whole = fj.train_and_evaluate(config, tmp_path / 'whole')
  with monkeypatch.context() as patch:
    interrupt(patch, number)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path / 'resumed')
  resumed = fj.train_and_evaluate(config, tmp_path / 'resumed')
  same(resumed, whole)
  log = (tmp_path / 'resumed' / 'log.txt').read_text()
  assert f'Resuming after step {9 if number == 9 else 10}' in log
  assert log.count('Refit: all') == 1 + (number == 9)


def test_it_has_a_schedule_of_its_own(config):
  splits = splits_of(config)
  (alone,) = phases.make(config, splits)
  config.refit = True
  first, refit = phases.make(config, splits)
  assert (first.begin, first.end, refit.begin, refit.end) == (0, 9, 9, 16)
  assert (first.epoch(9), refit.epoch(9)) == (3.0, 0.0)
  assert [first.rate(i) for i in range(9)] == [alone.rate(i) for i in range(9)]
  rates = [refit.rate(step) for step in range(9, 16)]
  assert rates[0] == pytest.approx(config.warmup_lr, rel=1e-4)
  assert max(rates) == pytest.approx(config.lr, rel=0.1)
  assert rates[-1] < config.lr / 5
  assert phases.at((first, refit), 9) is first
  assert phases.at((first, refit), 10) is refit


def test_what_is_frozen_for_all_of_a_run_stays_so(config):
  """A frozen start is over by then, and comes no second time."""
  config.refit, config.freeze_epochs = True, 1.0
  first, refit = phases.make(config, splits_of(config))
  assert (first.frozen_end, refit.frozen_end) == (3, 9)
  config.freeze, config.freeze_epochs = 'backbone', 0.0
  first, refit = phases.make(config, splits_of(config))
  assert (first.frozen_end, refit.frozen_end) == (9, 16)
