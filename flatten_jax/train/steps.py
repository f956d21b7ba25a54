# SPDX-License-Identifier: Apache-2.0
"""One training step and one evaluation step: pure functions, to be jitted."""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

from flatten_jax.flattening import flatten
from flatten_jax.train import mixing
from flatten_jax.train.state import TrainState, batch_stats_of


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  graphdef: nnx.GraphDef,
  tx: optax.GradientTransformation,
  config: ml_collections.FrozenConfigDict,
  num_classes: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update: normalise, mix, flatten, forward, loss, backward, step.

  Args:
    state: parameters, batch statistics, optimizer state and step.
    batch: 'clip' uint8 [B T H W C] and 'label' int32 [B].
    graphdef: structure of the model, from `state.split`.
    tx: the optimizer.
    config: the run's config, frozen.
    num_classes: K.

  Returns:
    The next state, and 'loss', 'accuracy' and 'grad_norm' of this batch.
  """
  # All randomness comes from (seed, step), so a resumed run repeats itself.
  rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
  key_mix, key_order, key_drop = jax.random.split(rng, 3)

  clips = normalize(batch['clip'], config)
  smoothing = config.label_smoothing
  targets = mixing.soft_targets(batch['label'], num_classes, smoothing)
  clips, targets = mixing.mix(
    clips, targets, key_mix, mixup=config.mixup, cutmix=config.cutmix
  )
  images = lay_out(clips, config, key_order)

  def loss_fn(params):
    model = nnx.merge(graphdef, params, state.batch_stats, copy=True)
    logits = model(images, train=True, rngs=nnx.Rngs(dropout=key_drop))
    logits = logits.astype(jnp.float32)
    loss = optax.softmax_cross_entropy(logits, targets).mean()
    return loss, (batch_stats_of(model), logits)

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, (batch_stats, logits)), grads = grad_fn(state.params)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  return state, {
    'loss': loss,
    # Of mixed clips the larger share is the label to find.
    'accuracy': (logits.argmax(-1) == targets.argmax(-1)).mean(),
    'grad_norm': optax.tree.norm(grads),
  }


def eval_step(
  params: dict,
  batch_stats: dict,
  batch: dict[str, jax.Array],
  *,
  graphdef: nnx.GraphDef,
  config: ml_collections.FrozenConfigDict,
) -> jax.Array:
  """Logits of one view of every clip of a batch, [B K] in float32.

  'random' draws one order for every (video, view) from the seed, so that a
  score repeats whatever the batch size.
  """
  clips = normalize(batch['clip'], config)
  if config.flatten == 'random':
    key = jax.random.key(config.seed)
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    keys = jax.vmap(jax.random.fold_in)(
      fold(key, batch['index']), batch['view']
    )
    images = jax.vmap(lambda clip, key: lay_out(clip, config, key))(clips, keys)
  else:
    images = lay_out(clips, config)
  model = nnx.merge(graphdef, params, batch_stats)
  return model(images).astype(jnp.float32)


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
  """[... T H W C] -> images [... r*H c*W C] in the config's layout."""
  grid = tuple(config.grid) or None
  return flatten(clips, config.flatten, grid=grid, rng=rng)
