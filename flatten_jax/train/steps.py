# SPDX-License-Identifier: Apache-2.0
"""One training step and one evaluation step: pure functions, to be jitted."""

from collections.abc import Callable
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

from flatten_jax.flattening import flatten
from flatten_jax.models import MODELS
from flatten_jax.train import mixing
from flatten_jax.train.state import TrainState, batch_stats_of, moving_average


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  graphdef: nnx.GraphDef,
  tx: optax.GradientTransformation,
  config: ml_collections.FrozenConfigDict,
  num_classes: int,
  gather: Callable[[dict], dict] = lambda params: params,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update: normalise, mix, flatten, forward, loss, backward, step.

  Args:
    state: parameters, batch statistics, optimizer state and step.
    batch: 'clip' uint8 [B T H W C] and 'label' int32 [B].
    graphdef: structure of the model, from `state.split`.
    tx: the optimizer.
    config: the run's config, frozen.
    num_classes: K.
    gather: brings the parameters together where each device keeps a part.

  Returns:
    The next state, and 'loss', 'accuracy' and 'grad_norm' of this batch.
  """
  keys = random_keys(config.seed, state.step)
  images, targets = prepare(batch, config, num_classes, keys)

  params = gather(state.params)
  gradients = functools.partial(loss_and_gradients, graphdef, params)
  if config.accumulate > 1:
    gradients = accumulated(gradients, config.accumulate)
  loss, accuracy, batch_stats, grads = gradients(
    state.batch_stats, images, targets, keys['drop']
  )
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
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
  return state, {
    'loss': loss,
    'accuracy': accuracy,
    'grad_norm': optax.tree.norm(grads),
  }


def random_keys(seed: int, step: jax.typing.ArrayLike) -> dict[str, jax.Array]:
  """Keys to 'mix', to 'order' frames and to 'drop' paths with.

  All randomness comes from (seed, step), so a resumed run repeats itself.
  """
  rng = jax.random.fold_in(jax.random.key(seed), step)
  return dict(
    zip(('mix', 'order', 'drop'), jax.random.split(rng, 3), strict=True)
  )


def prepare(
  batch: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
  num_classes: int,
  keys: dict[str, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """What the model learns from a batch: its inputs and its targets.

  Mixes clips, or mosaics where `config.mix` says so: a CutMix box is then one
  part of the mosaic, whole frames perhaps, instead of a part of every frame.

  Returns:
    Images [B r*H c*W C], or clips for a model that takes clips, and
    probabilities [B K].
  """
  inputs = normalize(batch['clip'], config)
  smoothing = config.label_smoothing
  targets = mixing.soft_targets(batch['label'], num_classes, smoothing)
  mix = functools.partial(
    mixing.mix, rng=keys['mix'], mixup=config.mixup, cutmix=config.cutmix
  )
  if config.mix == 'clips':
    inputs, targets = mix(inputs, targets)
    return lay_out(inputs, config, keys['order']), targets
  if config.mix == 'mosaics':
    return mix(lay_out(inputs, config, keys['order']), targets)
  raise ValueError(f"mix is 'clips' or 'mosaics', not {config.mix!r}.")


def loss_and_gradients(
  graphdef: nnx.GraphDef,
  params: dict,
  batch_stats: dict,
  images: jax.Array,
  targets: jax.Array,
  rng: jax.Array,
) -> tuple[jax.Array, jax.Array, dict, dict]:
  """-> loss, accuracy, the next batch statistics, gradients.

  A model may return several logits in training: the loss is the mean of theirs,
  the accuracy that of the first.
  """

  def loss_fn(params):
    model = nnx.merge(graphdef, params, batch_stats, copy=True)
    heads = model(images, train=True, rngs=nnx.Rngs(dropout=rng))
    heads = heads if isinstance(heads, tuple) else (heads,)
    heads = [logits.astype(jnp.float32) for logits in heads]
    losses = [optax.softmax_cross_entropy(x, targets).mean() for x in heads]
    # Of mixed clips the larger share is the label to find.
    hits = heads[0].argmax(-1) == targets.argmax(-1)
    loss = sum(losses) / len(losses)
    return loss, (hits.mean(), batch_stats_of(model))

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, (accuracy, batch_stats)), grads = grad_fn(params)
  return loss, accuracy, batch_stats, grads


def accumulated(gradients: Callable, parts: int) -> Callable:
  """`gradients` of a batch, computed part by part with less memory.

  Gradients are the whole batch's. Only batch normalisation sees a difference:
  it normalises every part by itself, and its running statistics follow part by
  part. Each part draws its own drop paths.
  """

  def split(x):
    # Every `parts`-th example, so that each device keeps the examples it has.
    return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

  def whole(batch_stats, images, targets, rng):
    def add(carry, part):
      batch_stats, sums = carry
      *values, batch_stats, grads = gradients(batch_stats, *part)
      sums = jax.tree.map(jnp.add, sums, (*values, grads))
      return (batch_stats, sums), None

    pieces = split(images), split(targets), jax.random.split(rng, parts)
    first = jax.tree.map(lambda x: x[0], pieces)
    shapes = jax.eval_shape(gradients, batch_stats, *first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    start = batch_stats, (*zeros[:2], zeros[3])
    (batch_stats, sums), _ = jax.lax.scan(add, start, pieces)
    loss, accuracy, grads = jax.tree.map(lambda x: x / parts, sums)
    return loss, accuracy, batch_stats, grads

  return whole


def eval_step(
  params: dict,
  batch_stats: dict,
  batch: dict[str, jax.Array],
  *,
  graphdef: nnx.GraphDef,
  config: ml_collections.FrozenConfigDict,
) -> jax.Array:
  """Logits of one view of every clip of a batch, [B K] in float32.

  What is random here, the layout 'random' and the playback 'shuffled', is drawn
  once for every (video, view) from the seed, so that a score repeats whatever
  the batch size.
  """
  key_order, key_play = jax.random.split(jax.random.key(config.seed))
  clips = play(batch, config.playback, key_play)
  clips = normalize(clips, config)
  if config.flatten == 'random' and not takes_clips(config):
    images = jax.vmap(lambda clip, key: lay_out(clip, config, key))(
      clips, key_of_each(batch, key_order)
    )
  else:
    images = lay_out(clips, config)
  model = nnx.merge(graphdef, params, batch_stats)
  return model(images).astype(jnp.float32)


def key_of_each(batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
  """A key for every view of every video. -> [B]."""
  fold_in = jax.random.fold_in
  keys = jax.vmap(fold_in, in_axes=(None, 0))(key, batch['index'])
  return jax.vmap(fold_in)(keys, batch['view'])


def play(
  batch: dict[str, jax.Array], playback: str, key: jax.Array
) -> jax.Array:
  """The clips [B T H W C] in the order in which a test shows their frames.

  'forward', 'reversed', or 'shuffled': what a model makes of the order of time.
  """
  clips = batch['clip']
  if playback == 'forward':
    return clips
  if playback == 'reversed':
    return clips[:, ::-1]
  if playback == 'shuffled':
    return jax.vmap(jax.random.permutation)(key_of_each(batch, key), clips)
  raise ValueError(
    f"playback is 'forward', 'reversed' or 'shuffled', not {playback!r}."
  )


def normalize(
  clips: jax.Array, config: ml_collections.FrozenConfigDict
) -> jax.Array:
  """uint8 -> zero mean and unit variance per channel, by the config's values.

  Image checkpoints expect the statistics that they were trained with.
  """
  mean = jnp.asarray(config.mean).reshape((1,) * (clips.ndim - 1) + (3,))
  std = jnp.asarray(config.std).reshape((1,) * (clips.ndim - 1) + (3,))
  return (clips.astype(jnp.float32) / 255 - mean) / std


def lay_out(
  clips: jax.Array,
  config: ml_collections.FrozenConfigDict,
  rng: jax.Array | None = None,
) -> jax.Array:
  """[... T H W C] -> images [... r*H c*W C] in the config's layout.

  Clips as they are where the config's model takes those. A still image, a clip
  of one frame, is the image that it is.
  """
  if takes_clips(config):
    return clips
  if clips.shape[-4] == 1:
    return clips[..., 0, :, :, :]
  grid = tuple(config.grid) or None
  return flatten(clips, config.flatten, grid=grid, rng=rng)


def takes_clips(config: ml_collections.ConfigDict) -> bool:
  """Whether the config's model is a video model: nothing is laid out for it."""
  module, _ = MODELS.get(config.model.name, (None, None))
  return getattr(module, 'takes_clips', False)
