# SPDX-License-Identifier: Apache-2.0
"""Mean average precision, thresholds and F1 of several labels a video."""

import numpy as np
import pytest
import scipy.special

from flatten_jax.evaluation import (
  certainty,
  metrics,
  multi_label,
  report,
  results,
)
from flatten_jax.evaluation.metrics import Predictions


def test_average_precision_by_hand():
  scores = np.array([0.9, 0.8, 0.7, 0.6])
  positive = np.array([True, False, True, False])
  # Recall 1/2 with precision 1, then recall 1 with precision 2/3.
  expected = 0.5 * 1 + 0.5 * 2 / 3
  assert multi_label.average_precision(scores, positive) == pytest.approx(
    expected
  )


def test_equal_scores_are_one_step():
  positive = np.array([True, False, False, True])
  for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 2, 3]):
    found = multi_label.average_precision(np.ones(4), positive[order])
    assert found == pytest.approx(0.5)


@pytest.mark.parametrize('seed', range(20))
def test_it_is_that_of_scikit_learn(seed):
  sklearn = pytest.importorskip('sklearn.metrics')
  rng = np.random.default_rng(seed)
  probabilities = rng.integers(0, 8, (40, 5)) / 8  # With ties.
  positive = rng.random((40, 5)) < 0.3
  positive[0] = True
  thresholds = rng.random(5)
  names = tuple('abcde')
  found = multi_label.compute(probabilities, positive, thresholds, names)
  answers = probabilities >= thresholds
  expected = {
    'map': sklearn.average_precision_score(positive, probabilities),
    'micro_f1': sklearn.f1_score(positive, answers, average='micro'),
    'macro_f1': sklearn.f1_score(positive, answers, average='macro'),
  }
  assert {key: found[key] for key in expected} == pytest.approx(
    {key: 100 * value for key, value in expected.items()}
  )


def test_a_threshold_has_the_best_f1_and_lies_between_scores():
  scores = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
  positive = np.array([True, True, False, True, False])
  # F1: 1/2, 4/5, 2/3, 6/7, 3/4.
  found = multi_label.best_threshold(scores, positive)
  assert found == pytest.approx(0.15)
  all_first = np.array([True, True, False, False, False])
  assert multi_label.best_threshold(scores, all_first) == pytest.approx(0.55)


def test_a_class_without_videos_keeps_the_default():
  none = np.zeros(3, bool)
  assert multi_label.best_threshold(np.array([0.9, 0.5, 0.1]), none) == 0.5


def test_the_best_threshold_beats_all_others():
  rng = np.random.default_rng(0)
  for _ in range(20):
    scores, positive = rng.random(15), rng.random(15) < 0.4
    positive[0] = True

    def f1(threshold, scores=scores, positive=positive):
      answers = scores >= threshold
      right = (answers & positive).sum()
      return 2 * right / (answers.sum() + positive.sum())

    best = f1(multi_label.best_threshold(scores, positive))
    assert best == pytest.approx(max(map(f1, np.linspace(0, 1, 400))))


def drawn(rng, videos, classes, sharpness, share=0.25):
  """Scores and labels of videos, some of which are easy for every class."""
  positive = rng.random((videos, classes)) < share
  noise = rng.normal(size=(videos, classes)) + 0.7 * rng.normal(
    size=(videos, 1)
  )
  return positive * sharpness + noise, positive


def mean_average_precision(scores, positive):
  columns = zip(scores.T, positive.T, strict=True)
  found = [multi_label.average_precision(*c) for c in columns if c[1].any()]
  return 100 * np.mean(found)


@pytest.mark.parametrize(
  ('videos', 'classes', 'sharpness'), [(30, 6, 2), (60, 12, 4), (280, 12, 2)]
)
def test_the_interval_contains_the_map_of_very_many_videos(
  videos, classes, sharpness
):
  rng = np.random.default_rng(0)
  truth = mean_average_precision(*drawn(rng, 50_000, classes, sharpness))
  inside, widths = [], []
  for _ in range(40):
    low, high = multi_label.map_interval(
      *drawn(rng, videos, classes, sharpness)
    )
    inside.append(low <= truth <= high)
    widths.append(high - low)
  assert np.mean(inside) >= 0.9
  assert np.mean(widths) < {30: 32, 60: 8, 280: 8}[videos]


def test_its_error_is_that_of_the_scores_without_one_video_each():
  scores, positive = drawn(np.random.default_rng(0), 40, 3, 2)
  positive[:, 2] = np.arange(40) == 7  # Without it, two classes remain.
  without = [
    mean_average_precision(np.delete(scores, i, 0), np.delete(positive, i, 0))
    for i in range(40)
  ]
  error = 39 * np.var(without)  # 39 / 40 of the sum of squares.
  share = mean_average_precision(scores, positive)
  count = min(share * (100 - share) / error, positive.sum())
  expected = certainty.interval(share * count / 100, count)
  assert multi_label.map_interval(scores, positive) == pytest.approx(expected)


def test_all_of_few_labels_may_be_found_by_luck():
  positive = np.eye(4, dtype=bool)
  assert multi_label.map_interval(positive * 1.0, positive) == pytest.approx(
    certainty.interval(4, 4)
  )
  nothing = np.zeros((4, 3), bool)
  assert multi_label.map_interval(nothing * 1.0, nothing) == [0, 100]
  one = np.ones((1, 2), bool)
  assert multi_label.map_interval(one * 1.0, one)[1] == 100


def predictions(**changes):
  """Five videos of three classes; one is unlabelled, one could not be read."""
  probabilities = np.array(
    [
      [0.9, 0.8, 0.1],
      [0.2, 0.7, 0.3],
      [0.6, 0.1, 0.2],
      [0.9, 0.9, 0.9],
      [0.5, 0.5, 0.5],
    ]
  )
  labels = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [-1, -1, -1], [1, 0, 0]]
  values = {
    'ids': np.array(list('abcde')),
    'labels': np.array(labels, np.int8),
    'logits': 2 * scipy.special.logit(probabilities).astype(np.float32),
    'scored': np.array([True, True, True, True, False]),
    'class_names': ('x', 'y', 'z'),
    'views': '16x4x1x2',
  }
  return Predictions(**values | changes)


def test_only_videos_with_known_labels_count():
  scores = metrics.compute_metrics(predictions())
  assert (scores['videos'], scores['scored']) == (5, 3)
  assert (scores['classes'], scores['scored_classes']) == (3, 2)
  assert scores['map'] == pytest.approx(100)  # x and y; z has no video.
  assert scores['chance'] == pytest.approx(100 * (1 / 3 + 2 / 3) / 2)
  # Right: x of a, y of a and b; extra: x of c.
  assert scores['micro_f1'] == pytest.approx(100 * 6 / 7)
  assert scores['macro_f1'] == pytest.approx(100 * (2 / 3 + 1) / 2)
  assert scores['map_interval'] == certainty.interval(3, 3)
  assert 'top1' not in scores and 'top1_interval' not in scores


def test_thresholds_change_f1_and_not_the_mean_average_precision():
  some = predictions(thresholds=(0.7, 0.75, 0.5))
  scores = metrics.compute_metrics(some)
  assert scores['map'] == pytest.approx(100)
  assert scores['macro_f1'] == pytest.approx(100 * (1 + 2 / 3) / 2)
  assert 'chosen on the validation' in metrics.summary('test', scores)


def test_without_finite_logits_a_video_has_no_label():
  logits = predictions().logits.copy()
  logits[0] = np.nan
  scores = metrics.compute_metrics(predictions(logits=logits))
  assert scores['map'] < 60
  assert np.isfinite([scores['map'], scores['micro_f1']]).all()


def test_the_loss_is_binary_cross_entropy():
  y, p = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0]), predictions().probabilities()
  p = p[:3].ravel()
  expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
  assert metrics.loss(predictions()) == pytest.approx(expected, rel=1e-5)


def test_mistakes_are_missing_and_extra_labels_the_surest_first():
  labels = predictions().labels.copy()
  labels[1] = [1, 1, 0]  # x is missing in b, by 0.3; extra in c, by 0.1.
  wrong = metrics.most_confident_mistakes(predictions(labels=labels), 9)
  assert wrong.tolist() == [1, 2]
  right = metrics.most_confident_hits(predictions(labels=labels))
  assert right.tolist() == [0]


def test_predictions_come_back_from_their_file(tmp_path):
  some = predictions(thresholds=(0.7, 0.75, 0.5))
  some.save(tmp_path / 'predictions_test.npz')
  found = Predictions.load(tmp_path / 'predictions_test.npz')
  assert found.multi_label and found.thresholds == some.thresholds
  np.testing.assert_array_equal(found.labels, some.labels)
  again = results.score_workdir(tmp_path)['test']
  assert again['map'] == metrics.compute_metrics(some)['map']


def test_the_report_has_the_average_precision_of_every_class(tmp_path):
  some = predictions()
  scores = metrics.compute_metrics(some) | report.details(some)
  scores |= {'gflops_per_view': 1.0, 'params_m': 1.0}
  page = report.markdown('test', scores)
  assert 'mAP 100.00 % (95 %: 44 to 100; chance 50.0 %)' in page
  assert 'top-1' not in page and 'misclassified' not in page
  row = next(line for line in page.splitlines() if line.startswith('| x '))
  assert [cell.strip() for cell in row.split('|')[1:-1]] == [
    *('x', '100.0', '50.0', '100.0', '66.7', '1', '2', '0.500'),
  ]
  results.write_results(tmp_path, 'test', scores, some)
  assert not (tmp_path / 'confusion_test.csv').exists()
