# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules of the published recipes, from optax's parts.

  cosine             a linear warmup, then half a cosine in every step
                     (UniFormer; ViViT's Scenic, from a warmup_lr of 0 to 0)
  cosine_by_epoch    half a cosine from the start, in steps of an epoch (Video
                     Swin's mmcv)
  cosine_from_start  half a cosine from the start, in every step; a linear
                     warmup from warmup_lr meets it (PySlowFast)
  steps              a factor at some epochs (TimeSformer, VTN, VidTr)

A warmup multiplies cosine_by_epoch and steps by a line from warmup_lr / lr to
1, as mmcv's does.
"""

from collections.abc import Callable, Sequence
import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from flatten_jax.runtime.devices import sharding

_BLOCK = 256  # Steps; a few milliseconds.
# Keys in epochs.
_DURATIONS = (
  *('epochs', 'warmup_epochs', 'eval_every', 'save_every'),
  *('freeze_epochs', 'patience'),
)


def make(
  config: ml_collections.ConfigDict, steps_per_epoch: float
) -> optax.Schedule:
  """Returns the learning rate by step, counted from 0.

  Args:
    config: config of the run.
    steps_per_epoch: need not be whole; durations are in epochs.

  Raises:
    ValueError: the warmup is as long as the run.
  """
  # Optax takes fractions of a step too.
  warmup_steps = config.warmup_epochs * steps_per_epoch
  total_steps = config.epochs * steps_per_epoch
  if not 0 <= warmup_steps < total_steps:
    raise ValueError(
      f'The warmup ({warmup_steps:g} steps) must be shorter than the run '
      f'({total_steps:g} steps): lower warmup_epochs or raise epochs.'
    )
  if config.schedule == 'cosine':
    return optax.warmup_cosine_decay_schedule(
      config.warmup_lr, config.lr, warmup_steps, total_steps, config.min_lr
    )
  if config.schedule == 'cosine_from_start':
    lowest = config.min_lr / config.lr if config.lr else 0.0
    cosine = optax.cosine_decay_schedule(config.lr, total_steps, alpha=lowest)
    warmup = optax.linear_schedule(
      config.warmup_lr, float(cosine(warmup_steps)), warmup_steps
    )
    return lambda step: jnp.where(
      step < warmup_steps, warmup(step), cosine(step)
    )
  epochs = range(1, math.ceil(config.epochs))
  rates = [half_cosine(config, epoch) for epoch in (0, *epochs)]
  if config.schedule == 'steps':
    epochs = config.lr_steps
    rates = [
      config.lr * config.lr_step_factor**i for i in range(len(epochs) + 1)
    ]
  schedule = by_epoch(epochs, rates, steps_per_epoch)
  if not (warmup_steps and config.lr):
    return schedule
  warmup = optax.linear_schedule(config.warmup_lr / config.lr, 1, warmup_steps)
  return lambda step: warmup(step) * schedule(step)


def scaled(
  config: ml_collections.ConfigDict, factor: float
) -> ml_collections.ConfigDict:
  """Returns a config whose durations are `factor` times as long."""
  config = config.copy_and_resolve_references()
  for key in _DURATIONS:
    if config[key] > 0:  # 0 and -1 have meanings.
      config[key] = float(f'{config[key] * factor:.4g}')
  config.lr_steps = tuple(step * factor for step in config.lr_steps)
  return config


def on_host(schedule: optax.Schedule) -> Callable[[int], float]:
  """Returns a function from a step to its rate.

  Compiled, the rates are to the bit what they are within a larger program for
  the same processor; operation by operation, other bits are rounded. They are
  computed a block at a time: where the model is on the CPU as well, a rate
  waits for the step that is computed there.
  """
  compiled = jax.jit(schedule)

  @functools.lru_cache(maxsize=2)
  def rates(block: int) -> list[float]:
    steps = range(block * _BLOCK, (block + 1) * _BLOCK)
    with sharding.in_host_memory(), jax.transfer_guard('allow'):
      return [float(compiled(np.int32(step))) for step in steps]

  return lambda step: rates(step // _BLOCK)[step % _BLOCK]


def half_cosine(config: ml_collections.ConfigDict, epoch: int) -> float:
  """Returns the rate of an epoch between `lr` and `min_lr`."""
  share = (1 + math.cos(math.pi * epoch / config.epochs)) / 2
  return config.min_lr + (config.lr - config.min_lr) * share


def by_epoch(
  epochs: Sequence[float], rates: Sequence[float], steps_per_epoch: float
) -> optax.Schedule:
  """Returns rates[i] from the first step at or after epochs[i - 1].

  Args:
    epochs: where a rate ends and the next begins.
    rates: one more.
    steps_per_epoch: steps of an epoch.
  """
  # 3 epochs of 7 / 3 steps may be a rounding error more than 7 steps.
  starts = [math.ceil(epoch * steps_per_epoch - 1e-6) for epoch in epochs]
  return optax.join_schedules(
    [optax.constant_schedule(rate) for rate in rates], starts
  )
