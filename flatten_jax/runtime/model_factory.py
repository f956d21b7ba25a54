# SPDX-License-Identifier: Apache-2.0
"""Builds the model of a config."""

import functools

from flax import nnx, traverse_util
import ml_collections

from flatten_jax import flattening, importing
from flatten_jax.inputs.flow import fields
from flatten_jax.models import Averaged, create_model
from flatten_jax.models.classifier import WindowClassifier
from flatten_jax.models.layers import random_streams
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.cost import Cost, cost
from flatten_jax.runtime.devices import batch_norm


def image_shape(
  config: ml_collections.ConfigDict, side: int = 0
) -> tuple[int, int]:
  """Returns height and width of the model's input in pixels.

  Args:
    config: filled.
    side: of a frame, if it is not `config.data.crop`.
  """
  side = side or config.data.crop
  if preprocess.takes_clips(config):
    return side, side
  grid = tuple(config.grid) or None
  rows, columns = flattening.grid_shape(config.data.num_frames, grid)
  return rows * side, columns * side


def build_model(
  config: ml_collections.ConfigDict, num_classes: int
) -> nnx.Module:
  """Builds the config's model with random weights from its seed."""
  options = config.model.to_dict()
  name = options.pop('name')
  options.pop('pretrained')
  options['in_channels'] = fields.num_channels(config.data)
  if importing.is_path(name):
    options['image_shape'] = image_shape(config)
  rngs = random_streams.make(config.seed)
  model = create_model(name, num_classes=num_classes, rngs=rngs, **options)
  batch_norm.prepare(model, config)
  set_task(model, config)
  return model


def set_task(model: nnx.Module, config: ml_collections.ConfigDict) -> None:
  """Tells a model that averages probabilities which ones its logits mean."""
  if config.data.multi_label and isinstance(model, WindowClassifier):
    model.multi_label = True


def cost_of(
  config: ml_collections.ConfigDict,
  num_classes: int,
  num_frames: int,
  side: int,
) -> Cost:
  """Counts the cost of a clip of this length and side, and the parameters."""
  build = functools.partial(build_model, config, num_classes)
  model = nnx.eval_shape(build)
  return cost(
    Averaged(model) if config.clip_model == 'average' else model,
    frames=num_frames,
    resolution=side,
    mode=config.flatten,
    grid=tuple(config.grid) or None,
  )


def head_axes(
  config: ml_collections.ConfigDict, num_classes: int
) -> dict[str, int]:
  """Finds the parameters whose shape depends on the number of classes.

  Compares the shapes with those for one class more, which works for any model
  with any number of heads.

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
  """Joins a path of names and list indices, 'stages.0.pos'."""
  return '.'.join(map(str, path))
