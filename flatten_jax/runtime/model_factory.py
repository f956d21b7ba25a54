# SPDX-License-Identifier: Apache-2.0
"""The model that a config describes."""

import functools

from flax import nnx, traverse_util
import ml_collections

from flatten_jax import flattening, importing
from flatten_jax.models import create_model
from flatten_jax.runtime import batch_norm, preprocess


def image_shape(config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Height and width of what the model sees at once, in pixels."""
  if preprocess.takes_clips(config):
    return config.data.crop, config.data.crop
  grid = tuple(config.grid) or None
  rows, columns = flattening.grid_shape(config.data.num_frames, grid)
  return rows * config.data.crop, columns * config.data.crop


def build_model(
  config: ml_collections.ConfigDict, num_classes: int
) -> nnx.Module:
  """The model that a config names, as drawn from its seed."""
  options = config.model.to_dict()
  name = options.pop('name')
  options.pop('pretrained')
  if importing.is_path(name):
    options['image_shape'] = image_shape(config)
  rngs = nnx.Rngs(config.seed)
  model = create_model(name, num_classes=num_classes, rngs=rngs, **options)
  batch_norm.set_groups(model, config.batch_norm_groups or 1)
  return model


def head_axes(
  config: ml_collections.ConfigDict, num_classes: int
) -> dict[str, int]:
  """The parameters of a model whose shape its number of classes decides.

  Found by building it, as shapes only, for one class more: so it holds for any
  model, whatever its head is called and however many it has.

  Returns:
    {'head.kernel': 1, 'head.bias': 0}: names, and the axis of the classes.
  """
  few, more = (
    traverse_util.flatten_dict(
      nnx.to_pure_dict(nnx.state(nnx.eval_shape(build), nnx.Param))
    )
    for build in (
      functools.partial(build_model, config, num_classes + i) for i in range(2)
    )
  )
  return {
    dotted(path): axis
    for path, value in few.items()
    for axis, size in enumerate(value.shape)
    if size != more[path].shape[axis]
  }


def dotted(path: tuple) -> str:
  """('stages', 0, 'pos') -> 'stages.0.pos'; list positions may be either."""
  return '.'.join(map(str, path))
