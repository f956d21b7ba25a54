# SPDX-License-Identifier: Apache-2.0
"""Best and worst classes and confused pairs, computed by hand."""

import numpy as np
import pytest

from flatten_jax.evaluation import metrics, report
from flatten_jax.evaluation.metrics import Predictions


def predictions(pairs, names, unreadable=0):
  """Returns a video per (label, answer), and `unreadable` more."""
  labels = [label for label, _ in pairs] + [0] * unreadable
  logits = np.zeros((len(labels), len(names)), np.float32)
  for row, (_, answer) in enumerate(pairs):
    logits[row, answer] = 1
  return Predictions(
    ids=np.array([str(i) for i in range(len(labels))]),
    labels=np.array(labels),
    logits=logits,
    scored=np.arange(len(labels)) < len(pairs),
    class_names=tuple(names),
    views='16x4x3x2',
  )


PAIRS = [(0, 0), (0, 1), (0, 1), (1, 1), (1, 2), (2, 2), (2, 2)]
NAMES = ['x', 'y', 'z|z', 'unseen']
COST = {'gflops_per_view': 0.5, 'params_m': 1.25}


def test_classes_and_pairs_by_hand():
  found = report.details(predictions(PAIRS, NAMES, unreadable=2))
  best = [
    (c['name'], round(c['top1']), c['videos']) for c in found['best_classes']
  ]
  worst = [
    (c['name'], round(c['top1']), c['videos']) for c in found['worst_classes']
  ]
  assert best == [('z|z', 100, 2), ('y', 50, 2)]
  assert worst == [('x', 33, 3)]  # A class without videos is left out.
  assert found['confused'] == [
    {'label': 'x', 'answer': 'y', 'videos': 2, 'of': 3},
    {'label': 'y', 'answer': 'z|z', 'videos': 1, 'of': 2},
  ]


def test_ten_classes_at_either_end_and_none_twice():
  names = [f'c{i:02}' for i in range(25)]
  pairs = [(i, i if i % 2 else 0) for i in range(25)]
  found = report.details(predictions(pairs, names))
  ends = found['best_classes'] + found['worst_classes']
  assert len(ends) == len({c['name'] for c in ends}) == 20
  assert len(found['confused']) == 10


def test_equal_classes_are_neither_best_nor_worst():
  found = report.details(predictions([(0, 0), (1, 1)], NAMES))
  assert found['best_classes'] == found['worst_classes'] == []


@pytest.mark.parametrize(
  ('right', 'best', 'worst'),
  [
    # Videos with the right answer, of two, by class.
    ([2, 2, 2, 1], 'abc', 'd'),
    ([2, 1, 1, 1], 'a', 'bcd'),
    ([2, 1, 1, 0], 'abc', 'd'),
    ([2, 0], 'a', 'b'),
    ([2, 1, 0], 'ab', 'c'),
    ([1, 1], '', ''),
    ([2], '', ''),
  ],
)
def test_no_top1_is_among_the_best_and_the_worst(right, best, worst):
  pairs = [
    (i, i if k < hits else len(right))
    for i, hits in enumerate(right)
    for k in range(2)
  ]
  names = [*'abcd'[: len(right)], 'unseen']
  found = report.details(predictions(pairs, names))
  assert {c['name'] for c in found['best_classes']} == set(best)
  assert {c['name'] for c in found['worst_classes']} == set(worst)
  assert found['unscored_classes'] == ['unseen']


def test_every_class_of_a_tie_is_listed_once():
  """Six classes at 100 %, five at 0 %: more ties than fit one list."""
  names = [f'c{i:02}' for i in range(11)]
  pairs = [(i, i if i < 6 else 0) for i in range(11)]
  found = report.details(predictions(pairs, names))
  best = [c['name'] for c in found['best_classes']]
  worst = [c['name'] for c in found['worst_classes']]
  assert best + worst[::-1] == names


def test_the_page_holds_scores_cost_classes_and_pairs():
  ours = predictions(PAIRS, NAMES, unreadable=2)
  scores = metrics.compute_metrics(ours) | report.details(ours) | COST
  scores['warnings'] = ['Only 7 test videos.']
  page = ' '.join(report.markdown('test', scores).split())
  assert 'top-1 57.14 % (4 of 7; 95 %: 25 to 84)' in page
  assert 'not better than chance, 42.9 % (most frequent class, x)' in page
  assert '7 of 9 videos scored' in page
  assert 'Only 7 test videos.' in page
  assert 'top-5' not in page  # It is 100 % of any four classes.
  assert '1 classes have no scored video: unseen.' in page
  assert 'views 16x4x3x2' in page
  assert '16 px, 4 frames, 3 crops, 2 clips' in page
  assert '0.5 GFLOPs x 6 views = 3 GFLOPs per video' in page
  assert '| z\\|z | 100.0 | 2 |' in page
  assert '| x | y | 2 | 3 |' in page
  assert 'z|z 100.0 2' in ' '.join(report.console(scores).split())


def test_perfect_predictions_and_none_make_a_page():
  for pairs in ([(0, 0), (1, 1)], []):
    ours = predictions(pairs, NAMES, unreadable=1)
    scores = metrics.compute_metrics(ours) | report.details(ours) | COST
    page = report.markdown('val', scores)
    assert ('No video was misclassified.' in page) == bool(pairs)
    assert ('no accuracy; 0 of 1 videos scored' in page) == (not pairs)
