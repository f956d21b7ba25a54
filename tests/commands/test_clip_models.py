# SPDX-License-Identifier: Apache-2.0
"""Models of clips, and convolutional ones, go through the command line."""

import json

import jax
import numpy as np
import pytest

from flatten_jax.checkpoints.load import load_model
from tests.support.convnets import TWINS as CONVNETS
from tests.support.video_twins import TWINS as TRANSFORMERS

# Kills itself before its third step; else it is main.py.
KILLED = """
import os, runpy, signal, sys
from flatten_jax.training import setup

make = setup.make_train_step


def make_train_step(*args, **options):
  step, left = make(*args, **options), [2]

  def train_step(*args):
    if not left[0]:
      os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return step(*args)

  return train_step


setup.make_train_step = make_train_step
sys.argv[0] = 'main.py'
runpy.run_path('main.py', run_name='__main__')
"""
CONFIG = """
from configs import quickstart


def get_config():
  config = quickstart.get_config('clips=0')
  with config.ignore_type():
    config.update_from_flattened_dict({values})
  return config
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
  'compile_cache': '',
  'model.drop_path_rate': 0.1,
}
SHALLOW = {'model.depth': (1, 1, 1, 1)}
OPTIONS = {name: {'model.depth': 1} for name in TRANSFORMERS} | {
  'video_swin_test': SHALLOW,
  'slowfast_test': SHALLOW,
  'i3d_test': SHALLOW | {'model.non_local': ((), (0,), (0,), ())},
  'tsn_test': SHALLOW,
  'tdn_test': SHALLOW
  | {'data.num_frames': 10, 'data.crop': 64, 'data.sampling': 'tdn'},
  'motion_squeeze_test': SHALLOW,
  'i3d_inception_test': {'data.num_frames': 8, 'data.crop': 64},
}
TESTED_LARGER = ('i3d_test', 'slowfast_test')  # By 256 / 224.
# A kill concerns what all share, so one with batch statistics is enough. The
# others are for `make test-large`.
RESUMED = ('tsn_test',)
OF_EVERY_MODE = ('vtn_test',)  # Others share its code.


@pytest.fixture
def video(clips_root):
  return min((clips_root / 'test' / 'left').iterdir())


def weights(workdir):
  model = load_model(workdir)
  return jax.device_get((model.params, model.batch_stats))


def cases():
  """Returns (twin, whether a run of it is killed and resumed)."""
  for twin in (*TRANSFORMERS, *CONVNETS):
    killed = twin in RESUMED
    yield pytest.param(twin, killed, marks=pytest.mark.slow)
    if not killed:
      yield pytest.param(twin, True, marks=pytest.mark.large)


@pytest.mark.parametrize(('twin', 'is_killed'), list(cases()))
def test_a_twin_is_trained_and_used_and_a_kill_costs_nothing(
  twin, is_killed, server, clips_root, video, tmp_path
):
  values = SETTINGS | OPTIONS.get(twin, {})
  values |= {'model.name': twin, 'data.root': str(clips_root)}
  script, file = tmp_path / 'killed.py', tmp_path / 'config.py'
  script.write_text(KILLED)
  file.write_text(CONFIG.format(values=values))
  config, whole = f'--config={file}', tmp_path / 'whole'

  def run(*arguments, status=0):
    done = server.run([str(argument) for argument in arguments])
    assert done.returncode == status, f'{arguments}\n{done.stderr}'
    return done.stdout

  run('main.py', config, f'--workdir={whole}')
  if is_killed:
    killed = tmp_path / 'killed'
    run(script, config, f'--workdir={killed}', status=-9)
    run('main.py', config, f'--workdir={killed}')
    assert 'Resum' in (killed / 'log.txt').read_text()
    jax.tree.map(np.testing.assert_array_equal, weights(killed), weights(whole))

  used = run('tests/support/use_run.py', whole, video).splitlines()[-1]
  scores = json.loads((whole / 'results.json').read_text())['test']
  assert_used(twin, values, json.loads(used) | scores)
  if twin in OF_EVERY_MODE:
    for arguments in (
      ['--mode=evaluate', '--views=3x1'],
      ['--mode=score'],
      ['--mode=predict', f'--video={video}', '--timeline'],
      ['--mode=explain', '--videos=1', f'--against={whole}'],
      ['--mode=export', '--formats=safetensors'],
      ['--mode=report'],
      ['--mode=curves', f'--run={whole}'],
      [config, '--mode=inspect'],
      [config, '--mode=index'],
    ):
      run('main.py', *arguments, f'--workdir={whole}')
    run('main.py', config, '--mode=profile', f'--workdir={tmp_path / "new"}')
    found = json.loads((whole / 'results.json').read_text())
    assert len(found) >= 2  # Its own views, and the others.


def assert_used(twin, values, found):
  """Checks what was computed from a finished run."""
  frames = 12 if twin == 'vtn_test' else values['data.num_frames']  # All.
  side = 37 if twin in TESTED_LARGER else values['data.crop']
  views = f'{side}x{frames}x3x2'
  assert (found['scored'], found['views']) == (12, views)
  assert found['best'] >= 1 / 12
  pictures = set(found['pictures'])
  assert {'heat.png', 'heat.mp4', 'layouts.png'} < pictures
  maps = twin in CONVNETS or 'swin' in twin
  assert ('feature_maps.png' in pictures) is maps
  assert ('attention.png' in pictures) is not maps
  assert found['exported']['stablehlo'] < 1e-5
  assert found['exported']['safetensors'] == 0
