# SPDX-License-Identifier: Apache-2.0
"""Optimizers of the recipes: AdamW or SGD, by groups of parameters.

Everything is a chain of optax's parts, in the order in which they act.
"""

from collections.abc import Callable
import operator

import jax
import jax.numpy as jnp
import ml_collections
import optax

from flatten_jax.text import did_you_mean


def make(
  config: ml_collections.ConfigDict,
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimizer of a config, without its learning rate.

  Clips by global norm if `config.grad_clip_norm` is not 0, unless the step
  clips the gradients of each group; then AdamW or SGD; then the factors of
  layers and groups of parameters, which also scale weight decay. `update` needs
  `learning_rate`, see `scale_by_given_rate`.
  """
  rule = {'adamw': adamw, 'sgd': sgd}[config.optimizer](config)
  parts = [rule]
  if config.grad_clip_norm and config.grad_clip_groups == 1:
    parts.insert(0, optax.clip_by_global_norm(config.grad_clip_norm))
  if config.layer_decay != 1:
    parts.append(scale(lambda params: layer_factors(params, config)))
  if config.param_groups:
    parts.append(scale(lambda params: group_factors(params, config, 1)))
  return optax.chain(*parts) if parts[1:] else rule


def adamw(
  config: ml_collections.ConfigDict,
) -> optax.GradientTransformationExtraArgs:
  """Returns AdamW: Adam, decoupled weight decay (Loshchilov and Hutter, 2019).

  The paper's "momentum" is its beta1.
  """
  return optax.chain(
    optax.scale_by_adam(config.beta1, config.beta2, config.adam_eps),
    *weight_decay(config),
    scale_by_given_rate(),
  )


def sgd(
  config: ml_collections.ConfigDict,
) -> optax.GradientTransformationExtraArgs:
  """Returns SGD with PyTorch's order: decay, momentum, learning rate.

  Weight decay belongs to the gradient, so momentum carries it on. The learning
  rate multiplies what momentum has summed (Sutskever et al., 2013, have it
  inside the sum).
  """
  return optax.chain(
    *weight_decay(config),
    optax.trace(config.momentum, config.nesterov),
    scale_by_given_rate(),
  )


def scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by minus the `learning_rate` that `update` is given.

  As an argument, so that a program that was compiled for one schedule serves
  all others. The state is that of `optax.scale_by_schedule`, as in checkpoints
  of earlier versions.
  """

  def init(params):
    del params
    return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

  def update(updates, state, params=None, *, learning_rate, **_):
    del params
    updates = jax.tree.map(
      lambda x: jnp.array(-learning_rate, dtype=x.dtype) * x, updates
    )
    count = optax.safe_increment(state.count)
    return updates, optax.ScaleByScheduleState(count)

  return optax.GradientTransformationExtraArgs(init, update)


def without_moments(opt_state: optax.OptState) -> optax.OptState:
  """Returns the state of an optimizer with moments as at its start.

  The number of its steps stays.
  """
  kinds = optax.ScaleByAdamState, optax.TraceState
  return jax.tree.map(
    lambda part: (
      jax.tree.map(jnp.zeros_like, part) if isinstance(part, kinds) else part
    ),
    opt_state,
    is_leaf=lambda part: isinstance(part, kinds),
  )


def weight_decay(
  config: ml_collections.ConfigDict,
) -> list[optax.GradientTransformation]:
  """Returns a part that adds weight decay for each factor of the groups."""
  factors = {factor for _, _, factor in config.param_groups} | {1.0}

  def part(factor: float) -> optax.GradientTransformation:
    return optax.add_decayed_weights(
      config.weight_decay * factor,
      lambda params: jax.tree.map(
        lambda found: found == factor, decay_factors(params, config)
      ),
    )

  return [part(factor) for factor in sorted(factors) if factor]


def decay_factors(params: dict, config: ml_collections.ConfigDict) -> dict:
  """Returns the factor of weight decay of each parameter.

  Unless `config.decay_all`, only parameters of two or more dimensions decay:
  not biases and norms. Depthwise position kernels, class tokens and the
  position-bias MLP do, as in UniFormer's released runs, and so does SwinV2's
  logit_scale [heads 1 1].
  """
  return jax.tree.map(
    lambda value, factor: factor * (config.decay_all or jnp.ndim(value) > 1),
    params,
    group_factors(params, config, 2),
  )


def group_factors(
  params: dict, config: ml_collections.ConfigDict, place: int
) -> dict:
  """Returns each parameter's factor in `config.param_groups`, or 1.

  The longest text that the dotted name contains decides alone, as in mmcv's
  `paramwise_cfg` of Video Swin's runs: factors of several texts that fit are
  not multiplied.

  Args:
    params: parameters, or their updates.
    config: config of the run.
    place: 1 for the learning rate, 2 for weight decay.

  Raises:
    ValueError: a text is in no name.
  """
  groups = sorted(config.param_groups, key=lambda group: -len(group[0]))
  name_of = names(params)
  everything = jax.tree.leaves(name_of)
  for text, *_ in groups:
    if not any(text in name for name in everything):
      words = {part for name in everything for part in name.split('.')}
      raise ValueError(
        f'config.param_groups has {text!r}, which is in no name of a parameter '
        f'of this model.{did_you_mean(text, sorted(words))} Names are like '
        f'{everything[0]} and {everything[-1]}.'
      )
  return jax.tree.map(
    lambda name: next((g[place] for g in groups if g[0] in name), 1.0), name_of
  )


def names(params: dict) -> dict:
  """Returns the dotted name of each parameter, in the tree of `params`."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.keystr(path, simple=True, separator='.'),
    params,
  )


def scale(factors: Callable[[dict], dict]) -> optax.GradientTransformation:
  """Multiplies updates by factors, which come in the tree of the updates."""
  return optax.stateless(
    lambda updates, _: jax.tree.map(operator.mul, updates, factors(updates))
  )


def layer_factors(params: dict, config: ml_collections.ConfigDict) -> dict:
  """Returns `layer_decay` ** (number of layers up to the head).

  It scales both the learning rate and weight decay of each layer (Clark et al.,
  2020, for ELECTRA; Bao et al., 2022, for images).
  """
  layers = layer_numbers(params)
  last = max(jax.tree.leaves(layers))
  return jax.tree.map(lambda i: config.layer_decay ** (last - i), layers)


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
  # A stage may have no blocks, and then no parameters.
  blocks = {int(i): len(stage) for i, stage in stages.items()}
  last_stage = max(map(int, (*stages, *params.get('embeds', ()))))
  depths = [blocks.get(i, 0) for i in range(last_stage + 1)]
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
