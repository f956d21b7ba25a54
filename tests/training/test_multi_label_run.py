# SPDX-License-Identifier: Apache-2.0
"""A run whose videos have several labels, from its list to its predictions."""

import csv
import json
import shutil

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.compiling import program
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.evaluation.multi_label import choose_thresholds
from flatten_jax.exporting import metadata
from flatten_jax.inputs.synthetic import motion_clips, several_motions
from flatten_jax.runtime import callables
from flatten_jax.runtime.configuration import config as configs, default_config
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from tests.support.small_run import small_config


@pytest.fixture(scope='module')
def listed(tmp_path_factory):
  """A list of 70 videos of none, one or two motions; the test is drawn."""
  root = tmp_path_factory.mktemp('several') / 'set'
  options = {'size': 32, 'processes': 1, 'progress': False}
  motion_clips.make(root, motions='several', train=70, val=0, test=0, **options)
  return root / 'train.csv'


def config_of(listed):
  config = small_config(listed)
  config.data.multi_label = True
  config.data.val_holdout = 0.2
  config.test_checkpoint = 'best'
  config.epochs = 2.0
  return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory, listed):
  workdir = tmp_path_factory.mktemp('finished')
  return workdir, fj.train_and_evaluate(config_of(listed), workdir)


def test_a_run_leaves_its_mean_average_precision(finished):
  workdir, _ = finished
  test = json.loads((workdir / 'results.json').read_text())['test']
  assert test['scored'] == test['videos'] == len(test_labels(workdir))
  assert 0 < test['map'] <= 100 and 0 <= test['micro_f1'] <= 100
  assert test['chance'] == pytest.approx(100 * test_labels(workdir).mean())
  assert {'top1', 'top5', 'chance_class', 'order'}.isdisjoint(test)
  rows = run_log.read_metrics(workdir)
  assert any('val/map' in row for row in rows)
  assert not any('val/top1' in row for row in rows)
  log = (workdir / 'log.txt').read_text()
  assert 'hit@1' in log and 'val: mAP' in log and 'top-1' not in log


def test_labels(workdir):
  return Predictions.load(workdir / 'predictions_test.npz').labels


test_labels.__test__ = False  # It is called by tests.


def test_thresholds_are_chosen_on_the_validation(finished, listed):
  workdir, _ = finished
  with Checkpoints(workdir, create=False) as checkpoints:
    saved = checkpoints.scores(checkpoints.choose('best'))['thresholds']
  test = Predictions.load(workdir / 'predictions_test.npz')
  assert test.thresholds == tuple(saved)
  fj.evaluate(None, workdir, split='val')
  (path,) = workdir.glob('predictions_val*.npz')
  val = Predictions.load(path)
  assert val.thresholds == ()  # They would flatter on their own videos.
  assert choose_thresholds(*val.decided()) == pytest.approx(saved, abs=1e-4)


def test_evaluation_again_is_the_same_to_the_bit(finished):
  workdir, _ = finished
  before = (workdir / 'predictions_test.npz').read_bytes()
  fj.evaluate(None, workdir)
  assert (workdir / 'predictions_test.npz').read_bytes() == before


def test_an_interrupted_run_ends_the_same(finished, listed, tmp_path):
  workdir, state = finished
  shutil.copytree(workdir / 'checkpoints', tmp_path / 'checkpoints')
  steps = {
    int(path.name): path for path in (tmp_path / 'checkpoints').iterdir()
  }
  assert len(steps) == 2
  shutil.rmtree(steps[max(steps)])
  again = fj.train_and_evaluate(config_of(listed), tmp_path)
  jax.tree.map(np.testing.assert_array_equal, again, state)
  texts = [
    (w / 'predictions_test.npz').read_bytes() for w in (workdir, tmp_path)
  ]
  assert texts[0] == texts[1]


def test_one_label_is_another_run(finished, listed):
  other = config_of(listed)
  other.data.multi_label = False
  with pytest.raises(ValueError, match='have no label'):
    fj.train_and_evaluate(other, finished[0])


def test_predict_lists_the_classes_from_their_thresholds_on(
  finished, listed, tmp_path, capsys
):
  workdir, _ = finished
  model = fj.load(workdir)
  found = fj.predict(model, listed.parent / 'videos', out=tmp_path, show=True)
  limits = dict(zip(model.class_names, found[0].thresholds, strict=True))
  for prediction in found:
    chosen = [name for name, _ in prediction.labels]
    every = prediction.top(len(limits))
    assert chosen == [name for name, p in every if p >= limits[name]]
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == len(found) and 'below: ' in ''.join(lines)
  with (tmp_path / 'predictions.csv').open() as file:
    rows = list(csv.DictReader(file))
  content = json.loads((tmp_path / 'predictions.json').read_text())
  assert content['thresholds'] == list(found[0].thresholds)
  for row, entry, prediction in zip(
    rows, content['videos'], found, strict=True
  ):
    names = [name for name, _ in prediction.labels]
    assert row['labels'] == ';'.join(names)
    assert [label['class'] for label in entry['labels']] == names


def test_predictions_are_those_of_the_evaluation(finished, listed):
  workdir, _ = finished
  test = Predictions.load(workdir / 'predictions_test.npz')
  found = fj.load(workdir).predict(listed.parent / str(test.ids[0]))
  np.testing.assert_allclose(
    found.probabilities, test.probabilities()[0], atol=1e-5
  )


def test_an_export_says_what_logits_mean(finished):
  model = fj.load(finished[0]).loaded
  output = metadata.describe(model)['output']
  assert output['probabilities'].startswith('sigmoid')
  assert output['thresholds'] == list(model.thresholds)


def test_a_network_that_averages_windows_averages_decisions(tmp_path):
  config = default_config.base()
  config.model.name, config.data.crop = 'slowfast_test', 64
  config.data.multi_label = True
  config = configs.resolve_devices(configs.fill_and_check(config))
  experiment = Experiment.create(config, ('a', 'b'))
  model = nnx.merge(experiment.graphdef, *experiment.random_weights())
  info = RunInfo(experiment.class_names, config.to_dict())
  model_folder.write(tmp_path, model, info)
  clips = jnp.ones((1, 4, 96, 96, 3))
  expected = model.head(model.windows(model.features(clips)))
  expected = jax.nn.sigmoid(expected).mean((1, 2, 3))
  again = fj.create_model('slowfast_test', 2, tmp_path, clip_shape=(4, 64, 64))
  loaded = callables.from_callable(
    fj.create_model('slowfast_test', 2, clip_shape=(4, 64, 64)),
    settings={'data.multi_label': True},
  )
  assert loaded.module.multi_label
  for one in (model, again):
    np.testing.assert_allclose(jax.nn.sigmoid(one(clips)), expected, rtol=1e-4)


def test_its_training_step_is_lowered_without_videos(listed):
  config = program.resolved(config_of(listed))
  experiment = Experiment.create(config, several_motions.CLASSES)
  text = program.lower_training(experiment)[0].as_text()
  assert 'tensor<8x10xi8>' in text  # The labels.


def test_a_timeline_has_the_labels_of_every_window(finished, listed, tmp_path):
  [found] = fj.predict(
    finished[0],
    listed.parent / 'videos' / 'train_00001.mp4',
    timeline=True,
    annotate=True,
    out=tmp_path,
  )
  windows = found.timeline
  limits = np.array(found.thresholds)
  np.testing.assert_array_equal(
    windows.answer_mask, windows.probabilities >= limits
  )
  path = tmp_path / 'timelines' / f'{found.video}.json'
  for row, entry in enumerate(json.loads(path.read_text())['seconds']):
    names = [name for name, _ in windows.labels(row)]
    assert [label['class'] for label in entry['labels']] == names
  assert (tmp_path / 'annotated' / found.video).exists()


def test_the_page_shows_missing_and_extra_labels(finished):
  workdir, _ = finished
  text = fj.report(workdir).read_text()
  assert 'mean average precision' in text and 'threshold</th>' in text
  assert '>missed<' in text or '>extra<' in text
  assert 'Confusion' not in text and 'top-1' not in text


def test_runs_of_several_labels_are_not_fused(finished, tmp_path):
  again = tmp_path / 'again'
  again.mkdir()
  for name in ('results.json', 'predictions_test.npz'):
    (again / name).write_bytes((finished[0] / name).read_bytes())
  with pytest.raises(ValueError, match='one label per video can be fused'):
    fj.fuse([finished[0], again], tmp_path / 'fused')


@pytest.mark.parametrize('mode', ['ablate', 'compare'])
def test_modes_that_compare_accuracies_refuse_it(mode, listed, tmp_path):
  config = config_of(listed)
  config.compare = default_config.compare()
  config.compare.systems = (('uniformer_test', {}),)
  with pytest.raises(ValueError, match=f'--mode={mode} compares top-1'):
    getattr(fj, mode)(config, tmp_path / mode)


def test_pictures_of_training_clips_name_all_labels(listed, tmp_path):
  fj.inspect_inputs(config_of(listed), tmp_path)
  assert (tmp_path / 'inspect.png').exists()


def test_clips_are_explained(finished):
  fj.explain(finished[0], videos=2)
  rows = json.loads((finished[0] / 'explain' / 'explain.json').read_text())
  assert rows


@pytest.mark.slow
def test_cross_validation_has_the_mean_of_the_folds(listed, tmp_path):
  config = config_of(listed)
  config.data.folds, config.epochs, config.warmup_epochs = 2, 1.0, 0.5
  config.data.val_holdout, config.test_checkpoint = 0.0, 'last'
  summary = fj.cross_validate(config, tmp_path)
  means = [run['map'] for run in summary['runs']]
  assert summary['map']['mean'] == pytest.approx(np.mean(means))
  page = (tmp_path / 'cross_validation.md').read_text()
  assert 'mAP %' in page and 'top-1' not in page
