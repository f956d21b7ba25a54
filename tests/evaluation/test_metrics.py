# SPDX-License-Identifier: Apache-2.0
"""Accuracies computed by hand, and prediction files."""

import os

import numpy as np
import pytest

from flatten_jax.evaluation import evaluate, metrics, report, results
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.sources.prepared import MissingVideo
from flatten_jax.runtime import loaded_model, task as tasks


def predictions(**changes):
  """Returns four videos of three classes; the last could not be read."""
  arrays = {
    'ids': np.array(['a', 'b', 'c', 'd']),
    'labels': np.array([0, 0, 1, 2]),
    'logits': np.array(
      [[2, 1, 0], [1, 2, 0], [0, 3, 1], [0, 0, 0]], np.float32
    ),
    'scored': np.array([True, True, True, False]),
    'class_names': ('x', 'y', 'z'),
  }
  return Predictions(**arrays | changes)


def test_accuracies_by_hand():
  scores = metrics.compute_metrics(predictions())
  assert scores['top1'] == pytest.approx(100 * 2 / 3)
  assert scores['top5'] == 100
  # Class x: one of two; class y: one of one; class z has no scored video.
  assert scores['mean_class'] == pytest.approx(75)
  assert (scores['videos'], scores['scored']) == (4, 3)
  assert scores['top1_interval'] == pytest.approx([20.77, 93.85], abs=0.01)
  assert scores['chance'] == pytest.approx(100 * 2 / 3)
  assert scores['chance_class'] == 'x'


def test_a_tie_is_not_a_hit():
  tied = predictions(logits=np.zeros((4, 3), np.float32))
  assert metrics.compute_metrics(tied)['top1'] == 0


def test_nan_logits_are_neither_a_hit_nor_a_prediction():
  """A diverged model must not look perfect."""
  logits = predictions().logits.copy()
  logits[0] = np.nan
  scores = metrics.compute_metrics(predictions(logits=logits))
  assert scores['top1'] == pytest.approx(100 / 3)
  assert scores['mean_class'] == pytest.approx(50)
  assert predictions(logits=logits).confusion().sum() == 2
  logits[:] = np.nan
  assert metrics.compute_metrics(predictions(logits=logits))['top1'] == 0


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_every_number_of_a_diverged_model_is_the_same(value):
  """Accuracy, classes, confusion and mistakes count the same answers."""
  logits = np.full((4, 3), value, np.float32)
  logits[1] = [3, 1, 1]
  ours = predictions(logits=logits)
  assert metrics.compute_metrics(ours)['top1'] == pytest.approx(100 / 3)
  assert {c['name']: c['top1'] for c in report.per_class(ours)} == {
    'x': 50.0,
    'y': 0.0,
  }
  assert ours.confusion().sum() == 1
  assert len(metrics.most_confident_mistakes(ours, 9)) == 0


def test_every_number_takes_a_tie_for_a_mistake():
  logits = np.array([[1, 1, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)
  ours = predictions(logits=logits)
  assert ours.answers.tolist() == [1, 0, 0, -1]
  assert metrics.compute_metrics(ours)['top1'] == pytest.approx(100 / 3)
  assert report.per_class(ours)[0]['top1'] == 50
  assert np.trace(ours.confusion()) == 1
  assert sorted(metrics.most_confident_mistakes(ours, 9).tolist()) == [0, 2]


@pytest.mark.parametrize(
  ('value', 'digits', 'text'),
  [
    (100.0, 1, '100.0'),
    (99.99, 1, '99.9'),  # One of ten thousand is wrong.
    (0.01, 1, '0.1'),
    (0.0, 2, '0.00'),
    (99.999, 2, '99.99'),
    (95.0, 2, '95.00'),
  ],
)
def test_only_all_is_written_100_percent_and_only_none_0(value, digits, text):
  assert metrics.percent(value, digits) == text


SCORES = {'top1': 95.0, 'top5': 99.0, 'mean_class': 94.0, 'views': '16x4x1x1'}
SCORES |= {'videos': 20, 'scored': 20, 'classes': 12, 'scored_classes': 12}
SCORES |= {'chance': 10.0, 'chance_class': ''}


@pytest.mark.parametrize(
  ('changes', 'text'),
  [
    (
      {},
      'top-1 95.00 % (19 of 20; 95 %: 76 to 99); chance 10 %; top-5 99.00 %, '
      'mean class 94.00 %; 20 of 20 videos scored',
    ),
    (
      {'classes': 5, 'scored_classes': 5, 'chance': 80.0, 'chance_class': 'a'},
      'top-1 95.00 % (19 of 20; 95 %: 76 to 99); not better than chance, 80 % '
      '(most frequent class, a); mean class 94.00 %; 20 of 20 videos scored',
    ),
    (
      {'videos': 30, 'scored_classes': 7},
      'top-1 95.00 % (19 of 20; 95 %: 76 to 99); chance 10 %; top-5 99.00 %, '
      'mean class 94.00 % of 7 of 12 classes; 20 of 30 videos scored',
    ),
    ({'top1': 0.0, 'scored': 0}, 'no accuracy; 0 of 20 videos scored'),
  ],
)
def test_the_summary_has_numerators_and_denominators(changes, text):
  found = metrics.summary('test', SCORES | changes)
  assert found == f'test (views 16x4x1x1): {text}'


def test_a_video_without_a_label_is_not_scored():
  unlabelled = predictions(labels=np.array([-1, 0, 1, 2]))
  assert metrics.compute_metrics(unlabelled)['scored'] == 2


def test_a_split_without_readable_videos_scores_zero():
  scores = metrics.compute_metrics(predictions(scored=np.zeros(4, bool)))
  assert (scores['top1'], scores['scored'], scores['videos']) == (0.0, 0, 4)


def test_the_confusion_matrix_has_labels_in_rows():
  expected = [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
  np.testing.assert_array_equal(predictions().confusion(), expected)


def test_a_damaged_or_missing_file_of_predictions_is_said(tmp_path):
  path = tmp_path / 'predictions_test.npz'
  predictions().save(path)
  whole, lacking = path.read_bytes(), tmp_path / 'lacking.npz'
  np.savez(lacking, class_names=['x'], views='', ids=['a'])
  array = tmp_path / 'array.npy'
  np.save(array, np.zeros(3))
  files = [whole[: len(whole) * part // 8] for part in range(8)]
  files += [whole.replace(b'PK', b'KP'), b'text', lacking.read_bytes()]
  files += [array.read_bytes()]
  method = whole.index(b'PK\1\2') + 10  # Of compression.
  files += [whole[:method] + b'\xff' + whole[method + 1 :]]
  for data in files:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'test\.npz is damaged or missing'):
      results.score_workdir(tmp_path)
  path.unlink()
  with pytest.raises(ValueError, match='--mode=evaluate writes it again'):
    Predictions.load(path)


def test_predictions_are_saved_and_loaded(tmp_path):
  predictions().save(tmp_path / 'predictions_test.npz')
  assert [f.name for f in tmp_path.iterdir()] == ['predictions_test.npz']
  again = Predictions.load(tmp_path / 'predictions_test.npz')
  np.testing.assert_array_equal(again.logits, predictions().logits)
  assert again.class_names == ('x', 'y', 'z')
  score = results.score_workdir(tmp_path)['test']
  ours = predictions()
  assert score == metrics.compute_metrics(ours) | report.details_of_all(ours)


def test_scoring_an_empty_folder_names_the_mode_that_writes_predictions(
  tmp_path,
):
  with pytest.raises(FileNotFoundError, match='--mode=evaluate'):
    results.score_workdir(tmp_path)


@pytest.mark.parametrize('size', [1, 2, 4])
def test_views_are_averaged_for_any_batch_size(size):
  """Two views of each of three videos; logits or probabilities."""
  rng = np.random.default_rng(0)
  logits = rng.standard_normal((6, 3)).astype(np.float32)
  probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  expected = {
    'logits': logits[::2] + logits[1::2],
    'probs': 2 * np.log((probs[::2] + probs[1::2]) / 2),
  }
  for average, values in expected.items():
    means, found = loaded_model.ViewMeans(average, 2, tasks.SINGLE_LABEL), {}
    for start in range(0, 6, size):
      real = [row for row in range(start, start + size) if row < 6]
      padding = size - len(real)
      complete = means.add(
        {
          'logits': np.pad(logits[real], ((0, padding), (0, 0))),
          'index': np.array([row // 2 for row in real] + [-1] * padding),
          'mask': np.array([True] * len(real) + [False] * padding),
        }
      )
      found |= {number: means.pop(number) for number in complete}
    assert list(found) == [0, 1, 2]
    np.testing.assert_allclose(list(found.values()), values, rtol=1e-5)


def test_paths_that_are_not_utf8_are_written_unchanged(tmp_path):
  """A list in another encoding names existing files."""
  odd = os.fsdecode(b'/videos/caf\xe9.mp4')
  videos = Videos((Record(odd, odd, 0),), ('a', 'b'))
  batch = {
    'index': np.array([0]),
    'failed': np.array([0]),
    'error': np.array([b'no such file']),
  }
  for _ in range(2):
    FailedVideos(tmp_path).record(batch, videos)
  file = tmp_path / 'unreadable.txt'
  assert file.read_bytes() == b'/videos/caf\xe9.mp4\tno such file\n'
  arrays = np.zeros(1, int), np.zeros((1, 2), np.float32), np.ones(1, bool)
  found = Predictions(np.array([odd]), *arrays, ('a', 'b'), '16x4x1x1')
  scores = metrics.compute_metrics(found) | report.details(found)
  scores |= {'gflops_per_view': 1.0, 'params_m': 1.0, 'protocol': {'data': odd}}
  results.write_results(tmp_path, 'test', scores, found)
  again = metrics.Predictions.load(tmp_path / 'predictions_test.npz')
  assert again.ids.tolist() == [odd]


def split_of(*records):
  videos = (Record(f'{i}', path, label) for i, (path, label) in records)
  return Videos(tuple(videos), ('a', 'b'))


GONE = MissingVideo('/set', 'x', 'missing')


@pytest.mark.parametrize(
  ('test', 'chosen'),
  [
    ([('/1.mp4', 0), (GONE, 1), ('/2.mp4', -1)], 'test'),
    ([(GONE, 0), (GONE, 1)], 'val'),  # Kinetics without its test videos.
    ([('/1.mp4', -1), ('/2.mp4', -1)], 'val'),  # SSv2 without its labels.
    ([('/1.mp4', -1), (GONE, 1)], 'val'),
  ],
)
def test_val_is_scored_if_the_test_split_cannot_be(test, chosen, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  splits = {
    'val': split_of(*enumerate([('/3.mp4', 0)])),
    'test': split_of(*enumerate(test)),
  }
  assert evaluate.tested_split(splits) == chosen
  assert len(caplog.records) == (chosen == 'val')
  labelled = sum(label >= 0 for _, label in test)
  assert (
    chosen == 'test'
    or f'{labelled} of {len(test)} test videos are labelled' in caplog.text
  )
  assert evaluate.tested_split({'test': splits['test']}) == 'test'
  assert evaluate.tested_split({'val': splits['val']}) == 'val'
  assert evaluate.tested_split({}) == ''
