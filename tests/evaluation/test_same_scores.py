# SPDX-License-Identifier: Apache-2.0
"""Prediction files are identical for any batch size and number of devices."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.evaluation import evaluate
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import optimizer
from flatten_jax.training.loop import train_and_evaluate
from tests.support.dataset_maker import make, write

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Batch sizes of the training and numbers of worker processes, with the eight
# devices of the tests and with one.
WAYS = {8: [(1, 0), (7, 2)], 1: [(32, 0)]}


def set_views(config):
  """Six views of twelve videos fill nine of the groups, and no batch of 64."""
  config.data.views = '16x4x3x2'
  return config


@pytest.fixture
def workdir(config, tmp_path):
  """Returns a workdir with a checkpoint of initial weights."""
  names = dataset.open_splits(config.data)['train'].class_names
  run = Experiment.create(config, names)
  tx = optimizer.make(config)
  with Checkpoints(tmp_path) as checkpoints:
    state = TrainState.create(*initial_weights(run), tx)
    checkpoints.save(state, RunInfo(names, config.to_dict(), 0, 0.0), None)
    checkpoints.wait()
  yield tmp_path
  run_log.stop()


def predictions(config, workdir, batch_size, workers):
  """Returns a digest of the predictions file."""
  config.batch_size, config.data.workers = batch_size, workers
  scores = evaluate.evaluate(config, workdir)
  assert scores['views'] == '16x4x3x2' and scores['scored'] == 12
  data = (workdir / f'predictions_{scores["name"]}.npz').read_bytes()
  return hashlib.sha256(data).hexdigest()


def test_a_prepared_test_alone_has_the_scores_of_the_test(
  config, workdir, tmp_path
):
  expected = evaluate.evaluate(config, workdir)
  videos = pathlib.Path(config.data.root) / 'test'
  names = [str(file.relative_to(videos)) for file in videos.rglob('*.mp4')]
  rows = ''.join(f'{name},{name.split("/")[0]}\n' for name in names)
  listed = write(tmp_path / 'test.csv', 'path,label\n' + rows)
  (tmp_path / 'videos').symlink_to(videos)
  make('folder', tmp_path, tmp_path / 'set', annotations=listed)
  config.data.root = str(tmp_path / 'set')
  found = evaluate.evaluate(config, workdir)
  assert found['scored'] == expected['scored'] == 12
  assert found['top5'] == expected['top5'] > 0
  assert 'cross_validate' not in ''.join(found['warnings'])
  complaint = 'no train split, but test: such a set is for evaluation'
  with pytest.raises(ValueError, match=complaint):
    train_and_evaluate(config, tmp_path / 'new')


SCRIPT = """
import json, pathlib, sys
sys.path[:0] = ['tests/evaluation']
import test_same_scores as here
from tests.support.small_run import small_config
if __name__ == '__main__':
  root, workdir = sys.argv[1], pathlib.Path(sys.argv[2])
  config = here.set_views(small_config(root))
  found = [here.predictions(config, workdir, *way) for way in here.WAYS[1]]
  print(json.dumps(found))
"""


@pytest.mark.slow
def test_no_batch_size_device_count_or_worker_changes_a_score(
  config, workdir, tmp_path_factory
):
  """Eight devices here, one in another process; files equal byte for byte."""
  ours = {predictions(set_views(config), workdir, *way) for way in WAYS[8]}
  assert len(ours) == 1
  script = tmp_path_factory.mktemp('one_device') / 'evaluate.py'
  script.write_text(SCRIPT)
  eight = '--xla_force_host_platform_device_count=8'
  flags = os.environ['XLA_FLAGS'].replace(eight, '')
  environment = os.environ | {'XLA_FLAGS': flags, 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    [sys.executable, str(script), config.data.root, str(workdir)],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert set(json.loads(done.stdout.splitlines()[-1])) == ours
