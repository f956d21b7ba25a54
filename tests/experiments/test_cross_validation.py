# SPDX-License-Identifier: Apache-2.0
"""Cross-validation: its runs and the means of their scores."""

import json
import shutil

import pytest

from configs import common
import flatten_jax as fj
from flatten_jax.experiments import cross_validation, fold_summary
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.workdir import run_log


def scores(top1, videos=10, scored=9):
  return {
    'top1': top1,
    'top5': 90.0,
    'mean_class': top1 / 2,
    'videos': videos,
    'scored': scored,
    'views': '16x4x3x2',
    'classes': 12,
    'chance': 100 / 12,
    'chance_class': '',
    'name': 'test',
  }


def test_mean_and_deviation_by_hand():
  summary = fold_summary.summarize(
    {
      (0, 0): scores(10.0),
      (0, 1): scores(20.0),
      (1, 0): scores(40.0, 5, 5),
      (1, 1): scores(30.0, 5, 5),
    }
  )
  assert (summary['videos'], summary['scored']) == (15, 14)
  top1 = summary['top1']
  assert top1['mean'] == 25
  assert top1['std_folds'] == pytest.approx(20 / 2**0.5)  # Of 15 and 35.
  assert top1['std_seeds'] == 0  # Of 25 and 25.
  page = ' '.join(fold_summary.markdown(summary).split())
  assert '| mean of folds | | | 25.00 | 90.00 | 12.50 | |' in page
  # 18 videos at 15 % and 10 at 35 %.
  assert '| all videos together | | | 22.14 | 90.00 | | 8 to 48 |' in page
  assert 'Views 16x4x3x2 (16 px, 4 frames, 3 crops, 2 clips); 14 of 15' in page
  assert '| 1 | 0 | 5 of 5 | 40.00 | 90.00 | 20.00 | 12 to 77 |' in page
  # One of twelve classes, in every run: 8.33 %.
  assert 'top-1 of all of them 22.14 % (95 %: 8 to 48); not better' in page
  assert top1['chance'] == pytest.approx(100 / 12)


def test_one_seed_has_no_deviation():
  summary = fold_summary.summarize({(0, 3): scores(1.0), (1, 3): scores(2.0)})
  assert summary['top1']['std_seeds'] is None
  assert 'deviation of seeds' not in fold_summary.markdown(summary)
  assert 'deviation of folds' in fold_summary.markdown(summary)


def test_a_fold_without_readable_videos_is_not_zero_percent():
  summary = fold_summary.summarize(
    {(0, 0): scores(0.0, 10, 0), (1, 0): scores(60.0), (2, 0): scores(80.0)}
  )
  assert summary['top1']['mean'] == summary['top1']['pooled'] == 70
  page = ' '.join(fold_summary.markdown(summary).split())
  assert '| 0 | 0 | 0 of 10 | - | - | - | - |' in page
  assert '; chance 8.33 %.' in page


def test_runs_of_earlier_versions_are_summarised_without_chance():
  old = scores(60.0)
  del old['chance']
  summary = fold_summary.summarize({(0, 0): old, (1, 0): old})
  assert summary['top1']['interval'] == pytest.approx([36.58, 79.67], abs=5)
  assert 'chance' not in fold_summary.markdown(summary)


def test_folds_without_any_readable_video_have_no_interval():
  summary = fold_summary.summarize({(0, 0): scores(0.0, 10, 0)})
  assert 'interval' not in summary['top1']
  assert '| 0 | 0 | 0 of 10 | - | - | - | - |' in ' '.join(
    fold_summary.markdown(summary).split()
  )


def test_five_classes_have_no_top5():
  summary = fold_summary.summarize({(0, 0): scores(1.0) | {'classes': 5}})
  assert 'top-5' not in fold_summary.markdown(summary)


def test_scoring_an_empty_folder_names_the_mode_that_trains(tmp_path):
  with pytest.raises(FileNotFoundError, match='--mode=cross_validate'):
    fj.evaluate_folds(None, tmp_path)


@pytest.fixture
def runs(monkeypatch):
  """A list of the trained and evaluated runs, whose scores are made up."""
  done = []

  def train(config, folder):
    done.append(('train', config.data.fold, config.seed, folder.name))
    folder.mkdir(exist_ok=True)
    split = 'val' if config.data.folds == 2 else 'test'
    results = {split: scores(10.0 * config.data.fold)}
    (folder / 'results.json').write_text(json.dumps(results))

  def score(config, folder, views, split):
    assert not split
    fold = config and config.data.fold
    done.append(('evaluate', fold, config and config.seed, folder.name + views))
    return scores(50.0)

  monkeypatch.setattr(cross_validation.loop, 'train_and_evaluate', train)
  monkeypatch.setattr(cross_validation.evaluate, 'evaluate', score)
  return done


def test_every_fold_and_seed_has_a_run_of_its_own(
  config, clips_root, tmp_path, runs
):
  folds_of(config, clips_root, tmp_path, [0, 0, 1, 1, 2, 2])
  config.data.folds = 3
  config.seed = 5
  summary = fj.cross_validate(config, tmp_path, seeds=2)
  assert runs == [
    ('train', fold, seed, f'fold_{fold}_seed_{seed}')
    for seed in (5, 6)
    for fold in (0, 1, 2)
  ]
  assert (config.data.fold, config.seed) == (-1, 5)  # Unchanged.
  assert summary['top1']['mean'] == 10
  saved = json.loads((tmp_path / 'cross_validation.json').read_text())
  assert saved == summary
  assert '| mean of folds ' in (tmp_path / 'cross_validation.md').read_text()
  assert 'Run 6 of 6: fold 2' in (tmp_path / 'log.txt').read_text()
  runs.clear()
  assert fj.evaluate_folds(None, tmp_path)['top1']['mean'] == 50
  fj.evaluate_folds(config, tmp_path, '3x4')
  assert runs[0] == ('evaluate', None, None, 'fold_0_seed_5')
  assert runs[-1] == ('evaluate', 2, 6, 'fold_2_seed_63x4')
  assert len(runs) == 12


def folds_of(config, clips_root, folder, folds, labels=None):
  """Writes a list of training videos with these folds."""
  clips = sorted((clips_root / 'train').rglob('*.mp4'))[:: 24 // len(folds)]
  lines = ['path,label,fold']
  for number, (clip, fold) in enumerate(zip(clips, folds, strict=False)):
    label = labels[number] if labels else 'ab'[number % 2]
    lines.append(f'{clip},{label},{fold}')
  config.data.root = str(folder / 'clips.csv')
  (folder / 'clips.csv').write_text('\n'.join(lines) + '\n')


def test_training_only_videos_are_never_tested(
  config, clips_root, tmp_path, runs
):
  folds = [-1, -1, 0, 0, 1, 1, '', '']
  folds_of(config, clips_root, tmp_path, folds)
  fj.cross_validate(config, tmp_path / 'cv')
  assert [fold for _, fold, *_ in runs] == [0, 1]
  text = (tmp_path / 'cv' / 'log.txt').read_text()
  assert '2 folds test 4 of 8 videos, each once; the others are for' in text


@pytest.mark.parametrize(
  ('folds', 'labels', 'message'),
  [
    ([0, 0, 0, 0], 'abab', 'Fold 0: All videos are in fold 0'),
    ([0, 0, 1, 1, 1], 'ababc', 'Fold 1: The test split has 1 classes'),
  ],
)
def test_every_fold_is_checked_before_one_is_trained(
  config, clips_root, tmp_path, runs, folds, labels, message
):
  folds_of(config, clips_root, tmp_path, folds, labels)
  with pytest.raises(ValueError, match=message):
    fj.cross_validate(config, tmp_path / 'cv')
  assert not runs


def test_what_a_fold_lacks_is_said(config, clips_root, tmp_path, runs):
  folds_of(config, clips_root, tmp_path, [0, 0, -1, -1, 0], 'ababa')
  fj.cross_validate(config, tmp_path / 'cv')
  text = (tmp_path / 'cv' / 'log.txt').read_text()
  assert 'There is only fold 0' in text
  folds_of(config, clips_root, tmp_path, [0, 1, -1, -1], 'abab')
  fj.cross_validate(config, tmp_path / 'cv2')
  text = (tmp_path / 'cv2' / 'log.txt').read_text()
  assert 'Fold 1: 1 of 2 classes have no test video' in text


def test_only_whole_seeds_and_real_folds_are_evaluated_again(
  tmp_path, runs, caplog
):
  for name in ('0_seed_0', '1_seed_0', '-1_seed_0', '0_seed_1', '0_seed_0.old'):
    (tmp_path / f'fold_{name}').mkdir()
    (tmp_path / f'fold_{name}' / 'results.json').write_text('{"test": {}}')
  (tmp_path / 'fold_1_seed_1').mkdir()  # It still trains.
  fj.evaluate_folds(None, tmp_path)
  assert [name for *_, name in runs] == ['fold_0_seed_0', 'fold_1_seed_0']
  for path in tmp_path.glob('fold_[01]_seed_0/results.json'):
    path.unlink()
  with pytest.raises(FileNotFoundError, match='results of all 2 folds'):
    fj.evaluate_folds(None, tmp_path)


def test_a_fold_that_failed_before_its_folder_was_made_is_missed(
  config, clips_root, tmp_path, runs
):
  folds_of(config, clips_root, tmp_path, [0, 0, 1, 1, 2, 2])
  workdir = tmp_path / 'cv'
  fj.cross_validate(config, workdir, seeds=2)
  assert json.loads((workdir / 'folds.json').read_text()) == [0, 1, 2]
  shutil.rmtree(workdir / 'fold_2_seed_0')
  whole = [(0, 1), (1, 1), (2, 1)]
  assert cross_validation.finished_runs(workdir) == whole
  text = (workdir / 'log.txt').read_text()
  assert 'Seed 0 is left out: its fold 2 is missing' in text
  unfinished = workdir / 'fold_1_seed_1' / 'run.json'  # Tested before its end.
  unfinished.write_text('{"finished": false}')
  with pytest.raises(FileNotFoundError, match='fold 2; seed 1 lacks fold 1'):
    fj.evaluate_folds(None, workdir)
  unfinished.unlink()
  folder = workdir / 'fold_7_seed_1'  # Of another list of folds, before.
  folder.mkdir()
  (folder / 'results.json').write_text('{"test": {}}')
  assert cross_validation.finished_runs(workdir) == whole


def test_finished_runs_may_keep_their_scores(
  config, clips_root, tmp_path, runs
):
  folds_of(config, clips_root, tmp_path, [0, 0, 1, 1])
  first = fj.cross_validate(config, tmp_path / 'cv')
  (tmp_path / 'cv' / 'fold_1_seed_0' / 'results.json').unlink()
  runs.clear()
  again = fj.cross_validate(config, tmp_path / 'cv', test_again=False)
  assert runs == [('train', 1, 0, 'fold_1_seed_0')] and again == first


def test_other_views_have_a_summary_of_their_own(tmp_path, runs, monkeypatch):
  (tmp_path / 'fold_0_seed_0').mkdir()
  (tmp_path / 'fold_0_seed_0' / 'results.json').write_text('{"test": {}}')

  def score(config, folder, views, split):
    del config, folder
    name = f'{split or "test"}{views}'
    return scores(70.0 if views else 50.0) | {'name': name}

  monkeypatch.setattr(cross_validation.evaluate, 'evaluate', score)
  fj.evaluate_folds(None, tmp_path)
  fj.evaluate_folds(None, tmp_path, '_3x4')
  for split in ('train', 'val'):
    fj.evaluate_folds(None, tmp_path, split=split)
    fj.evaluate_folds(None, tmp_path, '_3x4', split=split)
    assert (tmp_path / f'cross_validation_{split}.md').is_file()
    assert (tmp_path / f'cross_validation_{split}_3x4.md').is_file()
  own, other = (
    json.loads((tmp_path / f'cross_validation{suffix}.json').read_text())
    for suffix in ('', '_3x4')
  )
  assert (own['top1']['mean'], other['top1']['mean']) == (50, 70)


def test_val_is_scored_if_there_is_no_test_split(
  config, clips_root, tmp_path, runs
):
  config.data.root = str(clips_root / 'train')
  config.data.folds = 2
  summary = fj.cross_validate(config, tmp_path)
  assert len(runs) == 2 and summary['top1']['mean'] == 5


@pytest.fixture(autouse=True)
def quiet():
  yield
  run_log.stop()


def test_what_is_left_open_is_chosen_once_for_all_folds(
  config, clips_root, tmp_path, monkeypatch
):
  folds_of(config, clips_root, tmp_path, [0] * 10 + [1] * 14)
  common.leave_open(config, 'epochs', 'lr', 'batch_size')
  config.recipe, trained = 'few_videos', []

  def train(config, folder):
    trained.append((config.epochs, config.lr, config.batch_size))
    folder.mkdir(exist_ok=True)
    (folder / 'results.json').write_text(json.dumps({'test': scores(50.0)}))

  monkeypatch.setattr(cross_validation.loop, 'train_and_evaluate', train)
  fj.cross_validate(config, tmp_path)
  assert trained == [(150.0, 5e-4, 8)] * 2
  saved = config.copy_and_resolve_references()
  saved.epochs, saved.lr, saved.batch_size = 3.0, 0.1, 16
  monkeypatch.setattr(
    configs,
    'saved_config_of',
    lambda folder: saved if 'fold_0_seed_0' in str(folder) else None,
  )
  fj.cross_validate(config, tmp_path)  # The first run's choices stay.
  assert trained[2:] == [(3.0, 0.1, 16)] * 2
