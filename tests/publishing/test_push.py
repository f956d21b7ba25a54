# SPDX-License-Identifier: Apache-2.0
"""Models in folders: pushed to the bit, read wherever a run is read, or not."""

import json
import pathlib
import shutil

from flax import nnx
import jax
import numpy as np
import optax
import pytest

import flatten_jax as fj
from flatten_jax import hub
from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.checkpoints.load import load_model
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.publishing import push as pushing
from flatten_jax.runtime.configuration import config as configs, default_config
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from tests.publishing.conftest import same_weights


def files_of(folder: pathlib.Path) -> dict[str, tuple]:
  return {
    str(file): (file.stat().st_mtime_ns, file.stat().st_size)
    for file in folder.rglob('*')
  }


def small_config(**changes):
  """Returns the config of a tiny model, with changes outside of groups."""
  config = default_config.base()
  config.model.name = 'uniformer_test'
  config.data.num_frames, config.data.crop = 4, 16
  config.update(changes)
  return config


def make_averaged_run(folder) -> pathlib.Path:
  """Makes an untrained run, whose averaged weights are others."""
  config = configs.fill_and_check(small_config(ema=0.9))
  class_names = ('a', 'b', 'c')
  experiment = Experiment.create(config, class_names)
  weights = initial_weights(experiment)
  state = TrainState.create(*weights, optax.identity(), ema=0.9)
  average = jax.tree.map(lambda x: x + 0.5, state.average)
  with Checkpoints(folder) as checkpoints:
    info = RunInfo(class_names, config.to_dict())
    checkpoints.save(state.replace(average=average), info, None)
  return folder


def test_logits_are_the_same_to_the_bit(run, pushed):
  clips = np.random.default_rng(0).integers(0, 256, (3, 4, 16, 16, 3), np.uint8)
  before, after = fj.load(run), fj.from_pretrained(pushed)
  np.testing.assert_array_equal(before(clips), after(clips))
  assert before.class_names == after.class_names
  assert before.clip_shape == after.clip_shape


def test_the_averaged_weights_of_a_run_are_pushed(tmp_path):
  workdir = make_averaged_run(tmp_path / 'run')
  folder = fj.push(workdir, tmp_path / 'pushed')
  ours, theirs = load_model(workdir), load_model(folder)
  assert same_weights(ours.module, theirs.module)
  with Checkpoints(workdir, create=False) as checkpoints:
    last = checkpoints.restore_arrays(0, ('params',))['params']
  pairs = zip(*map(jax.tree.leaves, (last, theirs.params)), strict=True)
  assert all(np.allclose(a + 0.5, b) for a, b in pairs)


def test_thresholds_and_options_go_along(tmp_path):
  config = small_config(mixup=0.0, cutmix=0.0)
  config.data.multi_label = True
  config.model.depth = (1, 0, 1, 0)
  config = configs.fill_and_check(config)
  experiment = Experiment.create(config, ('a', 'b'))
  model = nnx.merge(experiment.graphdef, *initial_weights(experiment))
  info = RunInfo(('a', 'b'), config.to_dict())
  model_folder.write(tmp_path, model, info, step=7, thresholds=(0.25, 0.75))
  loaded = load_model(tmp_path)
  assert (loaded.step, loaded.thresholds) == (7, (0.25, 0.75))
  assert loaded.config.data.multi_label
  assert tuple(loaded.config.model.depth) == (1, 0, 1, 0)


def test_the_workdir_stays_as_it_was(run, tmp_path):
  before = files_of(run)
  fj.push(run, tmp_path / 'a' / 'pushed')
  assert files_of(run) == before
  assert [x.name for x in (tmp_path / 'a').iterdir()] == ['pushed']
  for place in (run, run / 'pushed'):
    with pytest.raises(ValueError, match='is in the workdir, which'):
      fj.push(run, place)


def test_no_path_leaves_the_machine(run, pushed):
  assert 'Alice_Example' in configs.config_of_run(run).data.root
  assert {file.name for file in pushed.iterdir()} == set(hub.FILES)
  for file in pushed.iterdir():
    data = file.read_bytes().lower()
    assert b'alice' not in data and b'/tmp' not in data, file
  described = json.loads((pushed / hub.CONFIG).read_text())
  assert described['config']['data.crop'] == 16
  assert 'data.root' not in described['config']


def test_a_pushed_model_replaces_one_and_nothing_else(run, pushed, tmp_path):
  target = tmp_path / 'model'
  target.mkdir()
  fj.push(pushed, target)  # An empty folder.
  (target / hub.CARD).write_text('# Edited\n')
  fj.push(target, tmp_path / 'copy')
  assert (tmp_path / 'copy' / hub.CARD).read_text() == '# Edited\n'
  fj.push(pushed, target)
  assert (target / hub.CARD).read_text() != '# Edited\n'
  link = tmp_path / 'copy' / 'link'
  link.symlink_to(target)
  for _ in range(2):  # Into the folder that it leads to.
    fj.push(pushed, link)
    assert link.is_symlink() and (target / hub.CONFIG).exists()
  (target / 'notes.txt').touch()
  with pytest.raises(ValueError, match=r'would be replaced \(notes\.txt\)'):
    fj.push(pushed, target)
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / hub.CONFIG).write_text('{"model_type": "vivit"}')
  file = tmp_path / 'file'
  file.touch()
  for place in (tmp_path / 'other', file):
    with pytest.raises(ValueError, match='is not a folder of config'):
      fj.push(pushed, place)
  assert sorted(x.name for x in tmp_path.iterdir()) == [
    *('copy', 'file', 'model', 'other')
  ]


@pytest.mark.parametrize('option', ['license', 'dataset'])
def test_a_card_that_is_taken_as_it_is_gets_no_license(
  pushed, tmp_path, option
):
  words = 'has a card, which is taken as it is: .*first lines of .*README'
  with pytest.raises(ValueError, match=words):
    fj.push(pushed, tmp_path / 'model', **{option: 'mit'})
  assert not list(tmp_path.iterdir())
  bare = shutil.copytree(pushed, tmp_path / 'bare')
  (bare / hub.CARD).unlink()
  fj.push(bare, tmp_path / 'model', **{option: 'mit'})
  assert 'mit' in (tmp_path / 'model' / hub.CARD).read_text()


def test_a_failed_push_leaves_what_was_there(pushed, tmp_path, monkeypatch):
  target = pathlib.Path(fj.push(pushed, tmp_path / 'model'))
  before = files_of(target)

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr(pushing, '_check_weights', fail)
  for place in (target, tmp_path / 'new'):
    with pytest.raises(OSError, match='disk full'):
      fj.push(pushed, place)
  assert files_of(target) == before
  assert [x.name for x in tmp_path.iterdir()] == ['model']


def test_weights_that_are_read_otherwise_are_not_pushed(
  pushed, tmp_path, monkeypatch
):
  restore = model_folder.ModelFolder.restore_weights

  def another_bit(self, step):
    weights = restore(self, step)
    if self.folder != pushed:
      bias = weights['params']['head']['bias']
      weights['params']['head']['bias'] = np.nextafter(bias, np.inf)
    return weights

  monkeypatch.setattr(model_folder.ModelFolder, 'restore_weights', another_bit)
  with pytest.raises(RuntimeError, match='is read back with other weights'):
    fj.push(pushed, tmp_path / 'model')


def test_code_of_ones_own_is_not_pushed(run, tmp_path):
  workdir = shutil.copytree(run, tmp_path / 'run')
  (metadata,) = workdir.glob('checkpoints/*/info/metadata')
  info = json.loads(metadata.read_text())
  info['config']['flatten'] = 'tests.support.readme:snake'
  metadata.write_text(json.dumps(info))
  shutil.rmtree(metadata.parents[1] / 'checksums.json', ignore_errors=True)
  (metadata.parents[1] / 'checksums.json').unlink(missing_ok=True)
  with pytest.raises(ValueError, match='snake'):
    fj.push(workdir, tmp_path / 'pushed')
  assert not (tmp_path / 'pushed').exists()


def test_a_training_starts_from_a_folder(run, pushed):
  model = fj.create_model('uniformer_test', 12, pretrained=pushed)
  assert same_weights(model, fj.load(run).module)
  assert model.input_spec.crop == 16
  config = default_config.base()
  config.model.name = 'uniformer_test'
  config.model.pretrained = str(pushed)
  config = configs.fill_and_check(config)
  trained = configs.config_of_run(run)
  assert (config.mean, config.std) == (trained.mean, trained.std)
  names = fj.load(run).class_names[::-1]  # In another order.
  params, _ = initial_weights(Experiment.create(config, names))
  saved = load_model(pushed).params['head']['bias']
  np.testing.assert_array_equal(params['head']['bias'], saved[::-1])


@pytest.mark.parametrize(
  ('name', 'data', 'words'),
  [
    (
      hub.WEIGHTS,
      b'\x80\x04cos\nsystem\n',
      'is missing, or not a safetensors file',
    ),
    (hub.WEIGHTS, b'\x10' + b'\0' * 7 + b'{' * 20, 'is damaged'),
    (hub.CONFIG, b'{"library_name": "flatten_jax"}', 'does not describe a mod'),
  ],
)
def test_a_damaged_folder_is_refused(pushed, tmp_path, name, data, words):
  folder = shutil.copytree(pushed, tmp_path / 'model')
  (folder / name).write_bytes(data)
  with pytest.raises(ValueError, match=words):
    fj.load(folder)


def test_a_folder_without_a_model_is_no_run(tmp_path):
  with pytest.raises(FileNotFoundError, match='No checkpoints in'):
    fj.from_pretrained(tmp_path)
  with pytest.raises(ValueError, match='is a folder, which has no revisions'):
    fj.from_pretrained(tmp_path, revision='v1')
  with pytest.raises(ValueError, match='private is for a repository'):
    fj.push(tmp_path, './folder', private=True)
