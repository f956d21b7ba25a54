# SPDX-License-Identifier: Apache-2.0
"""What an accuracy hides: which classes are found, and what they are taken for.

`details` goes into results.json, `markdown` makes a page of it for people.
"""

import math
from typing import Any

import numpy as np

from flatten_jax.evaluation.metrics import Predictions, cost_line, summary

SHOWN = 10  # Classes at either end, and pairs.


def details(predictions: Predictions) -> dict[str, Any]:
  """The best and worst classes and the most confused pairs.

  Only videos that could be read, and whose label is known, count.

  Returns:
    'best_classes' and 'worst_classes', each a list of {'name', 'top1' in
    percent, 'videos'}, up to ten, together no class twice; and 'confused', up
    to ten of {'label', 'answer', 'videos', 'of'}: so many of all videos of the
    label got that answer.
  """
  confusion = predictions.confusion()
  classes = per_class(predictions)
  worst = sorted(classes, key=lambda c: (c['top1'], -c['videos'], c['name']))
  half = len(classes) / 2
  return {
    'best_classes': classes[: min(SHOWN, math.ceil(half))],
    'worst_classes': worst[: min(SHOWN, math.floor(half))],
    'confused': confused_pairs(confusion, predictions.class_names),
  }


def per_class(predictions: Predictions) -> list[dict[str, Any]]:
  """Every class that has videos, best first: 'name', 'top1' in %, 'videos'."""
  confusion = predictions.confusion()
  totals = confusion.sum(1)
  classes = [
    {
      'name': name,
      'top1': 100 * float(confusion[i, i] / totals[i]),
      'videos': int(totals[i]),
    }
    for i, name in enumerate(predictions.class_names)
    if totals[i]
  ]
  # Of equals, the one with more videos says more.
  return sorted(classes, key=lambda c: (-c['top1'], -c['videos'], c['name']))


def confused_pairs(
  confusion: np.ndarray, names: tuple[str, ...]
) -> list[dict[str, Any]]:
  """The largest entries off the diagonal of [K K], largest first."""
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


def markdown(split: str, scores: dict[str, Any]) -> str:
  """A page: scores, what they cost, classes, pairs.

  Args:
    split: its name.
    scores: what results.json says of it, with `details`.
  """
  lines = [f'# {split}', '', summary(split, scores) + '.', '']
  cost = cost_line(scores)
  if cost:
    lines += [cost, '']
  for key, title in (
    ('best_classes', 'Classes found best'),
    ('worst_classes', 'Classes found worst'),
  ):
    lines += [
      f'## {title}',
      '',
      '| class | top-1 % | videos |',
      '|---|--:|--:|',
    ]
    lines += [
      f'| {cell(c["name"])} | {c["top1"]:.1f} | {c["videos"]} |'
      for c in scores[key]
    ]
    lines.append('')
  lines += ['## Most confused', '']
  if not scores['confused']:
    return '\n'.join([*lines, 'No video got a wrong answer.', ''])
  lines += ['| label | taken for | videos | of |', '|---|---|--:|--:|']
  lines += [
    f'| {cell(pair["label"])} | {cell(pair["answer"])} '
    f'| {pair["videos"]} | {pair["of"]} |'
    for pair in scores['confused']
  ]
  return '\n'.join([*lines, ''])


def cell(text: str) -> str:
  """A name that may hold what divides a table."""
  return text.replace('|', '\\|')


def console(scores: dict[str, Any]) -> str:
  """The same for a terminal, a line each."""
  parts = {
    'Best classes': [
      f'{c["name"]} {c["top1"]:.1f} %' for c in scores['best_classes']
    ],
    'Worst classes': [
      f'{c["name"]} {c["top1"]:.1f} %' for c in scores['worst_classes']
    ],
    'Most confused': [
      f'{p["label"]} taken for {p["answer"]} ({p["videos"]} of {p["of"]})'
      for p in scores['confused']
    ],
  }
  return '\n'.join(
    f'{title}:\n  ' + '\n  '.join(items or ['none'])
    for title, items in parts.items()
  )
