# SPDX-License-Identifier: Apache-2.0
"""Video action recognition with ordinary image classifiers, in JAX.

import flatten_jax as fj

images = fj.flatten(clips)  # [B T H W C] -> [B r*H c*W C]
model = fj.create_model('uniformer_xxs', num_classes=400)
logits = model(images)
"""

from flatten_jax.analysis.cost import cost
from flatten_jax.flattening import (
  Flattened,
  flatten,
  frame_order,
  grid_shape,
  unflatten,
)
from flatten_jax.models import create_model, list_models, load_torch
from flatten_jax.train.evaluate import evaluate
from flatten_jax.train.loop import train_and_evaluate
from flatten_jax.train.scoring import score_workdir as score

__all__ = [
  'Flattened',
  'cost',
  'create_model',
  'evaluate',
  'flatten',
  'frame_order',
  'grid_shape',
  'list_models',
  'load_torch',
  'score',
  'train_and_evaluate',
  'unflatten',
]
