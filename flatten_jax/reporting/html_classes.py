# SPDX-License-Identifier: Apache-2.0
"""The classes on report.html: their scores, and the confusion matrix."""

from typing import Any

import numpy as np

from flatten_jax.evaluation import certainty, class_scores, metrics
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.reporting import html_figures, words

_MATRIX_CELLS = 30  # Classes up to which the confusion matrix is a table.
_COLUMNS = {'precision': 'precision', 'recall': 'recall', 'f1': 'F1'}


def of_labels(
  scores: dict[str, Any], predictions: Predictions
) -> dict[str, Any]:
  """Returns what differs between one label per video and several.

  Returns:
    The 'words' about the scores, 'interval_ends', the 'columns' of the table of
    classes with their 'means', and the 'measure', the column with a bar; of one
    label also the confusion.
  """
  if predictions.multi_label:
    return _of_several(scores)
  return _of_one(scores, predictions)


def _of_several(scores: dict[str, Any]) -> dict[str, Any]:
  """Returns what the page shows of videos that have several labels."""
  means = {key: scores[f'macro_{key}'] for key in class_scores.KEYS}
  return {
    'measure': 'ap',
    'columns': {'ap': 'AP'} | _COLUMNS,
    'means': {'ap': scores['map']} | means,
    'words': words.of_several_labels(scores),
    'interval_ends': certainty.interval_of(scores),
    'any_answer': any(entry['answers'] for entry in scores['class_scores']),
  }


def _of_one(scores: dict[str, Any], predictions: Predictions) -> dict[str, Any]:
  """Returns what the page shows of videos that have one label."""
  return {
    'measure': 'recall',
    'columns': _COLUMNS,
    'means': {key: scores[f'macro_{key}'] for key in class_scores.KEYS},
    'words': words.paragraph(scores, predictions.confusion()),
    'interval_ends': certainty.interval_of(scores),
  } | _confusion(predictions)


def table(
  predictions: Predictions, split: str, run: dict[str, Any]
) -> dict[str, Any]:
  """Returns the scores of all classes as a table, best first.

  Returns:
    'splits' whose numbers of videos run.json has and that were not tested; and
    'rows', those of `metrics.of_classes` with 'counts', by split.
  """
  classes = metrics.of_classes(predictions)
  counts = {
    name: numbers
    for name, numbers in run.get('class_videos', {}).items()
    if name != split and len(numbers) == len(classes)
  }
  rows = [
    entry | {'counts': {name: counts[name][i] for name in counts}}
    for i, entry in enumerate(classes)
  ]
  key = 'ap' if predictions.multi_label else 'recall'
  best = lambda c: (-(c[key] or 0), -(c['f1'] or 0), c['name'])  # noqa: E731
  rows = sorted(rows, key=lambda c: (not c['videos'], *best(c)))
  return {'splits': list(counts), 'rows': rows}


def _confusion(predictions: Predictions) -> dict[str, Any]:
  """Returns counts and shares of the label's videos [K K], or an image."""
  counts = predictions.confusion()
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  large = len(counts) > _MATRIX_CELLS
  return {
    'confusion_image': html_figures.confusion_image(shares) if large else None,
    'any_answer': bool(counts.any()),
    'counts': counts.tolist(),
    'shares': shares.tolist(),
  }
