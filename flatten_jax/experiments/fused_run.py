# SPDX-License-Identifier: Apache-2.0
"""A finished run to be fused: its predictions, scores and cost."""

import dataclasses
import pathlib
import re
from typing import Any

from flatten_jax.evaluation import results
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views


@dataclasses.dataclass(frozen=True)
class Part:
  """One of the runs that are fused.

  Attributes:
    run: workdir, or a file of predictions, as it was given.
    split: that it was tested on.
    predictions: of its test.
    scores: its entry of results.json; empty if there is none.
  """

  run: str
  split: str
  predictions: Predictions
  scores: dict[str, Any]

  @classmethod
  def read(cls, run: pathlib.Path) -> 'Part':
    """Reads the run's own test, or the one of a file predictions_NAME.npz.

    Raises:
      FileNotFoundError: the run was not evaluated.
      ValueError: the name of a file does not begin with its split.
    """
    if run.suffix == '.npz':
      if not re.fullmatch(r'predictions_(train|val|test)(_.+)?', run.stem):
        raise ValueError(
          f'{run}: expected a name such as predictions_test.npz or '
          'predictions_val_3x4.npz, which tells the split. Give the workdir of '
          'the run, or the file that --mode=evaluate has written there.'
        )
      name, workdir = run.stem.removeprefix('predictions_'), run.parent
      scores = results.read_all(workdir).get(name, {})
      split = name.partition('_')[0]
    else:
      split, scores = results.tested(run)
      run, name = run / f'predictions_{split}.npz', str(run)
    if not run.is_file():
      raise FileNotFoundError(f'There is no {run}; --mode=evaluate writes it.')
    return cls(name, split, Predictions.load(run), scores)

  def cost(self) -> dict[str, Any]:
    """Returns GFLOPs of all views of a video, and parameters, if known."""
    if 'gflops_per_view' not in self.scores:
      return {}
    count = views.parse(self.scores['views']).count
    gflops = self.scores['gflops_per_view'] * count
    return {
      'gflops_per_video': gflops,
      'params_m': self.scores['params_m'],
      'step': self.scores['step'],
    }


def train_file(run: pathlib.Path) -> pathlib.Path:
  """Returns the predictions of a run for its training videos.

  Raises:
    FileNotFoundError: there are none.
  """
  folder = run.parent if run.suffix == '.npz' else run
  path = folder / 'predictions_train.npz'
  if not path.is_file():
    text = f'It is written by --mode=evaluate --split=train --workdir={folder}'
    if any('method' in scores for scores in results.read_all(folder).values()):
      text = f'{folder} is a fusion: give the runs that it fuses in its place.'
    raise FileNotFoundError(
      f'There is no {path}, which an SVM is trained on. {text}'
    )
  return path
