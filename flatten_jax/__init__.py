# SPDX-License-Identifier: Apache-2.0
"""Video action recognition with ordinary image classifiers, in JAX.

import flatten_jax as fj

images = fj.flatten(clips)  # [B T H W C] -> [B r*H c*W C]
model = fj.create_model('uniformer_xxs', num_classes=400)
logits = model(images)
"""

import sys

__version__ = '0.1.0'

if sys.platform == 'win32':
  raise ImportError(
    'flatten_jax runs on Linux and macOS. On Windows use it in WSL: '
    'https://learn.microsoft.com/windows/wsl/install'
  )

from etils import epy

# Each name is imported when it is first used: a process that only decodes video
# never loads jax. `as` marks names as public for type checkers.
with epy.lazy_api_imports(globals()):
  from flatten_jax.checkpoints.create_model import create_model as create_model
  from flatten_jax.compiling.compile_for import compile_for as compile_for
  from flatten_jax.demo.server import launch_demo as launch_demo
  from flatten_jax.evaluation.evaluate import evaluate as evaluate
  from flatten_jax.evaluation.results import score_workdir as score_workdir
  from flatten_jax.experiments.ablation import ablate as ablate
  from flatten_jax.experiments.compare import compare as compare
  from flatten_jax.experiments.cross_validation import (
    cross_validate as cross_validate,
    evaluate_folds as evaluate_folds,
  )
  from flatten_jax.experiments.fusion import fuse as fuse
  from flatten_jax.explanation.explain import explain as explain
  from flatten_jax.explanation.grad_cam import grad_cam as grad_cam
  from flatten_jax.exporting.export import export as export
  from flatten_jax.flattening import (
    Flattened as Flattened,
    flatten as flatten,
    frame_order as frame_order,
    grid_shape as grid_shape,
    unflatten as unflatten,
  )
  from flatten_jax.models import (
    Averaged as Averaged,
    export_torch as export_torch,
    list_models as list_models,
    load_torch as load_torch,
  )
  from flatten_jax.prediction.classifier import (
    VideoClassifier as VideoClassifier,
    from_pretrained as from_pretrained,
    load as load,
  )
  from flatten_jax.prediction.predict import predict as predict
  from flatten_jax.prediction.stream import stream as stream
  from flatten_jax.profiling.batch_size import (
    find_batch_size as find_batch_size,
  )
  from flatten_jax.profiling.lr_range import lr_range as lr_range
  from flatten_jax.profiling.profile import profile as profile
  from flatten_jax.publishing.push import push as push
  from flatten_jax.reporting.cost_table import cost_table as cost_table
  from flatten_jax.reporting.curves import draw_runs as draw_runs
  from flatten_jax.reporting.html_report import report as report
  from flatten_jax.reporting.index_videos import index_videos as index_videos
  from flatten_jax.reporting.inspect_inputs import (
    inspect_inputs as inspect_inputs,
  )
  from flatten_jax.reporting.model_table import model_table as model_table
  from flatten_jax.runtime.cost import cost as cost
  from flatten_jax.runtime.video_dataset import VideoDataset as VideoDataset
  from flatten_jax.training.loop import train_and_evaluate as train_and_evaluate

# The names above, which are not in globals() until they are used.
__all__ = sorted(set(globals()['__dir__']()) - set(globals()))


def __dir__() -> list[str]:
  return __all__
