# SPDX-License-Identifier: Apache-2.0
"""Sends the scores of a test, and its confusion matrix, to a run's loggers."""

from collections.abc import Iterable, Mapping
import io
import logging
import pathlib
from typing import Any

import numpy as np
import PIL.Image

from flatten_jax.evaluation import metrics
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.runtime.workdir import run_log, workdirs
from flatten_jax.text import escape_mathtext, save_figure, wrap

log = logging.getLogger('flatten_jax')

NAMED = 40  # Classes whose names fit along a confusion matrix.


def write(
  board: run_log.RunLog,
  workdir: pathlib.Path,
  scores: Mapping[str, Any],
  group: str = 'test',
) -> None:
  """Gives the loggers the scores of a test and its confusion matrix.

  Args:
    board: of the run.
    workdir: with the files of the test.
    scores: of `evaluate.evaluate_splits`; {} without a test.
    group: what the names of the scores begin with.
  """
  if not scores or not board.enabled:
    return
  step = scores['step']
  keys = metrics.logged(scores)
  board.write_scores(step, {f'{group}/{key}': scores[key] for key in keys})
  if 'map' in scores:
    return  # Several labels have no confusion matrix.
  file = workdir / f'predictions_{scores["name"]}.npz'
  predictions = Predictions.load(file)
  picture = confusion(predictions.confusion(), predictions.class_names)
  board.write_images(step, {f'{group}/confusion': picture})


def write_later(
  loggers: Iterable[str],
  workdir: pathlib.Path,
  scores: Mapping[str, Any],
  group: str,
) -> None:
  """Does the same after the training; what the loggers have stays.

  A logger that cannot be opened, or a training that goes on in `workdir`, is a
  warning: the results are in the workdir.
  """
  if not scores:
    return
  rows = [{'step': scores['step']}]
  if (workdir / 'metrics.jsonl').exists():
    rows += run_log.read_metrics(workdir)
  last = int(max(row['step'] for row in rows))  # Nothing is dropped after it.
  try:
    with (
      workdirs.exclusive(workdir),
      run_log.RunLog(workdir, last, loggers) as board,
    ):
      write(board, workdir, scores, group)
  except RuntimeError as error:
    log.warning('The loggers of the run do not get these scores: %s', error)


def confusion(counts: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
  """Draws a confusion matrix. counts [K K] -> uint8 [H W 3].

  Each row is a class, in shares of its videos. Up to 40 classes have names and
  numbers.
  """
  from matplotlib.figure import Figure  # Most of a training does without.

  few = len(names) <= NAMED
  inches = min(max(4.0, 0.3 * len(names) + 2), 12.0)
  figure = Figure((inches, inches), layout='constrained')
  axes = figure.subplots()
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
  axes.set(xlabel='answer', ylabel='label')
  if few:
    labels = [escape_mathtext(wrap(name, 24, 1)) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    for row, column in np.argwhere(counts):
      color = 'white' if shares[row, column] > 0.5 else 'black'
      text = str(counts[row, column])
      axes.text(column, row, text, ha='center', va='center', color=color)
  file = io.BytesIO()
  save_figure(figure, file, dpi=100)
  return np.asarray(PIL.Image.open(file).convert('RGB'))
