# SPDX-License-Identifier: Apache-2.0
"""Runs of other lengths, on other numbers of videos, share their programs."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_model
from flatten_jax.evaluation import evaluate
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs.sources import dataset
from flatten_jax.training import loop, schedules, setup, trainer
from tests.support import small_run


@pytest.fixture
def lowered(monkeypatch):
  """Trains with steps that are lowered but not run: texts, and their rates."""
  texts, rates = [], []
  original = setup.make_train_step

  def make_train_step(*args, **options):
    step = original(*args, **options)
    first = []

    def lower(state, batch, learning_rate):
      if not first:
        text = step.lower(state, batch, learning_rate).as_text()
        first.append(text)
        texts.append(text)
      rates.append(learning_rate)
      with jax.transfer_guard('allow'):
        metrics = dict.fromkeys(('loss', 'accuracy', 'grad_norm'), state.step)
        return state.replace(step=state.step + 1), metrics

    return lower

  monkeypatch.setattr(setup, 'make_train_step', make_train_step)
  scores = dict.fromkeys((*trainer.metrics.TITLES, 'loss'), 0.0)
  scores |= {'views': '', 'videos': 1, 'scored': 0}
  monkeypatch.setattr(loop.evaluate, 'validate', lambda *_: scores)
  monkeypatch.setattr(loop.evaluate, 'evaluate_splits', lambda *_: {})
  return texts, rates


def test_a_step_is_the_same_for_other_epochs_rates_and_videos(
  config, tmp_path, lowered
):
  """Only the rates that it is given differ, and they are logged."""
  texts, rates = lowered
  config.log_every, config.eval_every, config.save_every = 1, 0.0, 0.0
  config.epochs, config.freeze_epochs = 1.0, 0.7
  config.warmup_epochs, config.lr, config.min_lr = 0.3, 2e-3, 1e-5
  fj.train_and_evaluate(config, tmp_path / 'first')
  fewer = tmp_path / 'clips'
  shutil.copytree(config.data.root, fewer)
  for folder in (fewer / 'train').iterdir():
    next(folder.glob('*.mp4')).unlink()
  config.data.root, config.epochs, config.freeze_epochs = str(fewer), 4.0, 1.0
  config.schedule, config.lr_steps, config.lr = 'steps', (2.0, 3.0), 1e-2
  fj.train_and_evaluate(config, tmp_path / 'second')
  assert len(texts) == 4 and texts[0] != texts[1]
  assert texts[2:] == texts[:2]  # The head alone, then everything.
  assert len(rates) == 3 + 6
  rate = schedules.on_host(schedules.make(config, 12 / 8))
  np.testing.assert_array_equal(rates[3:], [rate(step) for step in range(6)])
  lines = (tmp_path / 'second' / 'metrics.jsonl').read_text().splitlines()
  logged = [line['lr'] for line in map(json.loads, lines) if 'lr' in line]
  np.testing.assert_array_equal(np.float32(logged), rates[3:])


def test_an_evaluation_of_another_number_of_videos_compiles_nothing(tmp_path):
  """Also with a last batch that is not full."""
  workdir = small_run.make(tmp_path)
  model = load_model(workdir)
  splits = dataset.open_splits(model.config.data)
  failed = FailedVideos(workdir)
  for count in (12, 7):
    videos = splits['test']
    videos = dataclasses.replace(videos, records=videos.records[:count])
    found = evaluate.predict(model, videos, model.views, failed)
    assert len(found.logits) == count and found.scored.all()
  assert model.experiment.eval_step._cache_size() == 1
