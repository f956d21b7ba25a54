# SPDX-License-Identifier: Apache-2.0
"""Video transformers go through the modes of the command line."""

import json

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_model
from flatten_jax.training import setup
from tests.support.video_twins import TWINS

# Kills itself before its third step; else it is main.py.
KILLED = """
import os, runpy, signal, sys
from flatten_jax.inputs import pipeline
from flatten_jax.training import setup

original = setup.training_batches


def training_batches(*args, **options):
  batches = original(*args, **options)

  def stream():
    for count, batch in enumerate(batches):
      if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
      yield batch

  return pipeline.Batches(stream(), batches.close)


setup.training_batches = training_batches
sys.argv[0] = 'main.py'
runpy.run_path('main.py', run_name='__main__')
"""
SETTINGS = {
  'data.num_frames': 4,
  'data.crop': 32,
  'data.short_side': 32,
  'data.num_clips': 2,
  'data.num_crops': 3,
  'data.threads': 2,
  'batch_size': 8,
  'epochs': 1.0,
  'warmup_epochs': 0.0,
  'save_every': 1 / 3,
  'eval_every': 0.0,
  'log_every': 1,
}


@pytest.fixture
def video(clips_root):
  return min((clips_root / 'test' / 'left').iterdir())


def weights(workdir):
  return jax.device_get(load_model(workdir).params)


@pytest.mark.parametrize('twin', TWINS)
def test_a_twin_is_trained_resumed_and_used(
  twin, config, video, tmp_path, monkeypatch
):
  del config.model.depth
  config.model.depth = (1, 1, 1, 1) if 'swin' in twin else 1
  config.model.name = twin
  config.model.drop_path_rate = 0.1
  with config.ignore_type():
    config.update_from_flattened_dict(SETTINGS | {'compile_cache': ''})
  whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
  fj.train_and_evaluate(config, whole)

  class Interrupted(BaseException):
    pass

  def interrupt(state, batch):
    del state, batch
    raise Interrupted

  make, steps = setup.make_train_step, iter([True, True])

  def make_train_step(*args):
    step = make(*args)
    return lambda *args: (step if next(steps, None) else interrupt)(*args)

  with monkeypatch.context() as patch, pytest.raises(Interrupted):
    patch.setattr(setup, 'make_train_step', make_train_step)
    fj.train_and_evaluate(config, resumed)
  fj.train_and_evaluate(config, resumed)
  assert 'Resum' in (resumed / 'log.txt').read_text()
  jax.tree.map(np.testing.assert_array_equal, weights(whole), weights(resumed))

  found = fj.evaluate(None, whole)
  frames = 12 if twin == 'vtn_test' else 4  # All of a short video's.
  assert (found['scored'], found['views']) == (12, f'32x{frames}x3x2')
  (answer,) = fj.predict(whole, [video], timeline=True)
  assert answer.top(1)[0][1] >= 1 / 12 and answer.timeline
  explained = fj.explain(whole, videos=1)
  names = {
    path.rpartition('/')[2] for path in explained['videos'][0]['pictures']
  }
  assert {'heat.png', 'heat.mp4', 'layouts.png'} < names
  assert ('attention.png' in names) is ('swin' not in twin)
  assert ('feature_maps.png' in names) is ('swin' in twin)
  exported = fj.export(whole, formats=['stablehlo', 'safetensors'])
  assert exported['stablehlo'] < 1e-5 and exported['safetensors'] == 0


@pytest.mark.slow
@pytest.mark.parametrize('twin', TWINS)
def test_commands_run_a_twin_and_a_kill_costs_nothing(
  twin, server, clips_root, video, tmp_path
):
  script = tmp_path / 'killed.py'
  script.write_text(KILLED)
  values = SETTINGS | {'model.name': twin, 'data.root': clips_root}
  config = ['--config=quickstart:clips=0']
  config += [f'--config.{key}={value}' for key, value in values.items()]

  def run(*arguments, workdir='whole', script='main.py'):
    folder = f'--workdir={tmp_path / workdir}'
    return server.run([str(script), *arguments, folder])

  assert run(*config, workdir='killed', script=script).returncode == -9
  for workdir in ('killed', 'whole'):
    done = run(*config, workdir=workdir)
    assert done.returncode == 0, done.stderr
  jax.tree.map(
    np.testing.assert_array_equal,
    *(weights(tmp_path / workdir) for workdir in ('killed', 'whole')),
  )
  for arguments in (
    ['--mode=evaluate', '--views=scenic:1x3'],
    ['--mode=score'],
    ['--mode=predict', f'--video={video}', '--timeline'],
    ['--mode=explain', '--videos=1', f'--against={tmp_path / "killed"}'],
    ['--mode=export', '--formats=stablehlo,safetensors'],
    ['--mode=report'],
    ['--mode=curves', f'--run={tmp_path / "whole"}'],
    [*config, '--mode=inspect'],
    [*config, '--mode=index'],
    [*config, '--mode=cost'],
  ):
    done = run(*arguments)
    assert done.returncode == 0, f'{arguments}\n{done.stderr}'
  done = run(*config, '--mode=profile', workdir='profile')
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / 'whole' / 'results.json').read_text())
  assert len(found) >= 2  # Its own views, and the others.
