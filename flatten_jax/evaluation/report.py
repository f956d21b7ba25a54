# SPDX-License-Identifier: Apache-2.0
"""Scores of classes and confused pairs, for results.json and people."""

from typing import Any

import numpy as np
import tabulate

from flatten_jax.evaluation import calibration, class_scores, fusion
from flatten_jax.evaluation.metrics import (
  Predictions,
  calibration_bins,
  cost_line,
  of_classes,
  percent,
  summary,
  thresholds_text,
)
from flatten_jax.evaluation.order import reading
from flatten_jax.text import sanitize

SHOWN = 10  # Classes at either end, and pairs.


def details(predictions: Predictions) -> dict[str, Any]:
  """Returns the best and worst classes and the most confused pairs.

  Only videos that could be read and whose label is known count.

  Returns:
    'best_classes' and 'worst_classes', each a list of up to ten {'name', 'top1'
    in percent, 'videos'}, best and worst first. No top-1 is in both, so both
    are empty if all classes are equally good. 'more_best' and 'more_worst'
    count the classes that would be next with the top-1 of the last one.
    'confused' is a list of up to ten {'label', 'answer', 'videos', 'of'}: of
    the `of` videos of a label, `videos` got that answer. 'unscored_classes'
    are the names of classes without scored videos. And those of
    `details_of_all`. Of several labels, 'ap' takes the place of 'top1', and
    nothing is confused.
  """
  classes, found = per_class(predictions), {}
  key_of = measure(predictions.multi_label)
  halves = _halves(classes, key_of)
  for key, half in zip(('best', 'worst'), halves, strict=True):
    found[f'{key}_classes'], others = half[:SHOWN], half[SHOWN:]
    found[f'more_{key}'] = sum(
      entry[key_of] == half[SHOWN - 1][key_of] for entry in others
    )
  scored = {entry['name'] for entry in classes}
  unscored = [name for name in predictions.class_names if name not in scored]
  found['confused'] = []
  if not predictions.multi_label:
    found['confused'] = confused_pairs(predictions)
  found['unscored_classes'] = unscored
  return found | details_of_all(predictions)


def measure(multi_label: bool) -> str:
  """Returns the key of what classes are compared by."""
  return 'ap' if multi_label else 'top1'


def details_of_all(predictions: Predictions) -> dict[str, Any]:
  """Returns what there is of every class and of every level of probability.

  Returns:
    'class_scores', see `class_scores.of_classes`, and 'calibration', see
    `calibration.bins`.
  """
  return {
    'class_scores': of_classes(predictions),
    'calibration': calibration_bins(predictions),
  }


def per_class(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns every class with videos, best first: 'name', 'top1' (%), 'videos'.

  Ties are in order of the number of videos, then of the name. 'ap' takes the
  place of 'top1' where videos have several labels.
  """
  key = measure(predictions.multi_label)
  score = 'ap' if predictions.multi_label else 'recall'
  classes = [
    {'name': entry['name'], key: entry[score], 'videos': entry['videos']}
    for entry in of_classes(predictions)
    if entry['videos']
  ]
  return sorted(classes, key=lambda c: (-c[key], -c['videos'], c['name']))


def _halves(classes: list[dict[str, Any]], key: str) -> tuple[list, list]:
  """Divides classes, best first, into the better and the worse, worst first.

  Classes of one value stay together; both are empty if all have the same.
  """
  values = [entry[key] for entry in classes]
  if not (above_worst := [value for value in values if value > values[-1]]):
    return [], []
  least = max(values[(len(values) - 1) // 2], above_worst[-1])
  count = sum(value >= least for value in values)
  return classes[:count], classes[: count - 1 : -1]


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
  parts = [f'# {name}', summary(name, scores) + '.']
  parts += scores.get('warnings', ())
  if 'runs' in scores:
    rows = fusion.fused_rows(scores)
    table = tabulate.tabulate(rows, 'keys', 'pipe', disable_numparse=True)
    parts += [f'Fused by {scores["method"]}:', table]
  else:
    parts.append(cost_line(scores))
  if 'protocol' in scores:
    values = (f'{key} {value}' for key, value in scores['protocol'].items())
    parts.append(f'Protocol: {", ".join(values)}.')
  if unscored := scores.get('unscored_classes'):
    names = ', '.join(unscored[:SHOWN]) + ', ...' * (len(unscored) > SHOWN)
    parts.append(f'{len(unscored)} classes have no scored video: {names}.')
  for title, table in _tables(scores, 'pipe').items():
    parts += [f'## {title}', table]
  if scores['scored'] and not scores['confused'] and 'map' not in scores:
    parts.append('No video was misclassified.')
  if scores['scored'] and 'class_scores' in scores:
    parts += ['## All classes', *class_section(scores)]
  if scores.get('order'):
    parts.append(order_section(scores, 'pipe'))
  return '\n\n'.join(parts) + '\n'


def class_section(scores: dict[str, Any]) -> list[str]:
  """Returns the means over classes, the calibration, and a row per class."""
  keys, titles = class_scores.KEYS, ['precision %', 'recall %', 'F1 %']
  if several := 'map' in scores:
    keys, titles = ('ap', *keys), ['AP %', *titles]
  means = ', '.join(
    f'{key.replace("f1", "F1")} {percent(scores[f"macro_{key}"], 1)} %'
    for key in class_scores.KEYS
  )
  lines = [f'Means over classes: {means}.']
  if several:
    lines.append(
      'AP is the average precision, of all thresholds. Precision, recall and '
      f'F1 are of {thresholds_text(scores)}.'
    )
  if (error := scores.get('calibration_error')) is not None:
    lines.append(
      f'Expected calibration error: {error:.1f} points, '
      f'of {calibration.BINS} bins.'
    )
  rows = [
    [_cell(entry['name'], 'pipe')]
    + [_share(entry[key]) for key in keys]
    + [entry['videos'], entry['answers']]
    + ([f'{entry["threshold"]:.3f}'] if several else [])
    for entry in scores['class_scores']
  ]
  names = ['class', *titles, 'videos', 'answers'] + ['threshold'] * several
  aligned = ['left'] + ['right'] * (len(names) - 1)
  options = {'disable_numparse': True, 'colalign': aligned}
  return [*lines, tabulate.tabulate(rows, names, 'pipe', **options)]


def _share(value: float | None) -> str:
  return '-' if value is None else percent(value, 1)


def order_section(scores: dict[str, Any], form: str = 'plain') -> str:
  """Returns the table of `config.order_report` with its heading."""
  order = scores['order']
  heading = (
    f'What the order of frames brings, on {order["videos"]} videos '
    f'(made in {order["seconds"]:.0f} s)'
  )
  heading = f'## {heading}\n' if form == 'pipe' else f'{heading}:'
  return f'{heading}\n{reading.text(order, form)}'


def console(scores: dict[str, Any]) -> str:
  """Returns the tables for a terminal."""
  tables = _tables(scores, 'plain')
  return '\n'.join(f'{title}:\n{table}' for title, table in tables.items())


def _tables(scores: dict[str, Any], form: str) -> dict[str, str]:
  """Returns title -> table, in a format of tabulate, without empty tables."""
  tables, key_of = {}, measure('map' in scores)
  classes = 'class', {'ap': 'AP %', 'top1': 'top-1 %'}[key_of], 'videos'
  for title, key, names in (
    ('Best classes', 'best_classes', classes),
    ('Worst classes', 'worst_classes', classes),
    ('Most confused', 'confused', ('label', 'predicted as', 'videos', 'of')),
  ):
    if more := scores.get(f'more_{key.removesuffix("_classes")}'):
      last = percent(scores[key][-1][key_of], 1)
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
