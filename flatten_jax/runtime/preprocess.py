# SPDX-License-Identifier: Apache-2.0
"""Turns uint8 clips into what a model takes, and calls it; the only way there.

Training, evaluation, explanation, prediction and exported programs share it, so
that they cannot disagree.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax import flattening, models
from flatten_jax.inputs.flow import fields

# 'images', or clips for a model of those, or 'frames' [B T H W C] for an image
# model whose logits are averaged; perhaps 'positions' [B T], the numbers of the
# frames.
Inputs = dict[str, jax.Array]

# Deviations below which `motion_channels` leave a clip faint.
FAINT_CONTRAST = 0.0225  # Of gray values from 0 to 1.
FAINT_MOTION = 0.05  # In deviations of the gray values.


def call(
  model: Callable[..., Any], inputs: Inputs, method: str = '__call__', **options
) -> Any:
  """Calls a model with its images, and if it `takes_positions` with those."""
  if getattr(model, 'takes_positions', False):
    positions = inputs.get('positions')
    if positions is not None and 'frames' in inputs:
      positions = positions.reshape(-1, 1)  # A frame is a clip by itself.
    options['positions'] = positions
  model, images = called_with(model, inputs)
  return getattr(model, method)(images, **options)


def called_with(
  model: Callable[..., Any], inputs: Inputs
) -> tuple[Callable[..., Any], jax.Array]:
  """Returns the model as `call` uses it, and its images."""
  if 'frames' in inputs:
    return models.Averaged(model), inputs['frames']
  return model, inputs['images']


def to_inputs(
  images: jax.Array,
  batch: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
) -> Inputs:
  """Returns the inputs of `call` for images, or clips, of a batch.

  A batch without 'positions' leaves them to the model.
  """
  name = 'frames' if config.clip_model == 'average' else 'images'
  inputs = {name: images}
  return inputs | {k: batch[k] for k in ('positions',) if k in batch}


def eval_inputs(
  batch: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
  order: jax.Array | None = None,
) -> Inputs:
  """Returns the inputs of `call` for a batch of test views.

  The layout 'random' and the frame order 'shuffled' are drawn once for every
  (video, view) from the seed, so that a score repeats for any batch size.
  Positions stay in order when `eval_frame_order` changes that of the frames.

  Args:
    batch: 'clip' uint8 [B T H W C], 'index' [B] and 'view' [B], and perhaps
      'positions' int32 [B T].
    config: of the model.
    order: [T] or [B T] replaces the order of `frame_orders`.
  """
  return to_inputs(_eval_images(batch, config, order), batch, config)


def _eval_images(batch, config, order):
  """Returns normalized images [B r*H c*W C], or clips for a model of those."""
  clips = normalize(reorder_frames(batch, config), config)
  if takes_clips(config) or clips.shape[1] == 1:
    return flatten_clips(clips, config)
  if order is None and config.flatten != 'random':
    return flatten_clips(clips, config)
  if order is None:
    order = frame_orders(batch, config)
  grid = flattening.grid_shape(clips.shape[1], tuple(config.grid) or None)
  order = jnp.broadcast_to(order, clips.shape[:2])
  clips = jnp.take_along_axis(clips, order[..., None, None, None], axis=1)
  return flattening.flatten(clips, 'row_major', grid=grid)


def frame_orders(
  batch: dict[str, jax.Array], config: ml_collections.FrozenConfigDict
) -> jax.Array:
  """Returns which frame sits in each cell of the grid, row by row. -> [B T].

  Args:
    batch: 'index' [B] and 'view' [B], which 'random' is drawn by.
    config: of a model that takes images.
  """
  num_frames, grid = config.data.num_frames, tuple(config.grid) or None
  if config.flatten != 'random':
    order = flattening.frame_order(config.flatten, num_frames, grid=grid)
    return jnp.broadcast_to(order, (len(batch['index']), num_frames))
  key, _ = _keys(config)
  return jax.vmap(
    lambda key: flattening.frame_order('random', num_frames, grid=grid, rng=key)
  )(_key_per_view(batch, key))


def reorder_frames(
  batch: dict[str, jax.Array], config: ml_collections.FrozenConfigDict
) -> jax.Array:
  """Returns the clips in `config.eval_frame_order`. -> uint8 [B T H W C].

  A test of what a model makes of time: 'forward', 'reversed' or 'shuffled'.
  The layout 'random' of `channels='motion'` is shuffled too, since its frames
  contain the change to the next one.
  """
  clips, order = batch['clip'], config.eval_frame_order
  if config.flatten == 'random' and config.channels == 'motion':
    order = 'shuffled'
  if order == 'reversed':
    return clips[:, ::-1]
  if order == 'shuffled':
    _, key = _keys(config)
    return jax.vmap(jax.random.permutation)(_key_per_view(batch, key), clips)
  return clips


def normalize(
  clips: jax.Array, config: ml_collections.FrozenConfigDict
) -> jax.Array:
  """Normalizes uint8 RGB or flow to floats in the model's `channels`.

  Scales to [0, 1], subtracts the mean, and divides by the deviation, which are
  in the model's order. See `statistics` for those of flow, and
  `motion_channels` for `channels='motion'`.
  """
  if config.channels == 'motion':
    return motion_channels(clips)
  clips = _reorder_channels(clips, config)
  mean, std = (
    jnp.asarray(values).reshape((1,) * (clips.ndim - 1) + (-1,))
    for values in statistics(clips.shape[-1], config)
  )
  return (clips.astype(jnp.float32) / 255 - mean) / std


def motion_channels(clips: jax.Array) -> jax.Array:
  """Replaces the colors of clips by their motion. uint8 [... T H W 3] -> float.

  The channels are: the gray values, with a mean of 0 and a deviation of a half
  over the clip; their difference from the clip's mean image, with a deviation
  of 1; and the change to the next frame on the same scale, 0 in the last frame.
  So a background that rests, and the light, are only in the first. Clips of low
  contrast or hardly any motion are not amplified to that scale.
  """
  clip = -3, -2, -1
  gray = clips.astype(jnp.float32).mean(-1) / 255
  gray = gray - gray.mean(clip, keepdims=True)
  gray = gray / (gray.std(clip, keepdims=True) + FAINT_CONTRAST)
  motion = gray - gray.mean(-3, keepdims=True)
  change = jnp.diff(gray, axis=-3, append=gray[..., -1:, :, :])
  scale = motion.std(clip, keepdims=True) + FAINT_MOTION
  return jnp.stack([gray / 2, motion / scale, change / scale], axis=-1)


def training_clips(
  clips: jax.Array,
  config: ml_collections.FrozenConfigDict,
  rng: jax.Array,
) -> jax.Array:
  """Normalizes clips of a training batch. uint8 [B T H W C] -> float.

  If their order must not be seen, frames are shuffled first: in the layout
  'random', which orders normalized frames, when these contain the change to the
  next one. `channel_dropout` sets channels to 0, their mean.
  """
  if config.flatten == 'random' and config.channels == 'motion':
    keys = jax.random.split(jax.random.fold_in(rng, 1), len(clips))
    clips = jax.vmap(jax.random.permutation)(keys, clips)
  clips = normalize(clips, config)
  if share := config.channel_dropout:
    number = jax.random.uniform(jax.random.fold_in(rng, 2), (len(clips),))
    gray, motion = number >= share, number < 1 - share
    kept = jnp.stack([gray, motion, motion], axis=-1)
    clips = clips * kept[:, None, None, None]
  return clips


def statistics(
  channels: int, config: ml_collections.FrozenConfigDict
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and deviation of every channel. -> [C], [C].

  Flow alone has the average of `config.mean`; after RGB, no motion is 0. Its
  deviation is the average of `config.std`, as in TSN: it has no direction.
  """
  mean, std = np.asarray(config.mean), np.asarray(config.std)
  if channels == 3:
    return mean, std
  rgb = fields.first_of(channels)
  zero = fields.ZERO / 255 if rgb else mean.mean()
  flow = channels - rgb
  return (
    np.append(mean[:rgb], [zero] * flow),
    np.append(std[:rgb], [std.mean()] * flow),
  )


def pixels(
  images: np.ndarray, config: ml_collections.FrozenConfigDict
) -> np.ndarray:
  """Returns normalized images as people see them, uint8 RGB.

  For flow, see `fields.picture`. Of `channels='motion'` they are the gray
  values, in another contrast.
  """
  if config.channels == 'motion':
    images, mean, std = images[..., :1].repeat(3, -1), 0.5, 0.25
    return np.clip(255 * (images * std + mean), 0, 255).round().astype(np.uint8)
  mean, std = statistics(images.shape[-1], config)
  levels = _reorder_channels(images * std + mean, config)
  levels = np.clip(255 * levels, 0, 255).round().astype(np.uint8)
  return fields.picture(levels)


def mean_color(config: ml_collections.FrozenConfigDict) -> tuple[float, ...]:
  """Returns the color that is normalized to 0, RGB from 0 to 1."""
  return tuple(config.mean)[:: -1 if config.channels == 'bgr' else 1]


def _reorder_channels(
  images: jax.Array | np.ndarray, config: ml_collections.FrozenConfigDict
) -> jax.Array | np.ndarray:
  """Turns RGB into the model's order, and back; flow stays."""
  rgb = fields.first_of(images.shape[-1])
  if config.channels != 'bgr' or not rgb:
    return images
  if images.shape[-1] == rgb:
    return images[..., ::-1]
  return images[..., np.r_[2, 1, 0, rgb : images.shape[-1]]]


def flatten_clips(
  clips: jax.Array,
  config: ml_collections.FrozenConfigDict,
  rng: jax.Array | None = None,
) -> jax.Array:
  """Flattens clips in the config's layout. [... T H W C] -> [... r*H c*W C].

  Returns clips unchanged for a model that takes clips, and a still image, which
  is a clip of one frame, as that frame.
  """
  if takes_clips(config):
    return clips
  if clips.shape[-4] == 1:
    return clips[..., 0, :, :, :]
  grid = tuple(config.grid) or None
  return flattening.flatten(clips, config.flatten, grid=grid, rng=rng)


def takes_clips(config: ml_collections.ConfigDict) -> bool:
  """Returns True if clips are not flattened: their frames stay apart.

  For the video models of `models`, any model under `flatten='none'`, and image
  models whose logits are averaged.
  """
  return config.clip_model == 'average' or is_video_model(config)


def is_video_model(config: ml_collections.ConfigDict) -> bool:
  """Returns True if the model itself takes clips [B T H W C]."""
  return config.flatten == 'none' or models.takes_clips(config.model.name)


def describe(config: ml_collections.ConfigDict) -> str:
  """Returns in words what the model makes of the frames of a clip."""
  if config.clip_model == 'average':
    return 'one by one, their logits averaged'
  if is_video_model(config):
    return 'as clips'
  if config.data.num_frames == 1:
    return 'as it is'
  return f'flattened {config.flatten}'


def _keys(config: ml_collections.FrozenConfigDict) -> tuple:
  """Returns the random keys of the layout and of the frame order."""
  return tuple(jax.random.split(jax.random.key(config.seed)))


def _key_per_view(batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
  """Returns a key for each (video, view). -> [B]."""
  fold_in = jax.random.fold_in
  keys = jax.vmap(fold_in, in_axes=(None, 0))(key, batch['index'])
  return jax.vmap(fold_in)(keys, batch['view'])
