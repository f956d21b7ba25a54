# SPDX-License-Identifier: Apache-2.0
"""Builds the parts of the loop: state, jitted step, batches, intervals."""

from collections.abc import Callable, Collection
import functools

import jax
import ml_collections
import optax

from flatten_jax.checkpoints import resume_check
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.inputs import image_video_mix, pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import freezing, optimizer, steps


def initial_state(
  experiment: Experiment, tx: optax.GradientTransformationExtraArgs
) -> TrainState:
  """Returns the state before the first step, divided over the devices."""
  create = functools.partial(
    TrainState.create, tx=tx, ema=experiment.config.ema
  )
  weights = initial_weights(experiment)
  places = experiment.shardings(jax.eval_shape(create, *weights))
  return jax.jit(create, out_shardings=places)(*weights)


def abstract_state(
  experiment: Experiment, tx: optax.GradientTransformationExtraArgs
) -> TrainState:
  """Returns the shapes and shardings of a state, to restore one into."""
  create = functools.partial(
    TrainState.create, tx=tx, ema=experiment.config.ema
  )
  shapes = jax.eval_shape(lambda: create(*experiment.random_weights()))
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    shapes,
    experiment.shardings(shapes),
  )


def restored_or_initial(
  checkpoints: Checkpoints,
  experiment: Experiment,
  tx: optax.GradientTransformationExtraArgs,
  info: RunInfo,
) -> TrainState:
  """Returns the state of the newest checkpoint, or that before the first step.

  Raises:
    ValueError: the checkpoint belongs to another experiment than `info`.
  """
  wanted = abstract_state(experiment, tx)
  state = checkpoints.restore_latest(
    wanted,
    lambda saved: resume_check.check_resumable(
      saved, info, checkpoints.workdir
    ),
  )
  if state is wanted:  # Nothing was restored.
    state = initial_state(experiment, tx)
  return state


def make_train_step(
  experiment: Experiment,
  tx: optax.GradientTransformationExtraArgs,
  frozen: Collection[str] = (),
) -> Callable[[TrainState, dict, jax.Array], tuple[TrainState, dict]]:
  """Jits `steps.train_step`; the state keeps its sharding and is donated.

  It takes a state, a batch and a learning rate, on the devices. Metrics are the
  same on every process. Parameters in `frozen` keep their values, and batch
  norms among them their statistics, see `freezing.names`.

  Raises:
    ValueError: gradients are clipped by groups, and the model has batch norm.
  """
  state = abstract_state(experiment, tx)
  if experiment.config.grad_clip_groups > 1 and state.batch_stats:
    raise ValueError(
      f'config.grad_clip_groups={experiment.config.grad_clip_groups} needs a '
      f'model without batch norm, which {experiment.config.model.name} has, '
      'since its statistics would be those of a group. Use 1.'
    )
  places = jax.tree.map(lambda x: x.sharding, state)
  experiment = freezing.with_frozen_norms(experiment, frozen)
  return experiment.jit(
    functools.partial(
      steps.train_step,
      graphdef=experiment.graphdef,
      tx=tx,
      config=experiment.config,
      num_classes=len(experiment.class_names),
      gather=experiment.gather,
      devices=experiment.mesh.shape['data'],
      frozen=frozen,
    ),
    in_shardings=(places, experiment.over_data, experiment.replicated),
    out_shardings=(places, experiment.replicated),
    donate_argnums=0,
  )


def without_moments(state: TrainState) -> TrainState:
  """Returns a state whose optimizer begins anew; the step stays.

  Adam corrects its moments for the steps since they were 0. Those of parameters
  that were frozen would count all steps, and moves would be 6 times as long.
  """
  places = jax.tree.map(lambda x: x.sharding, state)
  restart = jax.jit(
    lambda state: state.replace(
      opt_state=optimizer.without_moments(state.opt_state)
    ),
    out_shardings=places,
    donate_argnums=0,
  )
  return restart(state)


def mean_weights(state: TrainState, other: TrainState) -> TrainState:
  """Returns a state with the mean of the weights of two; the rest is its own.

  Running statistics of batch norms are averaged too, which are not those of the
  averaged weights.
  """
  keys = 'params', 'batch_stats', 'average'
  places = jax.tree.map(lambda x: x.sharding, state)

  def mean(state, other):
    both = ([getattr(s, key) for key in keys] for s in (state, other))
    means = jax.tree.map(lambda a, b: ((a + b) / 2).astype(a.dtype), *both)
    return state.replace(**dict(zip(keys, means, strict=True)))

  return jax.jit(mean, out_shardings=places, donate_argnums=0)(state, other)


def training_batches(
  train: Videos, config: ml_collections.ConfigDict, start: int
) -> pipeline.Batches:
  """Yields this process's share of the batches from `start` on."""
  make = (
    image_video_mix.train_batches if train.images else pipeline.train_batches
  )
  return make(
    train,
    config.data,
    seed=config.seed,
    batch_size=config.batch_size // jax.process_count(),
    start=start,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    workers=config.data.workers,
    threads=config.data.threads,
    mean=preprocess.mean_color(config),
  )


def count(train: Videos) -> int:
  """Returns the number of training videos and images."""
  return len(train) + (len(train.images) if train.images else 0)


def epoch_steps(train: Videos, config: ml_collections.ConfigDict) -> float:
  """Returns the steps of an epoch of videos, including those of images."""
  share = image_video_mix.image_share(config.data) if train.images else 0
  return len(train) / config.batch_size / float(1 - share)


def interval(epochs: float, steps_per_epoch: float) -> int:
  """Converts epochs to whole steps; 0 stays 0."""
  return max(1, round(epochs * steps_per_epoch)) if epochs else 0


def due(step: int, every: int) -> bool:
  """Returns True in every `every`-th step; never if it is 0."""
  return every > 0 and step % every == 0
