# SPDX-License-Identifier: Apache-2.0
"""Intervals and levels of chance, computed by hand."""

import numpy as np
import pytest
import scipy.stats

from flatten_jax.evaluation import cautions, certainty, metrics


@pytest.mark.parametrize(
  ('right', 'count'), [(45, 53), (3, 3), (0, 3), (1, 2), (15200, 20000)]
)
def test_an_interval_is_that_of_scipy(right, count):
  test = scipy.stats.binomtest(right, count)
  expected = 100 * np.array(test.proportion_ci(method='wilson'))
  found = certainty.interval(right, count)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_none_and_all_reach_the_ends():
  for count in range(1, 300):
    assert str(certainty.interval(0, count)[0]) == '0.0'
    assert certainty.interval(count, count)[1] == 100
    assert certainty.interval(count - 1, count)[1] < 100


def test_an_interval_contains_the_truth_in_95_of_100_tests():
  rng = np.random.default_rng(0)
  truth = rng.uniform(0, 1, 3000)  # Exactly 95 for none, and about for all.
  found = [certainty.interval(k, 40) for k in rng.binomial(40, truth).tolist()]
  low, high = np.transpose(found) / 100
  assert 0.94 < np.mean((low <= truth) & (truth <= high)) < 0.96


@pytest.mark.parametrize(
  ('labels', 'chance', 'name'),
  [
    ([0, 1, 2, 3], 25, ''),
    ([0, 1, 1, 3], 50, 'y'),
    ([2], 100, 'z'),
    ([0, 1], 50, 'x'),  # Two of the four classes were tested.
    ([], 25, ''),
  ],
)
def test_chance_is_a_guess_or_the_most_frequent_class(labels, chance, name):
  found = certainty.chance(np.array(labels, int), 'xyzw')
  assert found == {'chance': chance, 'chance_class': name}


def scores(top1, scored, chance, name=''):
  found = {'top1': top1, 'scored': scored, 'chance': chance}
  return found | {'chance_class': name}


@pytest.mark.parametrize(
  ('given', 'interval', 'chance'),
  [
    (scores(100 * 45 / 53, 53, 10), '73 to 92', 'chance 10 %'),
    (scores(100, 3, 100 / 3), '44 to 100', 'chance 33.3 %'),
    (
      scores(100, 3, 50, 'a'),
      '44 to 100',
      'not better than chance, 50 % (most',
    ),
    (scores(0, 3, 20), '0 to 56', 'not better than chance, 20 %'),
    (scores(76, 20000, 0.25), '75.4 to 76.6', 'chance 0.25 %'),
    (
      scores(100 * 19 / 20, 20, 15, 'a'),
      '76 to 99',
      'chance 15 % (most frequent class, a)',
    ),
  ],
)
def test_a_top1_is_compared_with_chance(given, interval, chance):
  assert metrics.interval(given) == interval
  assert metrics.chance(given).startswith(chance)


def test_results_of_earlier_versions_have_an_interval_but_no_chance():
  old = {'top1': 100 * 45 / 53, 'scored': 53}
  assert metrics.interval(old) == '73 to 92'
  assert metrics.chance(old) == ''


def test_folds_are_pooled():
  """Of 18 and 20 right of 20, and 5 of 10, in two seeds of the same videos."""
  one = [scores(90, 20, 10), scores(50, 10, 20, 'a')]
  two = [scores(100, 20, 10), scores(50, 10, 20, 'a')]
  found = certainty.pooled(one + two, 30)
  assert found['top1'] == pytest.approx(80)
  assert found['top1_interval'] == pytest.approx(certainty.interval(24, 30))
  assert found['chance'] == pytest.approx(40 / 3)
  assert found['chance_class'] == ''
  del one[0]['chance']
  assert 'chance' not in certainty.pooled(one, 30)


@pytest.mark.parametrize(
  ('scored', 'folds', 'text'),
  [
    (
      3,
      True,
      'Only 3 test videos: the 95 % interval of the top-1 is 56 points wide. '
      'Folds test all videos: --mode=cross_validate.',
    ),
    (
      3,
      False,
      'Only 3 test videos: the 95 % interval of the top-1 is 56 points wide.',
    ),
    (30, True, ''),
    (0, True, ''),
  ],
)
def test_a_test_of_few_videos_is_warned_of(scored, folds, text):
  assert cautions.few_videos(scores(100, scored, 10), folds) == text
