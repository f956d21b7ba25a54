# SPDX-License-Identifier: Apache-2.0
"""TensorBoard can read the event files, and no large package writes them."""

import os
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing import event_file_loader

from flatten_jax.runtime.workdir.loggers.tensorboard import TensorBoardWriter


def test_tensorboard_reads_the_scalars(tmp_path):
  writer = TensorBoardWriter(tmp_path, first_step=4)
  writer.write_scalars(5, {'train/loss': 2.5, 'val/top1': 50.0})
  writer.close()
  (file,) = tmp_path.iterdir()
  _, start, event = event_file_loader.EventFileLoader(str(file)).Load()
  assert start.step == 5 and start.HasField('session_log')
  scalars = {v.tag: v.tensor.float_val[0] for v in event.summary.value}
  assert (event.step, scalars) == (5, {'train/loss': 2.5, 'val/top1': 50.0})


@pytest.mark.parametrize('package', ['torch', 'tensorflow'])
def test_an_installed_framework_is_not_imported(package, tmp_path):
  (tmp_path / f'{package}.py').write_text('raise SystemExit("imported")')
  code = (
    'import pathlib\n'
    'from flatten_jax.runtime.workdir.loggers import tensorboard\n'
    'writer = tensorboard.TensorBoardWriter(pathlib.Path("events"))\n'
    'writer.write_scalars(1, {"train/loss": 1.0})\n'
    'writer.close()'
  )
  path = os.pathsep.join([str(tmp_path), os.getcwd()])
  environment = os.environ | {'PYTHONPATH': path}
  subprocess.run(
    [sys.executable, '-c', code], cwd=tmp_path, env=environment, check=True
  )
