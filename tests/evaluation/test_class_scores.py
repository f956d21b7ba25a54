# SPDX-License-Identifier: Apache-2.0
"""Precision, recall, F1 and calibration, computed by hand."""

import json

import numpy as np
import pytest

from flatten_jax.evaluation import calibration, class_scores, metrics, report
from flatten_jax.evaluation.metrics import Predictions


def predictions(pairs, names, unreadable=0, logit=1.0):
  """Returns a video per (label, answer), and `unreadable` more."""
  labels = [label for label, _ in pairs] + [0] * unreadable
  logits = np.zeros((len(labels), len(names)), np.float32)
  for row, (_, answer) in enumerate(pairs):
    logits[row, answer] = logit
  return Predictions(
    ids=np.array([str(i) for i in range(len(labels))]),
    labels=np.array(labels, np.int32),
    logits=logits,
    scored=np.arange(len(labels)) < len(pairs),
    class_names=tuple(names),
  )


def table(found):
  keys = 'precision', 'recall', 'f1', 'videos', 'answers'
  rounded = lambda x: x if x is None else round(x)  # noqa: E731
  return {c['name']: tuple(rounded(c[key]) for key in keys) for c in found}


PAIRS = [(0, 0), (0, 1), (0, 1), (1, 1), (1, 2), (2, 2), (2, 2)]


def test_classes_by_hand():
  ours = predictions(PAIRS, ['x', 'y', 'z', 'unseen'], unreadable=2)
  assert table(metrics.of_classes(ours)) == {
    'x': (100, 33, 50, 3, 1),
    'y': (33, 50, 40, 2, 3),
    'z': (67, 100, 80, 2, 3),
    'unseen': (None, None, None, 0, 0),
  }
  scores = metrics.compute_metrics(ours)
  assert scores['macro_precision'] == pytest.approx(200 / 3, abs=1e-5)
  assert scores['macro_recall'] == pytest.approx(scores['mean_class'], abs=1e-5)
  assert scores['macro_f1'] == pytest.approx(170 / 3, abs=1e-5)


def test_a_class_that_is_never_answered_has_no_precision():
  ours = predictions([(0, 0), (1, 0)], ['x', 'y', 'z'])
  assert table(metrics.of_classes(ours))['y'] == (None, 0, 0, 1, 0)
  scores = metrics.compute_metrics(ours)
  assert scores['macro_precision'] == 25  # 50 and 0; z has no videos.
  assert scores['macro_f1'] == pytest.approx(100 / 3, abs=1e-5)


def test_an_answer_that_is_not_finite_is_a_miss_without_a_class():
  ours = predictions([(0, 0), (0, 0), (1, 1)], ['x', 'y'])
  ours.logits[0] = np.nan
  assert table(metrics.of_classes(ours))['x'] == (100, 50, 67, 2, 1)
  assert sum(b['videos'] for b in metrics.calibration_bins(ours)) == 2


def test_without_scored_videos_all_is_0_and_calibration_is_unknown():
  scores = metrics.compute_metrics(predictions([], ['x', 'y'], unreadable=3))
  assert scores['macro_f1'] == scores['macro_precision'] == 0
  assert scores['calibration_error'] is None
  assert class_scores.macro([]) == dict.fromkeys(
    ('macro_precision', 'macro_recall', 'macro_f1'), 0
  )


def test_bins_by_hand():
  """Bin 15 is (14/15, 1]; 0.2 is the end of bin 3."""
  probabilities = np.array([1.0, 0.95, 0.2, 0.19, 0.21])
  found = calibration.bins(probabilities, np.array([1, 0, 1, 0, 0], bool))
  assert [(b['low'], b['high'], b['videos']) for b in found] == [
    (pytest.approx(13.333333), 20, 2),
    (20, pytest.approx(26.666667), 1),
    (pytest.approx(93.333333), 100, 2),
  ]
  assert [b['confidence'] for b in found] == pytest.approx([19.5, 21, 97.5])
  assert [b['top1'] for b in found] == [50, 0, 50]
  # (2 x 30.5 + 21 + 2 x 47.5) / 5
  assert calibration.error(found) == pytest.approx(35.4)
  assert calibration.confidence(found) == pytest.approx(51)


def test_a_network_that_is_as_sure_as_it_is_right_has_no_error():
  # Of two classes with logits log(3) and 0, the answer has 3/4.
  ours = predictions(
    [(0, 0), (1, 1), (0, 0), (1, 0)], ['x', 'y'], logit=np.log(3)
  )
  scores = metrics.compute_metrics(ours)
  assert scores['calibration_error'] == pytest.approx(0, abs=1e-4)


def test_the_page_of_a_result_has_a_row_for_every_class():
  ours = predictions(PAIRS, ['x', 'y', 'z|z', 'unseen'], unreadable=2)
  scores = metrics.compute_metrics(ours) | report.details(ours)
  scores |= {'views': '16x4x1x1', 'gflops_per_view': 1.0, 'params_m': 1.0}
  json.dumps(scores)
  page = ' '.join(report.markdown('test', scores).split())
  assert 'precision 66.7 %, recall 61.1 %, F1 56.7 %' in page
  assert 'Expected calibration error: ' in page and 'of 15 bins' in page
  assert '| z\\|z | 66.7 | 100.0 | 80.0 | 2 | 3 |' in page
  assert '| unseen | - | - | - | 0 | 0 |' in page
  del scores['class_scores']  # Of an earlier version.
  assert 'All classes' not in report.markdown('test', scores)
