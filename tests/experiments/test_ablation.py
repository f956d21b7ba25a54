# SPDX-License-Identifier: Apache-2.0
"""The ablation: its variants, its runs and its tables."""

import json

import pytest

from configs import quickstart
import flatten_jax as fj
from flatten_jax.experiments import ablation
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.runtime.workdir import run_log


def test_a_variant_changes_its_own_key_only():
  config = quickstart.get_config('frames=16')
  nested = ablation.variant_config(config, 'nested')
  assert nested.flatten == 'nested'
  assert ablation.variant_config(config, 'one_frame').data.repeat_frame
  assert ablation.variant_config(config, '3d').model.name == 'uniformer3d_nano'
  config.grid = (2, 8)
  average = ablation.variant_config(config, 'average')
  assert (average.clip_model, average.grid) == ('average', ())
  assert config.flatten == 'row_major'  # Itself unchanged.


def test_a_video_model_gets_frames_that_its_strides_divide():
  config = quickstart.get_config('frames=16,pixels=16')
  config.data.short_side = 20
  assert ablation.variant_config(config, 'row_major').data.crop == 16
  video = ablation.variant_config(config, '3d')
  assert (video.data.crop, video.data.short_side) == (32, 40)


def test_a_wrong_variant_is_refused_before_training(tmp_path):
  config = quickstart.get_config('frames=9')
  with pytest.raises(ValueError, match=r'9 frames cannot be flattened nested'):
    fj.ablate(config, tmp_path, variants=['row_major', 'nested'])
  with pytest.raises(ValueError, match=r"no variant 'spiral'.*row_major"):
    fj.ablate(config, tmp_path, variants=['spiral'])
  config.model.name = 'resnet50'
  with pytest.raises(ValueError, match=r'resnet50 has no counterpart'):
    fj.ablate(config, tmp_path, variants=['3d'])
  config.model.name = 'vivit_test'
  with pytest.raises(ValueError, match=r'vivit_test takes clips.*one_frame'):
    fj.ablate(config, tmp_path, variants=['row_major', 'one_frame'])
  one = ablation.variant_config(config, 'one_frame')
  assert one.data.repeat_frame
  assert not list(tmp_path.iterdir())


def test_an_ablation_trains_probes_and_tabulates(tmp_path):
  root = motion_clips.make(
    tmp_path / 'clips', train=24, val=12, test=12, progress=False
  )
  config = quickstart.get_config('clips=0,frames=4')
  config.data.root = str(root)
  config.data.threads = 2
  config.model.name = 'uniformer_test'
  config.model.depth = (1, 0, 1, 0)
  config.batch_size = 8
  config.epochs = 1.0
  config.warmup_epochs = 0.0
  config.eval_every = 0.0
  config.log_every = 1
  config.compile_cache = ''
  workdir, before_lr = tmp_path / 'ablation', config.lr

  found = fj.ablate(config, workdir, variants=['row_major', '3d'])

  assert json.loads((workdir / 'ablation.json').read_text()) == found
  flat, video = found['row_major'], found['3d']
  assert flat['probes']['as trained'] == flat['top1']
  assert set(flat['probes']) == set(ablation.TESTS) - {'flattened nested'}
  assert set(video['probes']) == {'as trained', 'reversed', 'shuffled'}
  assert video['params_m'] > flat['params_m']
  page = (workdir / 'ablation.md').read_text()
  assert '| row_major | ' in page
  assert 'flattened random' in page
  assert (workdir / 'loss_curves.png').read_bytes().startswith(b'\x89PNG')
  before = (workdir / 'row_major' / 'seed_0' / 'log.txt').stat().st_mtime_ns
  assert fj.ablate(config, workdir, variants=['row_major', '3d']) == found
  after = (workdir / 'row_major' / 'seed_0' / 'log.txt').stat().st_mtime_ns
  assert after == before  # No run was trained or tested again.
  config.data.views = '3x1'  # Finished runs have other scores.
  with pytest.raises(ValueError, match=r'another config:\n  data.views: was'):
    fj.ablate(config, workdir, variants=['row_major'])
  config.data.views, config.lr = '', 1.0
  with pytest.raises(ValueError, match=r'another config:\n  lr: was'):
    fj.ablate(config, workdir, variants=['row_major'])
  moved = root.rename(tmp_path / 'moved')
  config.data.root, config.lr = str(moved), before_lr
  assert fj.ablate(config, workdir, variants=['row_major', '3d']) == found
  next((moved / 'train').rglob('*.mp4')).unlink()
  with pytest.raises(ValueError, match=r'other videos \(train: other names'):
    fj.ablate(config, workdir, variants=['row_major'])


@pytest.fixture
def trained(monkeypatch):
  """The variants that were trained, with made-up scores."""
  done = []

  def train(config, folder, seeds, folds):
    done.append(folder.name)
    name = 'fold_0_seed_0' if folds else 'seed_0'
    (folder / name).mkdir(parents=True, exist_ok=True)
    return {seed: [folder / name] for seed in range(seeds)}

  def summarize(runs):
    scores = {'top1': [50.0] * len(runs), 'mean_class': [40.0] * len(runs)}
    scores |= {'gflops_per_view': 1.0, 'params_m': 2.0, 'scored': 0}
    scores |= {'clips_per_second': None, 'split': 'test'}
    return scores | {'views': '16x4x1x1', 'call': len(done)}

  monkeypatch.setattr(ablation.runs, 'train', train)
  monkeypatch.setattr(ablation.runs, 'probe', lambda runs, tests: {})
  monkeypatch.setattr(ablation, 'summarize', summarize)
  monkeypatch.setattr(ablation.curves, 'draw_curves', lambda *_: None)
  yield done
  run_log.stop()


def test_variants_of_earlier_calls_stay_in_the_tables(
  config, tmp_path, trained
):
  fj.ablate(config, tmp_path, variants=['one_frame', 'row_major'])
  found = fj.ablate(config, tmp_path, variants=['random', 'one_frame'], seeds=2)
  assert list(found) == ['row_major', 'random', 'one_frame']
  assert [row['call'] for row in found.values()] == [2, 3, 4]
  assert json.loads((tmp_path / 'ablation.json').read_text()) == found
  page = (tmp_path / 'ablation.md').read_text()
  assert page.startswith(
    'Test top-1 in percent, mean and standard deviation of '
  )
  assert '| row_major | ' in page


def test_variants_of_another_config_are_not_mixed_in(config, tmp_path, trained):
  fj.ablate(config, tmp_path, variants=['row_major'])
  trained.clear()
  with pytest.raises(ValueError, match='row_major was trained without --fo'):
    fj.ablate(config, tmp_path, variants=['random'], folds=True)
  config.lr = 1.0
  with pytest.raises(ValueError, match=r'another config:\n  lr: was'):
    fj.ablate(config, tmp_path, variants=['random'])
  assert not trained


def test_the_table_names_the_split_that_was_scored(tmp_path):
  scores = {'top1': 50.0, 'mean_class': 40.0, 'views': '16x4x1x1'}
  scores |= {'gflops_per_view': 1.0, 'params_m': 2.0, 'scored': 8}
  scores |= {'chance': 25.0, 'chance_class': ''}
  (tmp_path / 'results.json').write_text(json.dumps({'val': scores}))
  (tmp_path / 'metrics.jsonl').write_text(
    '{"step": 1, "clips_per_second": 80.0}\n'
  )
  found = ablation.summarize({0: [tmp_path]}) | {'probes': {}}
  assert (found['split'], found['top1']) == ('val', [50.0])
  page = ablation.markdown({'random': found})
  assert page.startswith('Validation top-1 in percent, one seed; chance 25 %.')
  assert '| 50.0    | 22 to 78 |' in page


def test_mean_and_deviation_of_seeds():
  assert ablation.mean_and_deviation([95.0, 96.0, 97.0]) == '96.0 ± 1.0'
  assert ablation.mean_and_deviation([95.2]) == '95.2'


def test_a_mean_is_100_only_if_all_is_right():
  assert ablation.mean_and_deviation([99.98]) == '99.9'
  assert ablation.mean_and_deviation([100.0, 100.0]) == '100.0 ± 0.0'


def test_a_short_run_has_no_speed_and_still_a_table(tmp_path):
  scores = {'top1': 50.0, 'mean_class': 50.0, 'views': '16x4x1x1'}
  scores |= {'gflops_per_view': 1.0, 'params_m': 1.0, 'scored': 0}
  (tmp_path / 'results.json').write_text(json.dumps({'test': scores}))
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "val/top1": 50.0}\n')
  found = ablation.summarize({0: [tmp_path]})
  json.dumps(found, allow_nan=False)
  page = ablation.markdown({'row_major': found | {'probes': {}}})
  assert page.startswith('Test top-1 in percent, one seed.')
  assert '| 1.000 M      | -         |' in page
