# SPDX-License-Identifier: Apache-2.0
"""Statistics of batch norms over many training batches, for evaluation.

Running averages lag behind the weights; these are of the weights that are
evaluated (Wu & Johnson, "Rethinking 'Batch' in BatchNorm", 2021).
"""

from collections.abc import Callable
import itertools
import logging
import math
import time

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.models.layers import random_streams
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState, batch_stats_of
from flatten_jax.training import setup, steps

BATCHES = 100  # For averaged weights, unless the config has a number.

log = logging.getLogger('flatten_jax')


def make(
  experiment: Experiment, train: Videos, steps_per_epoch: float, batches: int
) -> Callable[[TrainState, int], TrainState]:
  """Returns a function that measures the statistics of a state after a step.

  They are plain means over some batches of their means and unbiased variances,
  as in fvcore's `update_bn_stats` of SlowFast's time; a norm that is used twice
  counts with its second use, and a frozen one keeps its own. The batches are
  those that follow in training, not mixed, and divided as for the gradients.
  They replace the running averages that are evaluated, `TrainState.weights`.

  Args:
    experiment: of the run.
    train: videos of the batches.
    steps_per_epoch: the most batches.
    batches: how many.
  """
  config = experiment.config
  count = min(batches, math.ceil(steps_per_epoch))
  add = experiment.jit(_adder(experiment))

  def measure(state: TrainState, step: int) -> TrainState:
    start = time.monotonic()
    params, batch_stats = state.weights
    means = jax.tree.map(jnp.zeros_like, batch_stats)
    with setup.training_batches(train, config, start=step) as batches:
      for i, batch in enumerate(itertools.islice(batches, count)):
        before, on_devices = means, experiment.to_devices(batch)
        means = add(params, batch_stats, means, on_devices, step, i)
        jax.block_until_ready(before)  # One batch is ahead.
    jax.block_until_ready(means)
    log.info(
      'Statistics of batch norms over %d training batches: %.1f s',
      count,
      time.monotonic() - start,
    )
    if state.average:
      average = state.average | {'batch_stats': means}
      return state.replace(average=average)
    return state.replace(batch_stats=means)

  return measure


def _adder(experiment: Experiment) -> Callable[..., dict]:
  """Returns a function that adds batch i to the means of those before it."""
  config, parts = experiment.config, experiment.config.grad_accum_steps

  def add(params, batch_stats, means, batch, step, i):
    keys = steps.random_keys(config.seed, step + i)
    clips = preprocess.training_clips(batch['clip'], config, keys['order'])
    images = preprocess.flatten_clips(clips, config, keys['order'])
    inputs = preprocess.to_inputs(images, batch, config)
    params = experiment.gather(params)

    def add_part(carry, part):
      means, number = carry
      inputs, rng = part
      model = nnx.merge(experiment.graphdef, params, batch_stats, copy=True)
      batch_norm.measure_batch(model)
      rngs = random_streams.make(dropout=rng)
      preprocess.call(model, inputs, train=True, rngs=rngs)
      # In this form the mean of a constant is that constant, to the bit.
      means = jax.tree.map(
        lambda mean, new: mean + (new - mean) / number,
        means,
        batch_stats_of(model),
      )
      return (means, number + 1), None

    pieces = (
      steps.divided(inputs, parts),
      jax.random.split(keys['drop'], parts),
    )
    means, _ = jax.lax.scan(add_part, (means, parts * i + 1), pieces)[0]
    return jax.lax.with_sharding_constraint(means, experiment.shardings(means))

  return add
