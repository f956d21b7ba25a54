# SPDX-License-Identifier: Apache-2.0
"""AdamW with the paper's schedule: linear warmup, then half a cosine."""

import jax
import jax.numpy as jnp
import ml_collections
import optax


def make(
  config: ml_collections.ConfigDict, steps_per_epoch: float
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """Returns the optimizer of a config and its learning rate schedule.

  AdamW (the paper's "momentum" is its beta1) with decoupled weight decay,
  clipping by global norm if `config.grad_clip_norm` is not 0, and layer-wise
  learning rates if `config.layer_decay` is not 1.

  Args:
    config: config of the run.
    steps_per_epoch: need not be whole; durations are in epochs.

  Raises:
    ValueError: the warmup is as long as the run.
  """
  schedule = warmup_cosine(config, steps_per_epoch)
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
  config: ml_collections.ConfigDict, steps_per_epoch: float
) -> optax.Schedule:
  """Returns the learning rate by step: a linear warmup, then half a cosine.

  The cosine starts at the end of the warmup, as in UniFormer's released runs.
  """
  # Optax takes fractions of a step too.
  warmup_steps = config.warmup_epochs * steps_per_epoch
  total_steps = config.epochs * steps_per_epoch
  if not 0 <= warmup_steps < total_steps:
    raise ValueError(
      f'The warmup ({warmup_steps:g} steps) must be shorter than the run '
      f'({total_steps:g} steps): lower warmup_epochs or raise epochs.'
    )
  return optax.warmup_cosine_decay_schedule(
    config.warmup_lr, config.lr, warmup_steps, total_steps, config.min_lr
  )


def decays(params: dict) -> dict:
  """Marks parameters with weight decay: those of two or more dimensions.

  Biases and norms do not decay. Depthwise position kernels, class tokens and
  the position-bias MLP do, as in UniFormer's released runs, and so does
  SwinV2's logit_scale [heads 1 1].
  """
  return jax.tree.map(lambda value: jnp.ndim(value) > 1, params)


def scale_by_layer(decay: float) -> optax.GradientTransformation:
  """Multiplies updates by `decay` ** (number of layers up to the head).

  After AdamW this scales both the learning rate and weight decay of each layer
  (Clark et al., 2020, for ELECTRA; Bao et al., 2022, for images).
  """

  def update(updates: dict, params: dict | None = None) -> dict:
    layers = layer_numbers(updates)
    last = max(jax.tree.leaves(layers))
    return jax.tree.map(lambda x, i: x * decay ** (last - i), updates, layers)

  return optax.stateless(update)


def layer_numbers(params: dict) -> dict:
  """Returns the depth of each parameter, in the tree of `params`.

  The stem is 0 and each block counts one. The embedding of a stage belongs to
  its first block. The head and the norm before it come last.

  Raises:
    ValueError: a parameter has no known depth, as in models of other packages.
  """
  if 'stages' not in params:
    raise ValueError(
      'layer_decay counts the blocks of `stages`, but this model has '
      f'{sorted(params)}. Use layer_decay=1.'
    )
  stages = params['stages']
  depths = [len(stages[i]) for i in sorted(stages, key=int)]
  first = [1 + sum(depths[:i]) for i in range(len(depths))]
  last = 1 + sum(depths)
  # ResNet's only norm outside its blocks belongs to the stem.
  places = {
    'conv': 0,
    'norm': last if 'embeds' in params else 0,
    'norm_cls': last,
    'head': last,
    'head_cls': last,
    # Joins at the third stage, or before the only one.
    'cls_token': first[2] if first[2:] else 0,
    'pos_embed': 0,
    'time_embed': 0,
    'cls_upsample': first[-1],
    'motion': first[2] if first[2:] else 0,  # MotionSqueeze's.
    'fc6': last,
    'fc7': last,
    'cls_s': 0,  # VidTr's.
    'cls_t': 0,
    # VTN's, before its temporal encoder and after it.
    **dict.fromkeys(('frame_embed', 'type_embed', 'embed_norm'), first[-1]),
    'neck': last,
    'neck_norm': last,
  }

  def number(path, _):
    name, *rest = (getattr(entry, 'key', entry) for entry in path)
    if name == 'stages':
      return first[int(rest[0])] + int(rest[1])
    # What precedes a stage; video transformers have tokens and tables there.
    if name in ('embeds', 'fusions', 'cls_tokens', 'pos_embeds'):
      return first[int(rest[0])] if int(rest[0]) else 0
    if name == 'norms':  # Of the last stage, and what leads to the next.
      return [*first[1:], last][int(rest[0])]
    if name in places:
      return places[name]
    raise ValueError(
      f'layer_decay does not know the depth of {jax.tree_util.keystr(path)}; '
      'add it to optimizer.layer_numbers.'
    )

  return jax.tree_util.tree_map_with_path(number, params)
