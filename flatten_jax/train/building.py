# SPDX-License-Identifier: Apache-2.0
"""The model that a config describes."""

from flax import nnx
import ml_collections

from flatten_jax import flattening
from flatten_jax.models import create_model, foreign
from flatten_jax.train import batch_norm, model_inputs


def image_shape(config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Height and width of what the model sees at once, in pixels."""
  if model_inputs.takes_clips(config):
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
  if foreign.is_path(name):
    options['image_shape'] = image_shape(config)
  rngs = nnx.Rngs(config.seed)
  model = create_model(name, num_classes=num_classes, rngs=rngs, **options)
  batch_norm.set_groups(model, config.get('batch_norm_groups', 1) or 1)
  return model
