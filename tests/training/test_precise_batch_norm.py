# SPDX-License-Identifier: Apache-2.0
"""Statistics of batch norms over training batches, before evaluation."""

import itertools
import shutil

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints import load
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import batch_stats_of
from flatten_jax.training import optimizer, precise_batch_norm, setup

STEP = 2  # After which statistics are measured.


def same(a, b):
  """Checks that two trees are equal to the bit."""
  jax.tree.map(np.testing.assert_array_equal, *jax.device_get([a, b]))


def measured_by_hand(run, state, batches):
  """Returns the plain means of the statistics of every part of a batch."""
  config, found = run.config, []
  for batch in batches:
    clips = preprocess.normalize(batch['clip'], config)
    images = preprocess.flatten_clips(clips, config)
    for i in range(config.grad_accum_steps):
      model = nnx.merge(run.graphdef, state.params, state.batch_stats)
      batch_norm.measure_batch(model)
      part = images[i :: config.grad_accum_steps]
      model(part, train=True, rngs=nnx.Rngs(0))
      found.append(batch_stats_of(model))
  return jax.tree.map(lambda *x: np.mean(x, axis=0), *found)


@pytest.mark.parametrize(
  'changes',
  [
    {'ema': 0.9, 'batch_norm_frozen': 'all_but_first'},
    {'grad_accum_steps': 2, 'batch_norm': 'per_device', 'batch_norm_groups': 2},
  ],
  ids=['averaged and frozen', 'in parts and groups'],
)
def test_they_are_means_of_those_of_the_batches_that_follow(config, changes):
  """The weights are those that are evaluated; clips are not mixed."""
  config.update({'precise_batch_norm': 2, 'batch_norm_groups': 1} | changes)
  config.model.drop_path_rate = 0.0
  videos = dataset.open_splits(config.data)['train']
  run = Experiment.create(config, videos.class_names)
  tx = optimizer.make(config)
  before = setup.initial_state(run, tx)
  after = precise_batch_norm.make(run, videos, 3, config.precise_batch_norm)(
    before, STEP
  )
  with setup.training_batches(videos, config, start=STEP) as batches:
    wanted = measured_by_hand(run, before, itertools.islice(batches, 2))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    after.weights[1],
    wanted,
  )
  moves = jax.tree.map(
    lambda a, b: bool((a != b).any()), after.weights[1], before.weights[1]
  )
  norms = 1 if changes.get('batch_norm_frozen') else 3
  assert sum(jax.tree.leaves(moves)) == 2 * norms
  if config.ema:  # Those of training stay.
    assert after.batch_stats is before.batch_stats


def test_a_run_tests_what_its_checkpoint_contains_and_resumes_to_the_bit(
  config, tmp_path
):
  """An epoch has three batches; more are not used."""
  whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
  config.precise_batch_norm = 5
  config.epochs, config.warmup_epochs = 1.0, 0.0
  config.save_every = 0.4  # Every step.
  state = fj.train_and_evaluate(config, whole)
  text = (whole / 'log.txt').read_text()
  assert text.count('Statistics of batch norms over 3 training batches') == 3
  assert 'evaluated over 5 batches' in text
  loaded = load.load_model(whole)
  weights = (loaded.params, loaded.batch_stats), state.weights
  same(*map(jax.tree.leaves, weights))
  shutil.copytree(whole, resumed)
  shutil.rmtree(resumed / 'checkpoints' / '3')
  same(fj.train_and_evaluate(config, resumed), state)
  assert 'Resuming after step 2' in (resumed / 'log.txt').read_text()
  config.precise_batch_norm = 4
  with pytest.raises(ValueError, match='precise_batch_norm: was 5, is 4'):
    fj.train_and_evaluate(config, whole)
