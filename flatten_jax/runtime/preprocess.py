# SPDX-License-Identifier: Apache-2.0
"""From a batch of clips to what the model sees.

Training, scoring, explaining, prediction and exported programs all go through
here, so that they cannot disagree.
"""

import jax
import jax.numpy as jnp
import ml_collections

from flatten_jax import models
from flatten_jax.flattening import flatten


def key_of_each(batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
  """A key for every view of every video, by its place in the list. -> [B]."""
  fold_in = jax.random.fold_in
  keys = jax.vmap(fold_in, in_axes=(None, 0))(key, batch['index'])
  return jax.vmap(fold_in)(keys, batch['view'])


def play(
  batch: dict[str, jax.Array], playback: str, key: jax.Array
) -> jax.Array:
  """The clips [B T H W C] in the order in which a test shows their frames.

  'forward', 'reversed', or 'shuffled': what a model makes of the order of time.
  Shuffled, a video's order comes from the key, its place in the list of videos
  and the view.
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
  return models.takes_clips(config.model.name)
