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
  by global norm if `config.grad_clip_norm` is not 0, smaller steps for earlier
  layers where `config.layer_decay` is not 1.

  Args:
    config: the run's config.
    steps_per_epoch: need not be whole; durations are in epochs.
  """
  schedule = warmup_cosine(
    config.lr,
    warmup_steps=config.warmup_epochs * steps_per_epoch,
    total_steps=config.epochs * steps_per_epoch,
    start=config.warmup_lr,
    end=config.min_lr,
  )
  adamw = optax.adamw(
    schedule,
    b1=config.beta1,
    b2=config.beta2,
    eps=config.adam_eps,
    weight_decay=config.weight_decay,
    mask=decays,
  )
  parts = [adamw]
  if config.grad_clip_norm:
    parts.insert(0, optax.clip_by_global_norm(config.grad_clip_norm))
  if config.layer_decay != 1:
    parts.append(scale_by_layer(config.layer_decay))
  return (optax.chain(*parts) if parts[1:] else adamw), schedule


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


def scale_by_layer(decay: float) -> optax.GradientTransformation:
  """Multiplies updates by `decay` ** (layers from here to the head).

  After AdamW this scales the learning rate and, with it, weight decay, layer by
  layer (Clark et al., 2020, for ELECTRA; Bao et al., 2022, for images).
  """

  def update(updates: dict, params: dict | None = None) -> dict:
    layers = layer_numbers(updates)
    last = max(jax.tree.leaves(layers))
    return jax.tree.map(lambda x, i: x * decay ** (last - i), updates, layers)

  return optax.stateless(update)


def layer_numbers(params: dict) -> dict:
  """The depth of each parameter in its network, in the tree of `params`.

  0 is the stem; each block counts one; what opens a stage goes with the stage's
  first block; the head and the norm before it are last.

  Raises:
    ValueError: a parameter that is in none of these places, or a model of other
      origin, which has other places.
  """
  if 'stages' not in params:
    raise ValueError(
      'layer_decay counts the blocks of `stages`, which this model does not '
      f'have: {sorted(params)}. Leave it at 1.'
    )
  stages = params['stages']
  depths = [len(stages[i]) for i in sorted(stages, key=int)]
  first = [1 + sum(depths[:i]) for i in range(len(depths))]
  last = 1 + sum(depths)
  # ResNet's only norm outside its blocks is that of the stem.
  places = {
    'conv': 0,
    'norm': last if 'embeds' in params else 0,
    'norm_cls': last,
    'head': last,
    'head_cls': last,
    'cls_token': first[min(2, len(first) - 1)],  # Joins at the third stage.
    'cls_upsample': first[-1],
  }

  def number(path, _):
    name, *rest = (getattr(entry, 'key', entry) for entry in path)
    if name == 'stages':
      return first[int(rest[0])] + int(rest[1])
    if name == 'embeds':
      return first[int(rest[0])] if int(rest[0]) else 0
    if name in places:
      return places[name]
    raise ValueError(
      f'layer_decay does not know how deep {jax.tree_util.keystr(path)} lies; '
      'give it a place in optim.layer_numbers.'
    )

  return jax.tree_util.tree_map_with_path(number, params)
