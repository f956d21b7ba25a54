# SPDX-License-Identifier: Apache-2.0
"""The order report tells motion, appearance and artefacts apart."""

import json

import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.evaluation.order import features, reading, report, ridge
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.workdir import run_log
from tests.support.video_maker import write_video

SIZE = 32


def motion(label, rng):
  """A dark and a bright frame among others, or a bright and a dark one."""
  light = np.full(9, 120)
  light[[0, 2]] = (200, 40) if label else (40, 200)
  return np.broadcast_to(light[:, None, None, None], (9, SIZE, SIZE, 3))


def color(label, rng):
  """Red or blue frames in any order of brightness."""
  frames = np.full((9, SIZE, SIZE, 3), 40.0)
  frames[..., 2 * label] = rng.permutation(np.linspace(120, 200, 9))[
    :, None, None
  ]
  return frames


def length(label, rng):
  """Grey videos, those of one class twice as long."""
  return np.full((rng.integers(6, 9) * (1 + label), SIZE, SIZE, 3), 128.0)


def write_set(root, draw):
  """Writes 12 training and 10 test videos of each of two classes."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 12), ('test', 10)):
    for label, name in enumerate(('one', 'two')):
      for number in range(count):
        frames = draw(label, rng)
        texture = rng.normal(0, 8, (1, 4, 4, 3))
        frames = frames + np.kron(
          texture, np.ones((1, SIZE // 4, SIZE // 4, 1))
        )
        write_video(
          root / split / name / f'{number}.mp4',
          frames.clip(0, 255).astype(np.uint8),
        )


@pytest.fixture
def linear(config):
  """A config of a linear model on pixels, trained for a step."""
  config.model.name = 'tests.support.plain_cnn:build_linear'
  del config.model.depth
  config.model.drop_path_rate = 0.0
  config.data.short_side, config.data.num_frames = 16, 9
  config.epochs, config.warmup_epochs = 0.1, 0.0
  config.order_report = True
  yield config
  run_log.stop()


CHANCE = (0, 75)
SURE = (95, 100)


@pytest.mark.parametrize(
  ('draw', 'top1', 'said'),
  [
    (
      motion,
      {'clip': SURE, 'random': CHANCE, 'one_frame': CHANCE, 'length': (50, 50)},
      ['Order decides', 'Frames alone tell nothing'],
    ),
    (
      color,
      {'clip': SURE, 'random': SURE, 'one_frame': SURE, 'average': SURE},
      ['Order makes no difference', 'One frame is as good', 'appearance'],
    ),
    (
      length,
      {'clip': CHANCE, 'length': SURE, 'class': (50, 50)},
      ['nothing about order', 'length of a video alone gives 100.0 %'],
    ),
  ],
  ids=['motion', 'color', 'length'],
)
def test_it_tells_what_a_set_is_about(draw, top1, said, linear, tmp_path):
  write_set(tmp_path / 'videos', draw)
  linear.data.root = str(tmp_path / 'videos')
  workdir = tmp_path / 'run'
  fj.train_and_evaluate(linear, workdir)
  order = json.loads((workdir / 'results.json').read_text())['test']['order']
  found = {row['row']: row['top1'] for row in order['rows']}
  for row, (low, high) in top1.items():
    assert low <= found[row] <= high, (row, found)
  for text in said:
    assert text in order['reading']
  assert order['train_videos'] == 24 and order['videos'] == 20
  for page in ('report_test.md', 'log.txt'):
    assert order['reading'] in (workdir / page).read_text()


def test_the_report_stays_with_the_own_result_of_a_run(linear, tmp_path):
  linear.order_report = False
  fj.train_and_evaluate(linear, tmp_path)
  results = tmp_path / 'results.json'
  assert 'order' not in json.loads(results.read_text())['test']
  linear.order_report = True
  made = fj.evaluate(linear, tmp_path)  # For an older run.
  rows = {row['row']: row for row in made['order']['rows']}
  assert ' '.join(rows) == 'test clip random average one_frame length class'
  assert rows['test']['top1'] == pytest.approx(made['top1'])
  fj.evaluate(None, tmp_path)
  other = fj.evaluate(linear, tmp_path, '3x1')
  train = fj.evaluate(linear, tmp_path, split='train')
  assert 'order' not in other and 'order' not in train
  entries = json.loads(results.read_text())
  assert entries['test']['order'] == made['order']
  assert made['order']['reading'] in (tmp_path / 'report_test.md').read_text()
  page = fj.report(tmp_path).read_text()
  assert 'What the order of frames brings' in page
  assert 'most frequent in training, ' in page


@pytest.mark.parametrize(
  ('changes', 'orders'),
  [
    ({}, ['clip', 'random', 'frame 0', 'frame 2', 'frame 3']),
    ({'flatten': 'random'}, ['clip', 'frame 0', 'frame 2', 'frame 3']),
    ({'clip_model': 'average'}, ['clip', 'frame 0', 'frame 2', 'frame 3']),
    (
      {'clip_model': 'average', 'channels': 'motion'},
      ['clip', 'random', 'frame 0', 'frame 2', 'frame 3'],
    ),
    ({'data.repeat_frame': True}, ['clip']),
    ({'data.num_frames': 1}, ['clip']),
  ],
)
def test_orders_that_make_no_difference_are_left_out(config, changes, orders):
  config.update_from_flattened_dict(changes)
  model = LoadedModel(Experiment.create(config, ('a', 'b')), {}, {})
  found = features.orders_of(model, 0)
  assert list(found) == orders
  for name, order in found.items():
    frames = order(np.array([0, 1, -1]))
    assert frames.shape == (3, config.data.num_frames)
    if name == 'random':
      assert (np.sort(frames) == [0, 1, 2, 3]).all()
      assert (frames[0] != frames[1]).any()
      again = features.orders_of(model, 0)[name](np.array([1]))
      np.testing.assert_array_equal(again, frames[1:2])
    elif name != 'clip':
      assert (frames == int(name.split()[1])).all()


@pytest.mark.parametrize(
  ('count', 'frames'),
  [(2, [0, 1]), (3, [0, 1, 2]), (9, [1, 4, 7]), (16, [2, 8, 13])],
)
def test_single_frames_have_the_middle_one_in_the_middle(count, frames):
  assert features.single_frames(count) == frames
  assert frames[len(frames) // 2] == count // 2


def test_training_videos_are_drawn_evenly_by_class():
  labels = [0] * 50 + [1] * 5 + [-1] * 5 + [2] * 3
  drawn = report.evenly(labels, 12)
  assert np.bincount(np.array(labels)[drawn]).tolist() == [5, 4, 3]
  assert (np.diff(drawn) > 0).all()
  everything = report.evenly(labels, 1000)
  assert len(everything) == 58


def test_ridge_is_the_best_by_leaving_one_out():
  """As computed with one fit for each left-out row and each strength."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 30)
  x = rng.normal(size=(30, 40)) + 0.8 * np.eye(3, 40)[labels]
  others = rng.normal(size=(50, 40)) + 0.8 * np.eye(3, 40)[np.arange(50) % 3]
  mean, deviation = x.mean(0), x.std(0)
  x_, others_ = (x - mean) / deviation, (others - mean) / deviation
  unit = np.mean(np.linalg.svd(x_, compute_uv=False) ** 2)

  def fit(rows, targets, strength):
    center, middle = rows.mean(0), targets.mean(0)
    rows = rows - center
    gram = rows.T @ rows + strength * np.eye(rows.shape[1])
    weights = np.linalg.solve(gram, rows.T @ (targets - middle))
    return lambda x: (x - center) @ weights + middle

  targets = np.eye(3)[labels]
  errors = [
    sum(
      (
        (
          fit(np.delete(x_, i, 0), np.delete(targets, i, 0), s)(x_[i])
          - targets[i]
        )
        ** 2
      ).sum()
      for i in range(30)
    )
    for s in ridge.STRENGTHS * unit
  ]
  best = ridge.STRENGTHS[int(np.argmin(errors))] * unit
  expected = fit(x_, targets, best)(others_).argmax(-1)
  answers = ridge.classify(x, labels, others, 3)
  np.testing.assert_array_equal(answers, expected)
  assert (answers == np.arange(50) % 3).mean() > 0.4


def test_ridge_of_features_without_information_answers_the_largest_class():
  labels = np.array([0, 1, 1])
  answers = ridge.classify(np.ones((3, 4)), labels, np.ones((2, 4)), 2)
  assert answers.tolist() == [1, 1]


def test_the_interval_of_a_difference_contains_it_in_95_of_100_tests():
  rng = np.random.default_rng(0)
  inside = []
  for _ in range(1000):
    ours = rng.random(40) < 0.7
    theirs = np.where(rng.random(40) < 0.5, ours, rng.random(40) < 0.4)
    _, low, high = reading.difference(ours, theirs)
    inside.append(low <= 15 <= high)  # 70 % less (.7 + .4) / 2.
  assert 0.93 < np.mean(inside) < 0.98


def hits(**counts):
  """Returns hits on 40 videos: the first so many are right."""
  return {key: np.arange(40) < count for key, count in counts.items()}


@pytest.mark.parametrize(
  ('counts', 'said'),
  [
    (
      {'clip': 32, 'random': 12, 'one_frame': 8, 'average': 9},
      'Order decides: in random order 50.0 points are lost',
    ),
    (
      {'clip': 32, 'random': 22, 'one_frame': 8, 'average': 9},
      'Order helps: in random order 25.0 points are lost',
    ),
    (
      {'clip': 32, 'random': 30, 'one_frame': 8, 'average': 9},
      'Order makes no difference that 40 videos can tell',
    ),
    (
      {'clip': 32, 'random': 12, 'average': 31},
      'The mean of frames is as good',
    ),
    (
      {'clip': 38, 'random': 20, 'one_frame': 18, 'average': 22},
      'Appearance tells a part: the mean of frames gives 55.0 %',
    ),
    ({'clip': 6}, 'they say nothing about order'),
    ({'clip': 32, 'length': 25}, 'alone gives 62.5 %'),
  ],
)
def test_the_rows_are_read_for_people(counts, said):
  found = hits(**({'class': 4, 'length': 5} | counts))
  rows = [reading.row(key, key, right) for key, right in found.items()]
  assert said in reading.read(rows, found)
