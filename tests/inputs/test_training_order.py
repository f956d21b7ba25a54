# SPDX-License-Identifier: Apache-2.0
"""Orders of training videos repeat nothing too early and leave nothing out."""

import collections
import pickle

import pytest

from flatten_jax.inputs import training_order

# Classes of 1, 2, 3 and 9 videos, in no order; class 2 has none.
LABELS = (3, 1, 4, 4, 0, 4, 3, 4, 4, 1, 4, 4, 4, 3, 4)


@pytest.fixture
def order():
  return training_order.OfClasses(LABELS, seed=5)


def drawn(order, count, start=0):
  return [order[position] for position in range(start, start + count)]


def test_every_round_has_each_class_once_in_a_new_order(order):
  labels = [LABELS[video] for video in drawn(order, 400)]
  rounds = [tuple(labels[i : i + 4]) for i in range(0, 400, 4)]
  assert {tuple(sorted(found)) for found in rounds} == {(0, 1, 3, 4)}
  assert len(set(rounds)) > 12  # Of 24.


def test_every_pass_has_each_video_of_a_class_once_in_a_new_order(order):
  videos = drawn(order, 4 * 18)  # 18 of each class.
  counts = collections.Counter(videos)
  for label in (0, 1, 3, 4):
    own = [video for video, other in enumerate(LABELS) if other == label]
    assert {counts[video] for video in own} == {18 // len(own)}
  nine = [video for video in videos if LABELS[video] == 4]
  assert sorted(nine[:9]) == sorted(nine[9:])
  assert nine[:9] != nine[9:]


def test_a_position_needs_no_other_one(order):
  """A resumed run, another process and a worker draw the same."""
  again = pickle.loads(pickle.dumps(order))
  assert drawn(again, 30, start=100) == drawn(order, 130)[100:]
  assert drawn(training_order.OfClasses(LABELS, 6), 60) != drawn(order, 60)


def test_videos_come_in_proportion_to_their_weights():
  weights = (0.0, 1.0, 0.5, 2.5, 0.0)
  order = training_order.OfWeights(weights, seed=5)
  for epoch in range(20):
    counts = collections.Counter(drawn(order, 5, start=5 * epoch))
    for video, weight in enumerate(weights):
      assert abs(counts[video] - 5 * weight / 4) < 1
  counts = collections.Counter(drawn(order, 800))
  shares = [counts[video] / 200 for video in range(5)]
  assert shares == pytest.approx(weights, abs=0.05)
  assert drawn(order, 5) != drawn(order, 5, start=5)
  again = pickle.loads(pickle.dumps(order))
  assert drawn(again, 30, start=100) == drawn(order, 130)[100:]
  equal = training_order.OfWeights([3.0] * 7, seed=1)
  assert sorted(drawn(equal, 7, start=7)) == list(range(7))


def test_videos_without_balance_come_once_in_an_epoch():
  order = training_order.of_videos(10, seed=0)
  epochs = [[int(order[i]) for i in range(k, k + 10)] for k in (0, 10)]
  assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
  assert epochs[0] != epochs[1]
