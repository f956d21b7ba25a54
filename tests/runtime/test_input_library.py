# SPDX-License-Identifier: Apache-2.0
"""The loops of docs/input_library.md, with videos in place of /videos."""

import pathlib
import re
import subprocess
import sys

import grain
import numpy as np
import pytest

import flatten_jax as fj
from tests.support import readme
from tests.support.command_server import one_device
from tests.support.video_maker import write_video

STEPS = {'down': (2, 0), 'left': (0, -2), 'right': (0, 2)}  # px, rows first


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """Squares that move down, left or right, on 48 and on 24 videos."""
  folder = tmp_path_factory.mktemp('moves')
  rng = np.random.default_rng(0)
  for split, count in (('train', 16), ('test', 8)):
    for name, step in STEPS.items():
      for i in range(count):
        frames = np.full((8, 32, 32, 3), rng.integers(0, 100, 3), np.uint8)
        place = rng.integers(7, 12, 2) - 4 * np.array(step) + 4
        for t, frame in enumerate(frames):
          row, column = place + t * np.array(step)
          frame[max(row, 0) : row + 8, max(column, 0) : column + 8] = 250
        write_video(folder / split / name / f'{i}.mp4', frames)
  return folder


def test_a_plain_flax_loop_learns(root, capsys):
  loop = {'__name__': 'my_loop'}
  exec(readme.snippets()['my_loop.py'], loop)
  result = loop['main'](root, epochs=12, size=24)
  text = capsys.readouterr().out
  losses = [float(x) for x in re.findall(r'train loss ([\d.]+)', text)]
  accuracies = [float(x) for x in re.findall(r'accuracy ([\d.]+)', text)]
  assert len(losses) == 12
  assert losses[-1] < losses[0] / 2
  assert accuracies[-2] > 0.8  # In training; chance is a third.
  assert result['accuracy'] > 0.8


def test_the_loop_of_a_tutorial_gets_flattened_images(root):
  page = (readme.ROOT / 'docs' / 'input_library.md').read_text()
  [code] = re.findall(r'^```python\n(def as_image.*?)^```', page, re.S | re.M)
  scope = {'fj': fj, 'grain': grain}
  exec(code.replace('motion_clips=2400', f'root={str(root)!r}'), scope)
  batches = scope['train_ds'].as_numpy_iterator()
  for batch in (next(batches), next(batches)):
    assert batch['image'].shape == (32, 96, 96, 3)
    assert 0.5 < batch['image'].max() <= 1
    assert set(batch['label'].tolist()) == {0, 1, 2}


@pytest.mark.slow
def test_the_loop_with_workers_resumes(root, tmp_path):
  script = tmp_path / 'my_workers.py'
  script.write_text(readme.snippets()['my_workers.py'])
  repository = pathlib.Path(readme.ROOT)
  done = subprocess.run(
    [sys.executable, script, root, '2'],
    env=one_device() | {'PYTHONPATH': str(repository)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
