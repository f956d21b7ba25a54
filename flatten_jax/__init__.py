# SPDX-License-Identifier: Apache-2.0
"""Video action recognition with ordinary image classifiers, in JAX.

import flatten_jax as fj

images = fj.flatten(clips)  # [B T H W C] -> [B r*H c*W C]
model = fj.create_model('uniformer_xxs', num_classes=400)
logits = model(images)
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from flatten_jax.evaluation.evaluate import evaluate
  from flatten_jax.evaluation.results import score_workdir
  from flatten_jax.experiments.ablation import ablate
  from flatten_jax.experiments.cross_validation import (
    cross_validate,
    evaluate_folds,
  )
  from flatten_jax.explanation.explain import explain
  from flatten_jax.explanation.grad_cam import grad_cam
  from flatten_jax.exporting.export import export
  from flatten_jax.flattening import (
    Flattened,
    flatten,
    frame_order,
    grid_shape,
    unflatten,
  )
  from flatten_jax.models import (
    create_model,
    export_torch,
    list_models,
    load_torch,
  )
  from flatten_jax.prediction.predict import predict
  from flatten_jax.profiling.profile import profile
  from flatten_jax.reporting.cost_table import cost_table
  from flatten_jax.reporting.curves import draw_runs
  from flatten_jax.reporting.html_report import report
  from flatten_jax.reporting.index_videos import index_videos
  from flatten_jax.reporting.inspect_inputs import inspect_inputs
  from flatten_jax.runtime.cost import cost
  from flatten_jax.training.loop import train_and_evaluate

__all__ = [
  'Flattened',
  'ablate',
  'cost',
  'cost_table',
  'create_model',
  'cross_validate',
  'draw_runs',
  'evaluate',
  'evaluate_folds',
  'explain',
  'export',
  'export_torch',
  'flatten',
  'frame_order',
  'grad_cam',
  'grid_shape',
  'index_videos',
  'inspect_inputs',
  'list_models',
  'load_torch',
  'predict',
  'profile',
  'report',
  'score_workdir',
  'train_and_evaluate',
  'unflatten',
]

# Imported when first used: a process that only decodes video never loads jax.
_HOMES = {
  'Flattened': 'flattening',
  'ablate': 'experiments.ablation',
  'cost': 'runtime.cost',
  'cost_table': 'reporting.cost_table',
  'create_model': 'models',
  'cross_validate': 'experiments.cross_validation',
  'draw_runs': 'reporting.curves',
  'evaluate': 'evaluation.evaluate',
  'evaluate_folds': 'experiments.cross_validation',
  'export': 'exporting.export',
  'explain': 'explanation.explain',
  'export_torch': 'models',
  'flatten': 'flattening',
  'frame_order': 'flattening',
  'grad_cam': 'explanation.grad_cam',
  'grid_shape': 'flattening',
  'index_videos': 'reporting.index_videos',
  'inspect_inputs': 'reporting.inspect_inputs',
  'list_models': 'models',
  'load_torch': 'models',
  'predict': 'prediction.predict',
  'profile': 'profiling.profile',
  'report': 'reporting.html_report',
  'score_workdir': 'evaluation.results',
  'train_and_evaluate': 'training.loop',
  'unflatten': 'flattening',
}


def __getattr__(name: str):
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
  return __all__
