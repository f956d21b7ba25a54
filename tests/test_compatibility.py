# SPDX-License-Identifier: Apache-2.0
"""Prepared sets and workdirs of each format ever released are used as they are.

Those of commit 634214c, format 1, have config keys of that time; see
`tests/fixtures/make_at_634214c.py`. Later formats have a number.
"""

import json
import os
import pathlib
import re
import shutil
import tarfile

import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints import load
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime.configuration import config as configs, config_keys
from flatten_jax.runtime.workdir import run_log
from tests.support.small_run import small_config

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'


@pytest.fixture
def files(request, tmp_path, monkeypatch):
  """A folder with set/ and run/; it is the working directory."""
  format_number = getattr(request, 'param', 1)
  names = ['at_634214c.tar.xz', f'at_format_{format_number}.tar.xz']
  for name in names[:format_number]:
    if name == names[1]:
      shutil.rmtree(tmp_path / 'run')
    with tarfile.open(FIXTURES / name) as archive:
      archive.extractall(tmp_path, filter='data')
  monkeypatch.chdir(tmp_path)
  yield tmp_path
  run_log.stop()


def config_of_today():
  """Returns the same experiment with today's keys."""
  config = small_config('set')
  config.model.depth = (1, 0, 1, 0)
  config.model.drop_path_rate = 0.0
  config.data.crop_area = (0.5, 1.0)
  config.data.crop_aspect = (0.8, 1.25)
  config.data.random_erasing = 0.25
  config.data.repeated_aug = 2
  config.data.frame_cache_gib = 0.01
  config.batch_size = 16
  config.grad_accum_steps = 2
  config.epochs = 4.0
  config.warmup_lr = 1e-4
  config.min_lr = 1e-5
  config.grad_clip_norm = 10.0
  config.mix_stage = 'after_flatten'
  config.mix_partners = ''  # Open, as in a config file: as the run began.
  config.eval_every = 0.0
  config.save_every = 0.0
  config.keep_last = 1
  return config


def test_the_checkpoint_has_a_config_of_old_keys(files):
  text = (files / 'run' / 'checkpoints' / '2' / 'info' / 'metadata').read_text()
  for key in ('lr_end', 'accumulate', 'mosaics', 'erase', 'area', 'playback'):
    assert f'"{key}"' in text


EVERY_FORMAT = pytest.mark.parametrize(
  'files', range(1, config_keys.FORMAT + 1), indirect=True
)


@EVERY_FORMAT
def test_an_evaluation_gives_the_same_predictions(files):
  before = Predictions.load('run/predictions_test.npz')
  results = json.loads(pathlib.Path('run/results.json').read_text())['test']
  scores = fj.evaluate(None, 'run')
  after = Predictions.load('run/predictions_test.npz')
  np.testing.assert_array_equal(after.labels, before.labels)
  np.testing.assert_allclose(after.logits, before.logits, rtol=1e-4, atol=1e-5)
  assert scores['top1'] == results['top1']
  assert scores['views'] == results['views']


@EVERY_FORMAT
def test_training_continues_to_the_same_end(files):
  (step,) = os.listdir('run/checkpoints')
  state = fj.train_and_evaluate(config_of_today(), 'run')
  assert int(state.step) == 6
  assert f'after step {step}' in pathlib.Path('run/log.txt').read_text()
  info = json.loads(pathlib.Path('run/checkpoints/6/info/metadata').read_text())
  assert info['format'] == config_keys.FORMAT
  expected = Predictions.load('at_end.npz')
  found = Predictions.load('run/predictions_test.npz')
  np.testing.assert_allclose(
    found.logits, expected.logits, rtol=1e-4, atol=1e-5
  )


def test_training_with_another_setting_is_refused(files):
  config = config_of_today()
  config.min_lr = 1e-6
  with pytest.raises(ValueError, match=r'min_lr: was 1e-05, is 1e-06'):
    fj.train_and_evaluate(config, 'run')


# Keys that commits before 634214c did not write.
LATER = (
  *('accumulate', 'batch_norm', 'batch_norm_groups', 'ema', 'eval_views'),
  *('fsdp_min_size', 'layer_decay', 'mesh', 'playback', 'sharding'),
  *('data.images', 'data.index', 'data.randaugment', 'data.time_limit'),
)


def change_info(change):
  """Changes the metadata of the checkpoint of run/."""
  folder = pathlib.Path('run/checkpoints/2')
  info = json.loads((folder / 'info/metadata').read_text())
  change(info)
  (folder / 'info/metadata').write_text(json.dumps(info))
  (folder / 'checksums.json').unlink(missing_ok=True)


def test_keys_that_an_older_checkpoint_lacks_mean_what_was_done_then(files):
  def remove(info):
    del info['videos']
    for key in LATER:
      *section, name = key.split('.')
      del (info['config']['data'] if section else info['config'])[name]

  before = Predictions.load('run/predictions_test.npz')
  change_info(remove)
  fj.evaluate(None, 'run')
  after = Predictions.load('run/predictions_test.npz')
  np.testing.assert_allclose(after.logits, before.logits, rtol=1e-4, atol=1e-5)
  with Checkpoints('run', create=False) as checkpoints:
    found = checkpoints.info(2)
  assert found.format == 1
  config = found.config
  assert config['grad_accum_steps'] == config['batch_norm_groups'] == 1


def test_a_run_from_before_groups_keeps_its_test(files, clips_root, tmp_path):
  def is_split(config, group):
    return dataset.open_splits(config.data)['test'] == dataset.open_splits(
      config.data.to_dict() | {'group': group}
    )['test']  # fmt: skip

  clips = sorted((clips_root / 'train').rglob('*.mp4'))
  lines = [f'{c},{c.parent.name},{i % 4}' for i, c in enumerate(clips)]
  root = tmp_path / 'clips.csv'
  root.write_text('path,label,fold\n' + '\n'.join(lines))
  change_info(lambda info: info['config']['data'].update(root=str(root)))
  config = config_of_today()
  config.data.root = str(root)
  assert is_split(config, '') and not is_split(config, 'none')
  assert is_split(load.load_config('run'), 'none')
  assert is_split(load.load_config('run', config), 'none')
  saved = configs.saved_config_of('run')
  assert is_split(configs.fill_and_check(config, saved), 'none')
  # A run of today that is tested on another draw.
  change_info(lambda info: info['config']['data'].update(group=''))
  config.data.group = 'none'
  fj.evaluate(config, 'run')
  text = pathlib.Path('run/log.txt').read_text()
  assert re.search(r'The run was trained on \d+ of these 12 videos', text)


def test_a_checkpoint_of_a_later_version_asks_for_an_upgrade(files):
  def update(info):
    info['format'] = config_keys.FORMAT + 1
    info['config']['news'] = 1

  change_info(update)
  config = config_of_today()
  another = config_of_today()
  another.model.pretrained = 'run'
  for use in (
    lambda: fj.evaluate(None, 'run'),
    lambda: fj.export('run'),
    lambda: fj.train_and_evaluate(config, 'run'),
    lambda: fj.train_and_evaluate(another, 'new'),
  ):
    with pytest.raises(ValueError, match='Upgrade flatten_jax'):
      use()
  assert os.listdir('run/checkpoints') == ['2']
  change_info(lambda info: info.pop('format'))
  with pytest.raises(ValueError, match=r'config\.news.*upgrade'):
    fj.evaluate(None, 'run')


def test_a_file_is_classified_and_the_model_exported(files, clips_root):
  video = next((clips_root / 'test').rglob('*.mp4'))
  (answer,) = fj.predict('run', [video])
  assert answer
  errors = fj.export('run', formats=['stablehlo', 'safetensors'])
  assert max(errors.values()) < 1e-5


def test_weights_of_the_run_start_another(files):
  config = config_of_today()
  config.model.pretrained = 'run'
  config.epochs, config.warmup_epochs = 1.0, 0.5
  fj.train_and_evaluate(config, 'finetuned')
  with Checkpoints('finetuned', create=False) as checkpoints:
    assert checkpoints.steps() == [2]


def test_the_prepared_set_opens(files):
  splits = dataset.open_splits(config_of_today().data)
  counts = {name: len(videos) for name, videos in splits.items()}
  assert counts == {'train': 24, 'val': 12, 'test': 12}
