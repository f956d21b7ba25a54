# SPDX-License-Identifier: Apache-2.0
"""AdamW with the paper's schedule: linear warmup, then half a cosine."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import optax

Schedule = Callable[[jax.typing.ArrayLike], jax.Array]


def make(
  config: ml_collections.ConfigDict, steps_per_epoch: float
) -> tuple[optax.GradientTransformation, Schedule]:
  """The optimizer of a config, and its learning rate by step.

  AdamW (the paper's "momentum" is its beta1), decoupled weight decay, clipping
  by global norm where `config.clip_norm` is not 0.

  Args:
    config: the run's config.
    steps_per_epoch: need not be whole; durations are in epochs.
  """
  schedule = warmup_cosine(
    config.lr,
    warmup_steps=config.warmup_epochs * steps_per_epoch,
    total_steps=config.epochs * steps_per_epoch,
    start=config.lr_start,
    end=config.lr_end,
  )
  adamw = optax.adamw(
    schedule,
    b1=config.beta1,
    b2=config.beta2,
    eps=config.adam_eps,
    weight_decay=config.weight_decay,
    mask=decays,
  )
  if not config.clip_norm:
    return adamw, schedule
  clip = optax.clip_by_global_norm(config.clip_norm)
  return optax.chain(clip, adamw), schedule


def warmup_cosine(
  base: float,
  *,
  warmup_steps: float,
  total_steps: float,
  start: float = 1e-6,
  end: float = 1e-6,
) -> Schedule:
  """Learning rate by step: `start` to `base` linearly, then to `end`.

  The cosine is counted from the end of the warmup, as in UniFormer's released
  runs. Counted in fractions of an epoch, so warmups need not be whole steps.
  """
  if not 0 <= warmup_steps < total_steps:
    raise ValueError(
      f'The warmup ({warmup_steps:g} steps) has to end before the run does '
      f'({total_steps:g} steps): lower warmup_epochs or raise epochs.'
    )

  def schedule(step: jax.typing.ArrayLike) -> jax.Array:
    rising = start + (base - start) * step / (warmup_steps or 1)
    share = (step - warmup_steps) / (total_steps - warmup_steps)
    falling = end + (base - end) * 0.5 * (1 + jnp.cos(jnp.pi * share))
    return jnp.where(step < warmup_steps, rising, falling)

  return schedule


def decays(params: dict) -> dict:
  """Which parameters weight decay pulls on: all of two or more dimensions.

  Biases and norms stay free. Depthwise position kernels, class tokens and the
  position-bias MLP do decay, as in UniFormer's released runs. (A scalar per
  head such as SwinV2's logit_scale [heads 1 1] is three-dimensional: it does.)
  """
  return jax.tree.map(lambda value: jnp.ndim(value) > 1, params)
