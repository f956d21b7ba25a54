# SPDX-License-Identifier: Apache-2.0
"""Results of several protocols stand side by side, and none is lost."""

import json
from pathlib import Path
import shutil

import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_config
from flatten_jax.evaluation import evaluate, metrics, protocols, results
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.runtime.workdir import run_log
from tests.support import small_run


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A workdir with its own result."""
  workdir = small_run.make(tmp_path_factory.mktemp('results'))
  fj.evaluate(None, workdir)
  run_log.stop()
  return workdir


@pytest.fixture
def workdir(made, tmp_path):
  """A copy of it."""
  yield shutil.copytree(made, tmp_path / 'run')
  run_log.stop()


def files(workdir):
  """Returns the content of all result files by name."""
  return {
    path.name: path.read_bytes()
    for path in workdir.iterdir()
    if path.name.startswith(('predictions', 'confusion', 'report'))
  }


def names(workdir):
  return list(json.loads((workdir / 'results.json').read_text()))


def reversed_frames(config, _):
  config.eval_frame_order = 'reversed'


def smaller_frames(config, _):
  config.data.short_side = 16


def other_list(config, tmp_path):
  """A list of three of the test videos, in a folder with an odd name."""
  folder = tmp_path / 'Müller & Söhne'
  folder.mkdir()
  clips = sorted((tmp_path / config.data.root / 'test').rglob('*.mp4'))[:3]
  lines = [f'{path},{path.parent.name}\n' for path in clips]
  (folder / 'My List.csv').write_text('path,label\n' + ''.join(lines))
  config.data.train = config.data.test = str(folder / 'My List.csv')
  config.data.root = ''


@pytest.mark.parametrize(
  ('change', 'views', 'name'),
  [
    (None, '3x2', 'test_3x2'),
    (reversed_frames, '', 'test_reversed'),
    (reversed_frames, '1x2', 'test_1x2_reversed'),
    (smaller_frames, '', 'test_short_side_16'),
    (other_list, '', 'test_my_list'),
  ],
)
def test_another_protocol_has_a_result_of_its_own(
  workdir, tmp_path, change, views, name
):
  before, own = files(workdir), results.tested(workdir)
  config = None
  if change:
    config = load_config(workdir)
    change(config, tmp_path)
  found = fj.evaluate(config, workdir, views)
  assert found['name'] == name and names(workdir) == ['test', name]
  after = files(workdir)
  assert after.items() >= before.items()
  assert after.keys() - before.keys() == {f.format(name) for f in results.FILES}
  assert results.tested(workdir) == own
  assert fj.score_workdir(workdir).keys() == {'test', name}
  fj.evaluate(config, workdir, views)  # Replaces only itself.
  fj.evaluate(None, workdir)
  assert names(workdir) == ['test', name]
  assert files(workdir) == after


def test_a_test_on_training_videos_is_said(workdir):
  config = load_config(workdir)
  root = config.data.root
  config.data.train, config.data.root = f'{workdir}/test.csv', ''
  config.data.test = f'{workdir}/both.csv'
  for name, splits in (('test', ['test']), ('both', ['train', 'test'])):
    clips = [c for s in splits for c in sorted(Path(root, s).rglob('*.mp4'))]
    lines = [f'{clip},{clip.parent.name}\n' for clip in clips]
    (workdir / f'{name}.csv').write_text('path,label\n' + ''.join(lines))
  fj.evaluate(config, workdir)
  text = (workdir / 'log.txt').read_text()
  assert 'was trained on 12 of these 24 videos' in text


def test_an_interrupted_evaluation_leaves_the_results(workdir, monkeypatch):
  before = files(workdir) | {'json': (workdir / 'results.json').read_bytes()}

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(evaluate, 'predict', interrupt)
  for views in ('', '3x2'):
    with pytest.raises(KeyboardInterrupt):
      fj.evaluate(None, workdir, views)
  after = files(workdir) | {'json': (workdir / 'results.json').read_bytes()}
  assert after == before


def test_an_interrupted_write_of_predictions_is_not_a_result(
  workdir, monkeypatch
):
  def interrupt(file, **_):
    file.write(b'PK')
    raise KeyboardInterrupt

  before = files(workdir), fj.score_workdir(workdir)
  monkeypatch.setattr(np, 'savez_compressed', interrupt)
  with pytest.raises(KeyboardInterrupt):
    fj.evaluate(None, workdir)
  assert fj.score_workdir(workdir) == before[1]
  assert files(workdir).items() >= before[0].items()


OWN = {
  'views': '16x4x1x1',
  'step': 9,
  'data': '/clips',
  'fold': -1,
  'frame_order': 'forward',
  'sampling': 'segment',
  'videos': 12,
  'videos_sha256': 'abc',
}


@pytest.mark.parametrize(
  ('changes', 'name'),
  [
    ({'views': '16x4x3x10'}, '3x10'),
    ({'views': '32x4x1x1'}, '32x4x1x1'),
    ({'step': 6}, 'step_6'),
    ({'fold': 2, 'step': 6}, 'step_6_fold_2'),
    ({'data': '/a b/Ünï (1).csv', 'videos': 3}, 'ünï_1_'),
    ({'data': '/a/\udce9.csv', 'videos': 3}, '_'),
    ({'videos': 11, 'videos_sha256': 'abd'}, '11_videos'),
    ({'data': '/x/' + 200 * 'y'}, 80 * 'y'),
  ],
)
def test_the_name_of_a_protocol_is_what_differs(changes, name):
  assert protocols.short_name(OWN | changes, OWN) == name


def test_the_name_of_a_protocol_tells_what_it_lacks():
  own = OWN | {'test_short_side': 256}
  assert protocols.differences(OWN, own) == {'test_short_side': 'none'}
  assert protocols.short_name(OWN, own) == 'no_test_short_side'
  assert protocols.short_name(own, OWN) == 'test_short_side_256'


def test_the_flow_and_the_shape_of_frames_are_of_a_protocol(config):
  predictions = metrics.Predictions(
    np.array(['a']),
    np.zeros(1, int),
    np.zeros((1, 2), np.float32),
    np.ones(1, bool),
    ('x', 'y'),
  )
  rgb = protocols.describe(config, 'test', 1, predictions)
  assert not {'flow', 'resize'} & set(rgb)
  config.data.input = 'flow'
  own = protocols.describe(config, 'test', 1, predictions)
  config.data.flow_method = 'tvl1'
  other = protocols.describe(config, 'test', 1, predictions)
  assert protocols.short_name(other, own) == 'tvl1'
  config.data.resize = (20, 24)
  other |= {'resize': [20, 24]}
  assert protocols.describe(config, 'test', 1, predictions) == other


def test_two_protocols_of_one_name_are_numbered(tmp_path):
  """Lists of the same name in two folders."""
  for number, folder in enumerate('abab'):
    protocol = OWN | {'data': f'/{folder}/list.csv'}
    name = results.place(tmp_path, 'test', protocol, OWN)
    assert name == ('test_list', 'test_list_2')[number % 2]
    write(tmp_path, name, protocol, number)
  assert names(tmp_path) == ['test_list', 'test_list_2']
  with pytest.raises(FileNotFoundError, match='--mode=evaluate'):
    results.tested(tmp_path)


def write(workdir, name, protocol, top1):
  """Writes a result whose top-1 is made up."""
  labels = np.array([0, 1])
  logits = np.eye(2, dtype=np.float32)
  ours = Predictions(
    np.array(['x', 'y']), labels, logits, labels >= 0, ('a', 'b'), '16x4x1x1'
  )
  scores = metrics.compute_metrics(ours) | {'top1': float(top1)}
  scores |= {'best_classes': [], 'worst_classes': [], 'confused': []}
  scores |= {'gflops_per_view': 1.0, 'params_m': 1.0, 'step': protocol['step']}
  scores['videos'] = protocol['videos']
  results.write_results(
    workdir, name, scores | {'protocol': protocol, 'name': name}, ours
  )


@pytest.mark.parametrize('text', ['{"test": {"top1"', '[1]', 'null'])
def test_a_damaged_file_does_not_stop_the_next_result(tmp_path, caplog, text):
  (tmp_path / 'results.json').write_text(text)
  write(tmp_path, results.place(tmp_path, 'test', OWN, OWN), OWN, 20)
  assert results.tested(tmp_path)[1]['top1'] == 20
  assert 'damaged' in caplog.text


@pytest.mark.parametrize('legacy', [False, True])
def test_an_own_result_of_an_earlier_step_keeps_its_files(tmp_path, legacy):
  early = OWN | {'step': 3}
  write(tmp_path, results.place(tmp_path, 'test', early, early), early, 10)
  if legacy:  # Results of earlier versions have no protocol.
    text = json.loads((tmp_path / 'results.json').read_text())
    del text['test']['protocol'], text['test']['name']
    (tmp_path / 'results.json').write_text(json.dumps(text))
  before = files(tmp_path)
  write(tmp_path, results.place(tmp_path, 'test', OWN, OWN), OWN, 20)
  found = results.read_all(tmp_path)
  assert {key: entry['top1'] for key, entry in found.items()} == {
    'test': 20,
    'test_step_3': 10,
  }
  assert all(entry['name'] == key for key, entry in found.items())
  after = files(tmp_path)
  for file in results.FILES:
    assert after[file.format('test_step_3')] == before[file.format('test')]
  assert results.tested(tmp_path)[1]['top1'] == 20


def test_the_training_videos_have_a_result_of_their_own(workdir):
  before = files(workdir)
  found = fj.evaluate(None, workdir, split='train')
  assert (found['name'], found['videos']) == ('train', 12)
  assert names(workdir) == ['test', 'train']
  assert files(workdir).items() >= before.items()
  assert results.tested(workdir)[0] == 'test'
  with pytest.raises(ValueError, match="train or val or test; got 'tset'"):
    fj.evaluate(None, workdir, split='tset')
