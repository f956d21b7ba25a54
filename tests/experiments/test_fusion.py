# SPDX-License-Identifier: Apache-2.0
"""Predictions of runs are fused by the names of videos and classes."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import scipy.special

import flatten_jax as fj
from flatten_jax.evaluation import fusion, results
from flatten_jax.evaluation.metrics import Predictions, compute_metrics
from flatten_jax.runtime.workdir import run_log
from tests.support.folders import PARITY

NAMES = tuple('abcdefg')


def predictions(seed, count=12, views='32x4x1x2', right=0.7):
  """Returns random predictions, of which a share is right."""
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % len(NAMES)
  logits = rng.standard_normal((count, len(NAMES)))
  sure = np.flatnonzero(rng.random(count) < right)
  logits[sure, labels[sure]] += 4
  return Predictions(
    np.array([f'video_{i}.mp4' for i in range(count)]),
    labels.astype(np.int32),
    logits.astype(np.float32),
    np.ones(count, bool),
    NAMES,
    views,
  )


def write(folder, found, split='test'):
  """Writes a finished run."""
  folder.mkdir(parents=True, exist_ok=True)
  scores = compute_metrics(found) | {'step': 3}
  scores |= {'gflops_per_view': 0.5, 'params_m': 1.0}
  scores |= {'best_classes': [], 'worst_classes': [], 'confused': []}
  results.write_results(folder, split, scores, found)
  return folder


@pytest.fixture
def runs(tmp_path):
  yield [write(tmp_path / f'run_{i}', predictions(i)) for i in range(2)]
  run_log.stop()


def shuffled(found):
  """The same, with videos and classes in another order."""
  rows, columns = np.argsort(found.ids)[::-1], [3, 1, 0, 2, 6, 5, 4]
  return dataclasses.replace(
    found,
    ids=found.ids[rows],
    labels=np.argsort(columns).astype(np.int32)[found.labels[rows]],
    logits=found.logits[rows][:, columns],
    scored=found.scored[rows],
    class_names=tuple(NAMES[i] for i in columns),
  )


def of_logits(rows):
  """Returns predictions of one view."""
  return dataclasses.replace(
    predictions(0, len(rows)), logits=np.array(rows, np.float32), views=''
  )


@pytest.mark.skipif(not PARITY.is_dir(), reason=f'{PARITY} is absent')
def test_two_streams_are_fused_as_published():
  facts = PARITY / 'data_facts_tdn_msnet_two_stream.json'
  facts = json.loads(facts.read_text())['two_stream_fusion']
  streams = [of_logits(facts[f'{s}_logits']) for s in ('spatial', 'temporal')]
  fused = fusion.mean(streams, [1, 1], 'probs').probabilities()
  np.testing.assert_allclose(fused, facts['average_of_softmax'], rtol=1e-6)
  features = fusion.svm_features(streams)
  np.testing.assert_allclose(features, facts['svm_features'], rtol=1e-6)


@pytest.mark.parametrize('method', ['probs', 'logits'])
def test_the_weighted_mean_is_that_of_the_views_means(runs, method, tmp_path):
  parts = [predictions(i).logits.astype(float) / 2 for i in range(2)]
  if method == 'probs':
    parts = [scipy.special.softmax(x, axis=-1) for x in parts]
  expected = (parts[0] + 1.5 * parts[1]) / 2.5
  found = fj.fuse(runs, tmp_path / 'out', method=method, weights=[1, 1.5])
  fused = Predictions.load(tmp_path / 'out' / 'predictions_test.npz')
  values = fused.probabilities() if method == 'probs' else fused.logits
  np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
  assert found['method'] == method and found['scored'] == 12
  parts = [(run['weight'], run['top1']) for run in found['runs']]
  own = [results.tested(run)[1]['top1'] for run in runs]
  assert parts == list(zip((1.0, 1.5), own, strict=True))
  assert found['runs'][0]['gflops_per_video'] == 1.0  # Two views.
  page = (tmp_path / 'out' / 'report_test.md').read_text()
  assert f'Fused by {method}' in page and '| fused' in page
  assert (tmp_path / 'out' / 'confusion_test.csv').is_file()
  assert fj.score_workdir(tmp_path / 'out')['test']['top1'] == found['top1']


def test_videos_and_classes_are_matched_by_name(runs, tmp_path):
  before = fj.fuse(runs, tmp_path / 'before')
  write(runs[1], shuffled(predictions(1)))
  after = fj.fuse(runs, tmp_path / 'after')
  assert before == after
  both = [
    Predictions.load(tmp_path / name / 'predictions_test.npz').logits
    for name in ('before', 'after')
  ]
  np.testing.assert_array_equal(*both)


def test_a_video_that_one_run_could_not_read_does_not_count(runs, tmp_path):
  found = predictions(1)
  found.scored[3] = False
  write(runs[1], found)
  fused = fj.fuse(runs, tmp_path / 'out')
  assert (fused['videos'], fused['scored']) == (12, 11)
  assert '1 videos that' in (tmp_path / 'out' / 'log.txt').read_text()


def test_a_run_of_weight_0_takes_no_part(runs, tmp_path):
  found = predictions(1)
  found.scored[3] = False
  found.logits[5:] = np.nan
  write(runs[1], found)
  fused = fj.fuse(runs, tmp_path / 'out', weights=[1, 0])
  assert (fused['videos'], fused['scored']) == (12, 12)
  assert fused['top1'] == results.tested(runs[0])[1]['top1']
  assert [(r['run'], r['weight']) for r in fused['runs']] == [(str(runs[0]), 1)]
  assert fj.fuse(runs, tmp_path / 'out', weights=[1, 0]) == fused


def test_probabilities_of_views_are_named_when_scores_are_averaged(
  runs, tmp_path
):
  found = predictions(1, views='32x4x1x1')
  logs = scipy.special.log_softmax(found.logits, axis=-1)
  write(runs[1], dataclasses.replace(found, logits=logs))
  fj.fuse(runs, tmp_path / 'out', method='logits')
  log = (tmp_path / 'out' / 'log.txt').read_text()
  assert 'run_1 averaged the probabilities of its views' in log


def test_an_svm_learns_which_run_is_right(runs, tmp_path):
  pytest.importorskip('sklearn')
  with pytest.raises(FileNotFoundError, match='--split=train'):
    fj.fuse(runs, tmp_path / 'out', method='svm')
  for run, right in zip(runs, (0, 1.0), strict=True):
    write(run, predictions(7, 70, right=right), 'train')
    write(run, predictions(8, right=right))
  found = fj.fuse(runs, tmp_path / 'out', method='svm')
  assert found['top1'] == found['runs'][1]['top1'] > found['runs'][0]['top1']


def test_a_fusion_has_no_model_to_predict_training_videos(runs, tmp_path):
  fj.fuse(runs, tmp_path / 'both')
  write(runs[0], predictions(0), 'train')
  with pytest.raises(FileNotFoundError, match='both is a fusion') as error:
    fj.fuse([runs[0], tmp_path / 'both'], tmp_path / 'out', method='svm')
  assert '--mode' not in str(error.value)


def test_an_svm_of_two_classes_answers_both_and_no_class_without_videos():
  pytest.importorskip('sklearn')
  train = predictions(0, 70, right=1.0)
  train.scored[train.labels > 1] = False
  test = predictions(1, right=1.0)
  fused = fusion.svm([test, test], [train, train])
  known = test.labels < 2
  np.testing.assert_array_equal(fused.answers[known], test.labels[known])
  assert set(fused.answers) == {0, 1}


def test_without_scikit_learn_the_message_has_the_command(runs, monkeypatch):
  monkeypatch.setitem(sys.modules, 'sklearn', None)
  monkeypatch.setitem(sys.modules, 'sklearn.svm', None)
  both = [predictions(i) for i in range(2)]
  with pytest.raises(RuntimeError, match='pip install scikit-learn'):
    fusion.svm(both, both)


def renamed(found):
  ids = [name.replace('video_1.', 'other_1.') for name in found.ids.tolist()]
  return dataclasses.replace(found, ids=np.array(ids))


def twice(found):
  ids = np.array(['x.mp4', 'x.mp4', *found.ids[2:].tolist()])
  return dataclasses.replace(found, ids=ids)


def other_label(found):
  return dataclasses.replace(found, labels=np.roll(found.labels, 1))


def other_classes(found):
  return dataclasses.replace(found, class_names=(*NAMES[:-1], 'z'))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (renamed, r'videos: only .*run_0 has 1: video_1.mp4; .*run_1 .*other_1'),
    (twice, 'several videos of one name.*: x.mp4'),
    (other_label, r'12 videos have other labels.*: video_0.mp4, video_1.mp4, '),
    (other_classes, r'classes: only .*run_0 has 1: g; only .*run_1 has 1: z'),
  ],
)
def test_what_does_not_match_is_refused_by_name(
  runs, change, message, tmp_path
):
  write(runs[1], change(predictions(1)))
  with pytest.raises(ValueError, match=message):
    fj.fuse(runs, tmp_path / 'out')
  assert not (tmp_path / 'out' / 'results.json').exists()


@pytest.mark.parametrize(
  ('given', 'options', 'message'),
  [
    (['run_0'], {}, 'two runs or more'),
    (['run_0', 'run_0'], {}, 'run_0 is given twice'),
    (['run_0', 'run_1'], {'method': 'mean'}, 'probs or logits or svm'),
    (['run_0', 'run_1'], {'weights': [1]}, 'a weight of 0 or more for each'),
    (['run_0', 'run_1'], {'weights': [1, -1]}, 'for each of 2 runs'),
    (['run_0', 'run_1'], {'weights': ['1', 'b']}, 'Weights are numbers'),
    (['run_0', 'run_1'], {'weights': [1, 2], 'method': 'svm'}, 'learns its'),
    (['run_0', 'val'], {}, 'on its test split, and .*val on its val split'),
    (['run_0', 'empty'], {}, 'empty has no complete results.json'),
    (['run_0', 'out'], {}, 'out is a run. Write'),
    (['run_0', 'cv'], {}, r'cv is a cross-validation, and .*run_0 is not'),
    (['run_0', 'rgb.npz'], {}, r'rgb.npz: expected .* predictions_test.npz'),
  ],
)
def test_what_cannot_be_fused_is_refused(
  runs, given, options, message, tmp_path
):
  write(tmp_path / 'val', predictions(0), 'val')
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'out').mkdir()
  write(tmp_path / 'cv' / 'fold_0_seed_0', predictions(0))
  predictions(0).save(tmp_path / 'rgb.npz')
  given = [tmp_path / name for name in given]
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    fj.fuse(given, tmp_path / 'out', **options)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'method': 'logits'}, 'a fusion by probs of 1 x .*run_0, 1 x .*run_1'),
    ({'weights': [1, 1.5]}, 'Write this one to another workdir'),
  ],
)
def test_another_fusion_does_not_replace_a_result(
  runs, options, message, tmp_path
):
  out = tmp_path / 'out'
  first = fj.fuse(runs, out)
  with pytest.raises(ValueError, match=message):
    fj.fuse(runs, out, **options)
  assert results.read_all(out)['test']['method'] == 'probs'
  assert fj.fuse(runs, out) == first  # The same may be repeated.
  write(tmp_path / 'of_a_run', predictions(0))
  with pytest.raises(ValueError, match='has the result of a run'):
    fj.fuse(runs, tmp_path / 'of_a_run')


def test_folds_are_fused_one_by_one(tmp_path):
  for run in range(2):
    for fold in range(2):
      folder = tmp_path / f'run_{run}' / f'fold_{fold}_seed_0'
      write(folder, predictions(2 * run + fold))
  both = [tmp_path / f'run_{run}' for run in range(2)]
  found = fj.fuse(both, tmp_path / 'out')
  assert [run['fold'] for run in found['runs']] == [0, 1]
  parts = [
    fj.fuse([run / f'fold_{fold}_seed_0' for run in both], tmp_path / f'{fold}')
    for fold in range(2)
  ]
  mean = np.mean([part['top1'] for part in parts])
  assert found['top1']['mean'] == pytest.approx(mean)
  assert (tmp_path / 'out' / 'cross_validation.md').is_file()
  write(tmp_path / 'run_1' / 'fold_2_seed_0', predictions(0))
  with pytest.raises(ValueError, match=r'folds 0, 1 of seeds 0, and .*0, 1, 2'):
    fj.fuse(both, tmp_path / 'out')
  assert json.loads((tmp_path / 'out' / 'folds.json').read_text()) == [0, 1]
  run_log.stop()


def test_no_fold_is_written_if_one_does_not_fit(runs, tmp_path):
  both = [tmp_path / 'cv_0', tmp_path / 'cv_1']
  for run in both:
    for fold in range(2):
      write(run / f'fold_{fold}_seed_0', predictions(fold))
  write(both[1] / 'fold_1_seed_0', renamed(predictions(0)))
  with pytest.raises(ValueError, match='The runs have other videos'):
    fj.fuse(both, tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('fold_*'))
