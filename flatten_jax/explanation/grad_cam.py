# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM: positions of an image that speak for a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", 2017. Works for every model with `features` and
`classify`; `Flattened` ones get the heat of each frame.
"""

from collections.abc import Sequence
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.flattening import Flattened, flatten, grid_shape, unflatten
from flatten_jax.models import split_averaged


def grad_cam(
  model: nnx.Module | Flattened,
  images: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike | Sequence[int] | None = None,
  *,
  stage: int | None = None,
) -> jax.Array:
  """Computes heat maps of the evidence for a class. [B H W 3] -> [B h w].

  The channels of a feature map are weighted by the gradient of the class's
  logit (the mean over positions) and summed; negative sums, evidence against
  the class, become 0 (Eq. 1 and 2 of the paper).

  Args:
    model: with `features` and `classify`, as all of `list_models()`; perhaps
      `Averaged` or `Flattened`.
    images: normalized, as the model takes them; clips [B T H W 3] for a video
      model or an averaged one, whose heat has a time axis, [B t h w], and for a
      flattened one, whose heat is that of each frame, [B T h w].
    labels: [B], a class for each image; -1, or None for all, means the
      predicted class.
    stage: from 1, whose last feature map is used; earlier maps are finer and
      less specific to a class. None for the last.

  Returns:
    Heat, float32, 0 or more, in units of the logit times positions: the mean
    heat of the last map is the evidence for the class in its logit.

  Raises:
    ValueError: there are no images or pixels, the model has no feature maps,
      the stage does not exist, labels and images differ in number, or a map
      does not divide into frames.
  """
  if 0 in np.shape(images):
    raise ValueError(
      'Expected images [B H W 3] or clips [B T H W 3] with pixels; got none: '
      f'{list(np.shape(images))}.'
    )
  if isinstance(model, Flattened):
    return _of_frames(model, images, labels, stage)
  last = check(model, stage)
  images = jnp.asarray(images)
  count = len(images)
  module, averaged = split_averaged(model)
  graphdef, state = nnx.split(module)
  labels = np.full(count, -1) if labels is None else np.asarray(labels)
  if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f'Expected a class number for each of {count} images, shape [{count}]; '
      f'got {labels.tolist()!r}.'
    )
  classes = _num_classes(graphdef, averaged, state, images)
  if not -1 <= labels.min() <= labels.max() < classes:
    raise ValueError(
      f'labels must be from 0 to {classes - 1}, or -1 for the predicted class; '
      f'got {labels.tolist()}.'
    )
  labels = jnp.asarray(labels, jnp.int32)
  return _heat(graphdef, averaged, state, images, labels, stage or last)


def _of_frames(
  flattened: Flattened,
  clips: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike | Sequence[int] | None,
  stage: int | None,
) -> jax.Array:
  """Returns the heat of the frames of flattened clips, [B T h w]."""
  if flattened.mode == 'random':
    raise ValueError(
      "The layout 'random' draws an order for every call: give "
      'flatten(clips, order) to grad_cam(model, images) instead.'
    )
  count = np.shape(clips)[1]
  images = flatten(clips, flattened.mode, grid=flattened.grid)
  heat = grad_cam(flattened.model, images, labels, stage=stage)
  grid = grid_shape(count, flattened.grid)
  if any(n % cells for n, cells in zip(heat.shape[1:], grid, strict=True)):
    raise ValueError(
      f'A map of {heat.shape[1]} x {heat.shape[2]} does not divide into '
      f'{grid[0]} x {grid[1]} frames: an earlier stage=, or larger frames.'
    )
  return unflatten(heat[..., None], count, flattened.mode, grid=grid)[..., 0]


def _num_classes(graphdef, averaged, state, images) -> int:
  """Returns the number of logits, without computing any."""

  def logits(state, images):
    model = averaged(nnx.merge(graphdef, state))
    return model.classify(model.features(images))

  return jax.eval_shape(logits, state, images).shape[-1]


def check(model: nnx.Module, stage: int | None = None) -> int:
  """Returns the number of stages; raises if there are no feature maps."""
  name = type(split_averaged(model)[0]).__name__
  if not (hasattr(model, 'features') and hasattr(model, 'classify')):
    raise ValueError(
      'Explanations need features(images) -> [B h w C] and '
      'classify(features) -> logits. All models of list_models() have them; '
      f'{name} does not.'
    )
  if not getattr(model, 'has_feature_map', True):
    raise ValueError(
      f'{name} classifies by a token of its own: no feature map leads to its '
      'logits that Grad-CAM could weight. --mode=explain draws the attention '
      'of that token instead; a Video Swin or a UniFormer averages a map.'
    )
  count = max(1, len(getattr(model, 'stages', ())))
  if stage is not None and stage not in range(1, count + 1):
    raise ValueError(
      f'stage must be from 1 to {count} for a {name}; got {stage!r}.'
    )
  return count


@functools.partial(jax.jit, static_argnames=('graphdef', 'averaged', 'stage'))
def _heat(graphdef, averaged, state, images, labels, stage):
  model = averaged(nnx.merge(graphdef, state))
  _, maps, gradients = maps_and_gradients(model, images, labels, [stage])
  return jax.nn.relu(evidence(maps[0], gradients[0]))


def evidence(feature_map: jax.Array, gradient: jax.Array) -> jax.Array:
  """Returns signed Grad-CAM. Two [B ... C] -> [B ...], float32."""
  positions = tuple(range(1, feature_map.ndim - 1))
  # A sum instead of the mean: heat then does not depend on the map's size.
  weights = gradient.sum(axis=positions, keepdims=True)
  return (weights * feature_map).sum(axis=-1).astype(jnp.float32)


def maps_and_gradients(
  model: nnx.Module,
  images: jax.Array,
  labels: jax.Array,
  stages: Sequence[int],
) -> tuple[jax.Array, list[jax.Array], list[jax.Array]]:
  """Returns logits, feature maps, and gradients of a logit by each map.

  Args:
    model: with `features` and `classify`.
    images: [B H W 3], or clips.
    labels: [B], which logit; -1 for the largest.
    stages: numbers of the maps: 1 is the last map of the first stage, the
      number of stages is the input of `classify`.

  Returns:
    [B K]; and [B h w C] of each stage, twice.
  """
  last = check(model)

  def forward(offsets):
    maps = {}

    def look(stage, x):
      maps[stage] = x
      return x + offsets[stage] if stage in offsets else x

    # A user's model needs `after_stage` only if it has stages.
    hook = {'after_stage': lambda i, x: look(i + 1, x) if i + 1 < last else x}
    features = model.features(images, **(hook if last > 1 else {}))
    logits = model.classify(look(last, features))
    chosen = jnp.where(labels < 0, logits.argmax(axis=-1), labels)
    score = jnp.take_along_axis(logits, chosen[:, None], axis=-1).sum()
    return score, (logits, [maps[stage] for stage in stages])

  # The gradient is by zeros that are added to the maps.
  _, (_, shapes) = jax.eval_shape(forward, {})
  offsets = {
    stage: jnp.zeros(shape.shape, shape.dtype)
    for stage, shape in zip(stages, shapes, strict=True)
  }
  gradients, (logits, maps) = jax.grad(forward, has_aux=True)(offsets)
  return logits, maps, [gradients[stage] for stage in stages]
