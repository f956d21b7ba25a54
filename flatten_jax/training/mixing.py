# SPDX-License-Identifier: Apache-2.0
"""Soft targets, mixup and CutMix, inside the jitted step."""

import jax
import jax.numpy as jnp
import optax


def soft_targets(
  labels: jax.Array, num_classes: int, smoothing: float = 0.0
) -> jax.Array:
  """Converts labels to probabilities [B K]; smooths over all K classes.

  Labels are class numbers [B], or 1 for each class of a video and 0 for the
  others [B K].
  """
  if labels.ndim == 2:
    return optax.smooth_labels(labels.astype(jnp.float32), smoothing)
  return optax.smooth_labels(jax.nn.one_hot(labels, num_classes), smoothing)


def mix(
  inputs: jax.Array,
  targets: jax.Array,
  rng: jax.Array,
  *,
  mixup: float = 0.8,
  cutmix: float = 1.0,
  switch: float = 0.5,
  partners: str = 'neighbors',
  repeated: int = 1,
) -> tuple[jax.Array, jax.Array]:
  """Mixes every clip or image with its partner in the batch.

  Neighbors are 0 and 1, 2 and 3, and so on: the batch is in random order
  anyway, and they are on one device, so that no clip is moved.

  Mixup (Zhang et al., 2018) blends the two; CutMix (Yun et al., 2019) pastes
  the same box of the partner into all frames. One draw is used for the whole
  batch, as in the recipes that the paper follows.

  Args:
    inputs: clips [B T H W C] or images [B H W C], floating point.
    targets: [B K] probabilities.
    rng: a JAX key.
    mixup: alpha of the Beta distribution of the blend; 0 disables it.
    cutmix: alpha of the Beta distribution of the kept area; 0 disables it.
    switch: probability of CutMix if both are enabled.
    partners: 'neighbors', or 'reversed' for the first and the last, and so on,
      as in timm and runs from before there was a choice.
    repeated: clips of each video, one after the other; those of neighboring
      videos are partners.

  Returns:
    Mixed inputs and targets, of the same shapes.
  """
  if not mixup and not cutmix:
    return inputs, targets
  key_switch, key_share, key_box = jax.random.split(rng, 3)
  height, width = inputs.shape[-3:-1]
  blend = _constant_mask(key_share, mixup or 1.0, (height, width))
  box = _box_mask(key_box, cutmix or 1.0, (height, width))
  use_box = jax.random.bernoulli(key_switch, switch if mixup else 1.0)
  mask = jnp.where(use_box & (cutmix > 0), box, blend)  # [H W], share of own

  share = mask.mean()
  mask = mask.astype(inputs.dtype)[..., None]
  mask = mask.reshape((1,) * (inputs.ndim - 3) + mask.shape)

  def others(x):
    return x[::-1] if partners == 'reversed' else neighbors(x, repeated)

  inputs = inputs * mask + others(inputs) * (1 - mask)
  return inputs, targets * share + others(targets) * (1 - share)


def neighbors(x: jax.Array, group: int = 1) -> jax.Array:
  """Exchanges neighboring groups of a batch. [B ...] -> same.

  A group that is left over at the end stays, in reverse order.
  """
  size = 2 * group
  whole = len(x) // size * size
  pairs = x[:whole].reshape(-1, 2, group, *x.shape[1:])
  pairs = pairs[:, ::-1].reshape(whole, *x.shape[1:])
  return jnp.concatenate([pairs, x[whole:][::-1]]) if whole < len(x) else pairs


def _constant_mask(rng, alpha, size):
  return jnp.full(size, jax.random.beta(rng, alpha, alpha))


def _box_mask(rng, alpha, size):
  """Returns [H W]: 0 in a box around a uniformly drawn center, else 1."""
  key_share, key_row, key_column = jax.random.split(rng, 3)
  side = jnp.sqrt(1 - jax.random.beta(key_share, alpha, alpha))
  spans = []
  for length, key in zip(size, (key_row, key_column), strict=True):
    center = jax.random.uniform(key, maxval=length)
    half = jnp.floor(side * length) / 2
    position = jnp.arange(length)
    spans.append((position >= center - half) & (position < center + half))
  return 1.0 - (spans[0][:, None] & spans[1][None, :])
