# SPDX-License-Identifier: Apache-2.0
"""Kills a training run at random moments; the end must not know of it.

  python benchmarks/kill_and_resume.py --kills 5

Trains a small run undisturbed, then the same run under kill -9, each time
started again by the same command, and compares parameters, optimizer state,
results and predictions bit for bit.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def command(workdir: pathlib.Path, clips: pathlib.Path, epochs: float):
  """A run of the tiny twin that saves every second step."""
  return [
    sys.executable,
    'main.py',
    '--config=configs/quickstart.py:clips=48',
    f'--workdir={workdir}',
    f'--config.data.root={clips}',
    '--config.model.name=uniformer_test',
    '--config.batch_size=8',
    f'--config.epochs={epochs}',
    '--config.warmup_epochs=1',
    '--config.save_every=0.34',
    '--config.eval_every=1.5',
    '--config.log_every=1',
  ]


def run(arguments, workdir, kill_at=None, delay=0.0) -> int:
  """Runs to the end, or kills the process group `delay` s after a step."""
  with open(workdir.parent / f'{workdir.name}.out', 'ab') as out:
    process = subprocess.Popen(
      arguments,
      cwd=REPOSITORY,
      stdout=out,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )
    while process.poll() is None:
      if kill_at is not None and steps_logged(workdir) >= kill_at:
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        kill_at = None
      time.sleep(0.02)
  return process.wait()


def steps_logged(workdir: pathlib.Path) -> int:
  """The last step in metrics.jsonl, 0 before there is one."""
  try:
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    return int(lines[-1].split('"step": ')[1].split(',')[0])
  except (OSError, IndexError, ValueError):
    return 0


def saved_steps(workdir: pathlib.Path) -> list[int]:
  folder = workdir / 'checkpoints'
  names = os.listdir(folder) if folder.is_dir() else []
  return sorted(int(name) for name in names if name.isdigit())


def final_arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """Everything in the last checkpoint and in the predictions, by name."""
  import jax

  from flatten_jax.train.checkpoints import Checkpoints

  checkpoints = Checkpoints(workdir, create=False)
  state = checkpoints.restore_arrays(checkpoints.choose())
  checkpoints.close()
  leaves = jax.tree_util.tree_leaves_with_path(state)
  arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
  with np.load(workdir / 'predictions_test.npz') as file:
    return arrays | dict(file)


def main(argv=None) -> int:
  """Prints a table and returns 0 where nothing differs."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=5)
  parser.add_argument('--epochs', type=float, default=10.0)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--folder', type=pathlib.Path, default=None)
  args = parser.parse_args(argv)
  folder = args.folder or pathlib.Path(tempfile.mkdtemp())
  folder.mkdir(parents=True, exist_ok=True)
  clips = folder / 'clips'
  calm, disturbed = folder / 'calm', folder / 'disturbed'

  assert run(command(calm, clips, args.epochs), calm) == 0, 'see calm.out'
  total = steps_logged(calm)
  draw = random.Random(args.seed)
  moments = sorted(draw.randint(0, total - 1) for _ in range(args.kills))
  print(f'{total} steps; kill -9 some milliseconds after these steps are done')
  print('| kill | after step | delay ms | complete checkpoints then |')
  print('|---|---|---|---|')
  again = command(disturbed, clips, args.epochs)
  for number, moment in enumerate(moments, 1):
    delay = draw.uniform(0, 0.25)
    code = run(again, disturbed, moment, delay)
    steps = ', '.join(map(str, saved_steps(disturbed)))
    assert code == -signal.SIGKILL, f'exit {code} before the kill'
    print(f'| {number} | {moment} | {1000 * delay:.0f} | {steps or "none"} |')
  assert run(again, disturbed) == 0, 'see disturbed.out'

  ours, theirs = final_arrays(calm), final_arrays(disturbed)
  differing = [
    name for name in ours if not np.array_equal(ours[name], theirs[name])
  ]
  results = [f.read_text() for f in folder.glob('*/results.json')]
  same = (
    not differing and ours.keys() == theirs.keys() and len(set(results)) == 1
  )
  print(
    f'{len(ours)} arrays (parameters, statistics, optimizer, predictions) and '
    f'results.json: {"equal bit for bit" if same else differing}'
  )
  return 0 if same else 1


if __name__ == '__main__':
  sys.path.insert(0, str(REPOSITORY))
  sys.exit(main())
