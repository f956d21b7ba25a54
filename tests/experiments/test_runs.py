# SPDX-License-Identifier: Apache-2.0
"""What the runs of a config keep."""

import json

import pytest

from configs import common
from flatten_jax.evaluation import evaluate
from flatten_jax.experiments import runs
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.training import run_summary


def test_a_test_is_kept_if_it_could_read_as_many_videos(tmp_path, monkeypatch):
  results = {'test': {'top1': 50.0, 'scored': 12}}
  (tmp_path / 'results.json').write_text(json.dumps(results))
  scored = iter([11, 12])
  monkeypatch.setattr(
    evaluate,
    'evaluate_with',
    lambda folder, changes: {'top1': 25.0, 'scored': next(scored)},
  )
  tests = {'shuffled': {'eval_frame_order': 'shuffled'}}
  assert runs.probe({0: [tmp_path]}, tests) == {'shuffled': [25.0]}
  assert not (tmp_path / 'probes.json').exists()  # Videos were missing.
  for _ in range(2):  # The second time, it is read.
    assert runs.probe({0: [tmp_path]}, tests) == {'shuffled': [25.0]}
  kept = json.loads((tmp_path / 'probes.json').read_text())
  assert kept == {'shuffled': 25.0}


def test_a_run_that_was_evaluated_before_its_end_is_trained_on(
  tmp_path, monkeypatch
):
  trained = []

  def train(config, folder):
    trained.append(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'results.json').write_text('{"test": {}}')
    (folder / 'run.json').write_text('{"finished": false}')
    if len(trained) > 1:
      run_summary.mark_finished(folder)

  monkeypatch.setattr(runs.loop, 'train_and_evaluate', train)
  config = configs.complete(common.base())
  for _ in range(3):
    runs.train(config, tmp_path, seeds=1, folds=False)
  assert trained == [0, 0]
  # Runs of earlier versions, and archives without checkpoints.
  (tmp_path / 'seed_0' / 'run.json').write_text('{}')
  runs.train(config, tmp_path, seeds=1, folds=False)
  assert trained == [0, 0]


def test_finished_folds_are_not_tested_again(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(
    runs,
    'cross_validate',
    lambda config, folder, seeds, **options: calls.append(options),
  )
  config = configs.complete(common.base())
  runs.train(config, tmp_path, seeds=1, folds=True)
  assert calls == [{'test_again': False}]


def test_other_videos_than_those_of_earlier_runs_are_refused(tmp_path):
  def of(*names):
    records = tuple(Record(f'{name}.mp4', name, 0) for name in names)
    return Videos(records, ('a',))

  runs.check_same_videos({'train': of('x', 'y')}, tmp_path)
  runs.check_same_videos({'train': of('x', 'y')}, tmp_path)
  with pytest.raises(ValueError, match=r'\(train: other names or weights in 1'):
    runs.check_same_videos({'train': of('x', 'z')}, tmp_path)
  with pytest.raises(ValueError, match=r'\(test: it was not there\)'):
    runs.check_same_videos({'train': of('x', 'y'), 'test': of('z')}, tmp_path)


def test_published_splits_are_opened_by_their_first(monkeypatch):
  opened = []
  monkeypatch.setattr(runs.dataset, 'fold_numbers', lambda data: [3, 4])
  monkeypatch.setattr(
    runs.context, 'open_videos', lambda config: opened.append(config.data.fold)
  )
  config = configs.complete(common.base())
  for folds in (True, False):
    runs.open_videos(config, folds)
  assert opened == [3, -1] and config.data.fold == -1


def test_videos_of_all_folds_count_alike(tmp_path):
  """The interval is that of the top-1 beside it."""
  folders = []
  for fold, (right, count) in enumerate([(10, 10), (95, 190)]):
    folders.append(tmp_path / f'fold_{fold}_seed_0')
    folders[-1].mkdir()
    share = 100 * right / count
    scores = {'top1': share, 'mean_class': share, 'scored': count}
    scores |= {'views': '16x4x1x1', 'gflops_per_view': 1.0, 'params_m': 1.0}
    scores |= {'chance': 10.0, 'chance_class': ''}
    text = json.dumps({'test': scores})
    (folders[-1] / 'results.json').write_text(text)
    (folders[-1] / 'metrics.jsonl').touch()
    (folders[-1] / 'probes.json').write_text(json.dumps({'shuffled': share}))
  found = runs.summarize({0: folders})
  assert found['top1'] == [52.5] and found['mean_class'] == [75.0]
  assert found['top1_interval'] == pytest.approx([45.6, 59.3], abs=0.1)
  assert runs.probe({0: folders}, {'shuffled': {}}) == {'shuffled': [52.5]}
