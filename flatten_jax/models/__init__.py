# SPDX-License-Identifier: Apache-2.0
"""Image classifiers by name: `create_model('uniformer_xxs', num_classes=10)`.

A model takes images [B H W 3] or, with `takes_clips = True`, clips [B T H W 3],
and has `features` and `classify`. With `takes_positions = True` it also takes
the numbers of the frames, `positions` [B T]. `entries/` has all models.
"""

from flatten_jax.models.entries.entry import ModelEntry, PublishedWeights
from flatten_jax.models.factory import (
  DTYPES,
  check_options,
  check_weights,
  create_model,
  input_spec,
  list_models,
  load_pretrained,
  takes_clips,
  takes_size,
  weights_options,
)
from flatten_jax.models.input_specs import (
  IMAGENET_MEAN,
  IMAGENET_STD,
  InputSpec,
)
from flatten_jax.models.registry import MODELS
from flatten_jax.models.tsn import Averaged, split_averaged
from flatten_jax.models.weights.conversion import export_torch, load_torch

__all__ = [
  'DTYPES',
  'IMAGENET_MEAN',
  'IMAGENET_STD',
  'MODELS',
  'Averaged',
  'InputSpec',
  'ModelEntry',
  'PublishedWeights',
  'check_options',
  'check_weights',
  'create_model',
  'export_torch',
  'input_spec',
  'list_models',
  'load_pretrained',
  'load_torch',
  'split_averaged',
  'takes_clips',
  'takes_size',
  'weights_options',
]
