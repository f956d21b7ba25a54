# SPDX-License-Identifier: Apache-2.0
"""Best and worst classes and confused pairs, for results.json and people."""

from typing import Any

import numpy as np
import tabulate

from flatten_jax.evaluation.metrics import (
  Predictions,
  cost_line,
  percent,
  summary,
)
from flatten_jax.text import sanitize

SHOWN = 10  # Classes at either end, and pairs.


def details(predictions: Predictions) -> dict[str, Any]:
  """Returns the best and worst classes and the most confused pairs.

  Only videos that could be read and whose label is known count.

  Returns:
    'best_classes' and 'worst_classes', each a list of up to ten {'name', 'top1'
    in percent, 'videos'}, best and worst first; no class is in both, nor has
    one the top-1 of a class in the other, so both are empty if all classes are
    equally good. 'confused' is a list of up to ten {'label', 'answer',
    'videos', 'of'}: of the `of` videos of a label, `videos` got that answer.
    'more_best' and 'more_worst' count the classes that would be next in a list
    with the top-1 of its last one. 'unscored_classes' are the names of classes
    without scored videos.
  """
  classes = per_class(predictions)
  best, worst = best_and_worst(classes)
  scored = {entry['name'] for entry in classes}
  return {
    'best_classes': best[:SHOWN],
    'worst_classes': worst[:SHOWN],
    'more_best': _more_of_last(best),
    'more_worst': _more_of_last(worst),
    'confused': confused_pairs(predictions),
    'unscored_classes': [
      name for name in predictions.class_names if name not in scored
    ],
  }


def per_class(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns every class with videos, best first: 'name', 'top1' (%), 'videos'.

  Ties are in order of the number of videos, then of the name.
  """
  known = predictions.known
  labels = predictions.labels[known]
  right = labels == predictions.answers[known]
  count = len(predictions.class_names)
  totals = np.bincount(labels, minlength=count)
  hits = np.bincount(labels[right], minlength=count)
  classes = [
    {
      'name': name,
      'top1': 100 * float(hits[i] / totals[i]),
      'videos': int(totals[i]),
    }
    for i, name in enumerate(predictions.class_names)
    if totals[i]
  ]
  return sorted(classes, key=lambda c: (-c['top1'], -c['videos'], c['name']))


def best_and_worst(
  classes: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Divides classes, best first, into a better and a worse half, worst first.

  Classes of one top-1 stay together: if they are in the middle, they are with
  the better ones, unless there are none worse. Both are empty if all are equal.
  """
  if len({entry['top1'] for entry in classes}) < 2:
    return [], []
  middle = classes[(len(classes) - 1) // 2]['top1']
  if middle == classes[-1]['top1']:
    better = [entry for entry in classes if entry['top1'] > middle]
  else:
    better = [entry for entry in classes if entry['top1'] >= middle]
  return better, classes[: len(better) - 1 : -1]


def _more_of_last(classes: list[dict[str, Any]]) -> int:
  """Counts classes that are not shown, with the top-1 of the last shown."""
  others = classes[SHOWN:]
  return sum(c['top1'] == classes[SHOWN - 1]['top1'] for c in others)


def confused_pairs(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns the largest off-diagonal entries of the confusion matrix."""
  confusion, names = predictions.confusion(), predictions.class_names
  wrong = confusion * ~np.eye(len(names), dtype=bool)
  totals = confusion.sum(1)
  order = np.argsort(-wrong, axis=None, kind='stable')[:SHOWN]
  return [
    {
      'label': names[label],
      'answer': names[answer],
      'videos': int(wrong[label, answer]),
      'of': int(totals[label]),
    }
    for label, answer in zip(*np.unravel_index(order, wrong.shape), strict=True)
    if wrong[label, answer]
  ]


def markdown(name: str, scores: dict[str, Any]) -> str:
  """Returns a page with the scores, their cost and the tables.

  Args:
    name: of the result: the split, or 'test_3x4'.
    scores: the result, from results.json.
  """
  parts = [f'# {name}', summary(name, scores) + '.', cost_line(scores)]
  if 'protocol' in scores:
    values = (f'{key} {value}' for key, value in scores['protocol'].items())
    parts.append(f'Protocol: {", ".join(values)}.')
  if unscored := scores.get('unscored_classes'):
    names = ', '.join(unscored[:SHOWN]) + ', ...' * (len(unscored) > SHOWN)
    parts.append(f'{len(unscored)} classes have no scored video: {names}.')
  for title, table in _tables(scores, 'pipe').items():
    parts += [f'## {title}', table]
  if scores['scored'] and not scores['confused']:
    parts.append('No video was misclassified.')
  return '\n\n'.join(parts) + '\n'


def console(scores: dict[str, Any]) -> str:
  """Returns the tables for a terminal."""
  tables = _tables(scores, 'plain')
  return '\n'.join(f'{title}:\n{table}' for title, table in tables.items())


def _tables(scores: dict[str, Any], form: str) -> dict[str, str]:
  """Returns title -> table, in a format of tabulate, without empty tables."""
  tables = {}
  for title, key, names in (
    ('Best classes', 'best_classes', ('class', 'top-1 %', 'videos')),
    ('Worst classes', 'worst_classes', ('class', 'top-1 %', 'videos')),
    ('Most confused', 'confused', ('label', 'predicted as', 'videos', 'of')),
  ):
    if more := scores.get(f'more_{key.removesuffix("_classes")}'):
      last = percent(scores[key][-1]['top1'], 1)
      title += f' ({more} more have {last} %)'
    if scores[key]:
      rows = [[_cell(value, form) for value in r.values()] for r in scores[key]]
      # Class names may look like numbers.
      tables[title] = tabulate.tabulate(
        rows,
        names,
        form,
        disable_numparse=True,
        colalign=[
          'left' if isinstance(value, str) else 'right'
          for value in scores[key][0].values()
        ],
      )
  return tables


def _cell(value: str | float, form: str) -> str:
  if isinstance(value, float):
    return percent(value, 1)
  text = sanitize(str(value))
  return text.replace('|', '\\|') if form == 'pipe' else text
