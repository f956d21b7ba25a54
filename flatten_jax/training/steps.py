# SPDX-License-Identifier: Apache-2.0
"""The training step: a pure function, to be jitted."""

from collections.abc import Callable, Collection
import functools
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

from flatten_jax.models.layers import devices as devices_of, random_streams
from flatten_jax.runtime import preprocess, task as tasks
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.state import TrainState, batch_stats_of, moving_average
from flatten_jax.training import mixing, optimizer


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  learning_rate: jax.typing.ArrayLike,
  *,
  graphdef: nnx.GraphDef,
  tx: optax.GradientTransformationExtraArgs,
  config: ml_collections.FrozenConfigDict,
  num_classes: int,
  gather: Callable[[dict], dict] = lambda params: params,
  devices: int = 1,
  frozen: Collection[str] = (),
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Updates the state: normalize, mix, flatten, forward, backward, step.

  Nothing in it depends on the numbers of epochs and of videos, so that runs
  which differ in these share one compiled program.

  Args:
    state: parameters, batch statistics, optimizer state and step.
    batch: 'clip' uint8 [B T H W C] and 'label' int32 [B], or int8 [B K] of
      several labels; perhaps 'positions' int32 [B T].
    learning_rate: of this step, float32.
    graphdef: structure of the model, from `state.split`.
    tx: the optimizer, from `optimizer.make`.
    config: the run's config, frozen.
    num_classes: K.
    gather: gathers parameters that are divided over devices.
    devices: number of devices that the batch is divided over.
    frozen: dotted names of parameters that keep their values.

  Returns:
    The next state, and 'loss', 'accuracy' and 'grad_norm' of this batch: the
    norm before clipping, or the mean of the groups' norms.
  """
  keys = random_keys(config.seed, state.step)
  images, targets = inputs_and_targets(batch, config, num_classes, keys)
  inputs = preprocess.to_inputs(images, batch, config)

  params = gather(state.params)
  fixed = fixed_parameters(graphdef, state, config, frozen)
  gradients = functools.partial(
    loss_and_gradients, graphdef, params, fixed, task=tasks.of(config)
  )
  if config.grad_accum_steps > 1:
    gradients = accumulated(gradients, config.grad_accum_steps)
  if config.grad_clip_groups > 1:
    gradients = clipped_by_group(
      gradients, config.grad_clip_norm, config.grad_clip_groups, devices
    )
  metrics, batch_stats, grads = gradients(
    state.batch_stats, inputs, targets, keys['drop']
  )
  # Weight decay would change parameters that are fixed, or their momentum.
  decayed = _zero_where(fixed, state.params)
  updates, opt_state = tx.update(
    grads, state.opt_state, decayed, learning_rate=learning_rate
  )
  updates = _zero_where(fixed, updates)
  params = optax.apply_updates(state.params, updates)
  average = state.average
  if config.ema:
    average = moving_average(
      average, params, batch_stats, state.step, config.ema
    )
  state = state.replace(
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    average=average,
  )
  return state, {'grad_norm': optax.tree.norm(grads)} | metrics


def _zero_where(fixed: dict, tree: dict) -> dict:
  return jax.tree.map(
    lambda x, stays: jnp.zeros_like(x) if stays else x, tree, fixed
  )


def fixed_parameters(
  graphdef: nnx.GraphDef,
  state: TrainState,
  config: ml_collections.ConfigDict,
  frozen: Collection[str] = (),
) -> dict:
  """Returns a tree like `state.params`, True for those that training keeps.

  They are the weights of frozen batch norms, parameters whose learning rate has
  the factor 0 in `config.param_groups`, and those that `frozen` names.
  """
  params = state.params
  model = nnx.merge(graphdef, params, state.batch_stats)
  return jax.tree.map(
    lambda of_norm, factor, name: of_norm or not factor or name in frozen,
    batch_norm.frozen_parameters(model, params),
    optimizer.group_factors(params, config, 1),
    optimizer.names(params),
  )


def random_keys(seed: int, step: jax.typing.ArrayLike) -> dict[str, jax.Array]:
  """Keys to 'mix', to 'order' frames and to 'drop' paths with.

  All randomness comes from (seed, step), so a resumed run repeats itself.
  """
  rng = jax.random.fold_in(jax.random.key(seed), step)
  return dict(
    zip(('mix', 'order', 'drop'), jax.random.split(rng, 3), strict=True)
  )


def inputs_and_targets(
  batch: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
  num_classes: int,
  keys: dict[str, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Normalizes, mixes and flattens a batch, and smooths and mixes its labels.

  With `mix_stage='after_flatten'`, mixup and CutMix act on flattened images: a
  CutMix box is then one part of the image, perhaps whole frames, instead of the
  same part of every frame.

  Returns:
    Images [B r*H c*W C], or clips for a model that takes clips, and
    probabilities [B K].
  """
  inputs = preprocess.training_clips(batch['clip'], config, keys['order'])
  smoothing = config.label_smoothing
  targets = mixing.soft_targets(batch['label'], num_classes, smoothing)
  mix = functools.partial(
    mixing.mix,
    rng=keys['mix'],
    mixup=config.mixup,
    cutmix=config.cutmix,
    partners=config.mix_partners,
    repeated=config.data.repeated_aug,
  )
  if config.mix_stage == 'before_flatten':
    inputs, targets = mix(inputs, targets)
    return preprocess.flatten_clips(inputs, config, keys['order']), targets
  return mix(preprocess.flatten_clips(inputs, config, keys['order']), targets)


def loss_and_gradients(
  graphdef: nnx.GraphDef,
  params: dict,
  fixed: dict,
  batch_stats: dict,
  inputs: preprocess.Inputs,
  targets: jax.Array,
  rng: jax.Array,
  task: tasks.Task = tasks.SINGLE_LABEL,
) -> tuple[dict[str, jax.Array], dict, dict]:
  """Returns 'loss' and 'accuracy', the next batch statistics and gradients.

  A model may return a tuple of logits in training; the loss is their mean, the
  accuracy uses the first. Gradients of `fixed` parameters are 0.
  """

  def loss_fn(params):
    params = jax.tree.map(
      lambda x, stays: jax.lax.stop_gradient(x) if stays else x, params, fixed
    )
    model = nnx.merge(graphdef, params, batch_stats, copy=True)
    rngs = random_streams.make(dropout=rng)
    heads = preprocess.call(model, inputs, train=True, rngs=rngs)
    heads = heads if isinstance(heads, tuple) else (heads,)
    heads = [logits.astype(jnp.float32) for logits in heads]
    losses = [task.loss(x, targets).mean() for x in heads]
    hits = task.hits(heads[0], targets)
    loss = sum(losses) / len(losses)
    return loss, (hits.mean(), batch_stats_of(model))

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, (accuracy, batch_stats)), grads = grad_fn(params)
  return {'loss': loss, 'accuracy': accuracy}, batch_stats, grads


def accumulated(gradients: Callable, parts: int) -> Callable:
  """Wraps `gradients` to process a batch in parts, with less memory.

  Gradients are those of the whole batch, except that batch norm normalizes
  each part by itself. Each part draws its own drop paths.
  """

  def whole(batch_stats, inputs, targets, rng):
    inputs, targets = divided((inputs, targets), parts)
    pieces = inputs, targets, jax.random.split(rng, parts)
    return averaged(gradients, batch_stats, pieces)

  return whole


def divided(tree: Any, parts: int) -> Any:
  """Divides arrays [B ...] into parts [P B/P ...].

  A part has every P-th example, so that no example changes its device.
  """
  return jax.tree.map(
    lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), tree
  )


def averaged(
  gradients: Callable, batch_stats: dict, pieces: tuple
) -> tuple[dict[str, jax.Array], dict, dict]:
  """Averages metrics and gradients over [P ...] pieces, one after the other."""

  def add(carry, piece):
    batch_stats, sums = carry
    metrics, batch_stats, grads = gradients(batch_stats, *piece)
    return (batch_stats, jax.tree.map(jnp.add, sums, (metrics, grads))), None

  first = jax.tree.map(lambda x: x[0], pieces)
  metrics, _, grads = jax.eval_shape(gradients, batch_stats, *first)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (metrics, grads))
  (batch_stats, sums), _ = jax.lax.scan(add, (batch_stats, zeros), pieces)
  metrics, grads = jax.tree.map(lambda x: x / len(pieces[-1]), sums)
  return metrics, batch_stats, grads


def clipped_by_group(
  gradients: Callable, max_norm: float, groups: int, devices: int
) -> Callable:
  """Wraps `gradients` to clip those of each group of examples by themselves.

  The mean of the clipped gradients is ViViT's: its devices clip before they
  average. Groups are neighbors in the batch, so they stay the same on any
  number of devices. Each device holds one gradient and adds its groups to it.
  """
  together = math.gcd(groups, devices)
  clip = optax.clip_by_global_norm(max_norm)

  def clipped(batch_stats, *piece):
    metrics, batch_stats, grads = gradients(batch_stats, *piece)
    metrics |= {'grad_norm': optax.tree.norm(grads)}
    return metrics, batch_stats, clip.update(grads, optax.EmptyState())[0]

  def whole(batch_stats, inputs, targets, rng):
    shape = together, groups // together

    def split(x):
      return x.reshape(*shape, -1, *x.shape[1:])

    # The first axis stays divided over the devices; a group is on one.
    inputs, targets = jax.tree.map(split, (inputs, targets))
    pieces = inputs, targets, jax.random.split(rng, shape)
    # Without a mesh: layers would divide each group over all devices.
    with devices_of.use(devices_of.current()):
      gradient = functools.partial(averaged, clipped, batch_stats)
      parts = jax.vmap(gradient)(pieces)
    return jax.tree.map(lambda x: x.mean(0), parts)

  return whole
