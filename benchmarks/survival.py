# SPDX-License-Identifier: Apache-2.0
"""Disturbs a training run in all ways there are; the end must not know of it.

  python benchmarks/survival.py

Trains a small run undisturbed, then the same run while it is killed, told to
stop, robbed of its reading processes, while the disk is full, and while files
of its newest checkpoint are spoilt between two starts. Each time the same
command goes on. At the end it compares parameters, batch statistics, optimizer
state, losses, results and predictions bit for bit.

The full disk is a small tmpfs, which root may mount; elsewhere it is left out.
"""

import argparse
from collections.abc import Iterator
import dataclasses
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
DISK_MIB = 48
# How many of 50. Checkpoints are spoilt between two starts.
SHARES = {
  'kill -9': 12,
  'SIGTERM': 5,
  'killed worker': 5,
  'full disk': 4,
  'spoilt checkpoint': 24,
}
SPOIL = {
  'cut in half': lambda data: data[: len(data) // 2],
  'emptied': lambda data: b'',
  'garbled': lambda data: b'\0garbled' * (1 + len(data) // 8),
  'one bit flipped': lambda data: data[:-1] + bytes([data[-1] ^ 4]),
  'deleted': None,
}


@dataclasses.dataclass
class Trial:
  """One run in a workdir, started again and again by the same command."""

  workdir: pathlib.Path
  clips: pathlib.Path
  epochs: float

  def start(self, **changes) -> subprocess.Popen:
    """Starts it, in a process group of its own."""
    values = {
      'data.root': self.clips,
      'data.num_frames': 4,
      'data.crop': 16,
      'data.short_side': 20,
      'model.name': 'uniformer_test',
      'batch_size': 8,
      'epochs': self.epochs,
      'warmup_epochs': 1,
      'save_every': 0.34,  # Every second step.
      'keep_last': 3,
      'eval_every': 0,
      'log_every': 1,
      'compile_cache': '',
    } | changes
    cache = {
      'JAX_COMPILATION_CACHE_DIR': str(self.clips.parent / 'xla'),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      'JAX_PLATFORMS': 'cpu',
    }
    with self.output.open('wb') as out:
      return subprocess.Popen(
        [
          sys.executable,
          'main.py',
          '--config=configs/quickstart.py:clips=48',
          f'--workdir={self.workdir}',
          *(f'--config.{key}={value}' for key, value in values.items()),
        ],
        cwd=REPOSITORY,
        env=cache | os.environ,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )

  @property
  def output(self) -> pathlib.Path:
    """What the last process said."""
    return self.clips.parent / f'{self.workdir.name}.out'

  @property
  def ballast(self) -> pathlib.Path:
    """What fills the disk."""
    return self.workdir.parent / 'ballast'

  def step(self) -> int:
    """The last step in metrics.jsonl, 0 before there is one."""
    try:
      lines = (self.workdir / 'metrics.jsonl').read_text().splitlines()
      return json.loads(lines[-1])['step']
    except (OSError, IndexError, ValueError):
      return 0

  def saved(self) -> list[int]:
    """Steps of its checkpoints, oldest first."""
    folder = self.workdir / 'checkpoints'
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())

  def going_on(self) -> int | None:
    """The step that the process goes on after; None before it is known."""
    said = self.output.read_text()
    if 'everything else is in' not in said:
      return None
    found = re.search(r'Resuming after step (\d+)', said)
    return int(found[1]) if found else 0


def kill(process: subprocess.Popen, _: Trial) -> None:
  """The main process; what it started has to notice."""
  process.kill()


def stop(process: subprocess.Popen, _: Trial) -> None:
  """As clusters do: all processes of the group."""
  os.killpg(process.pid, signal.SIGTERM)


def kill_worker(process: subprocess.Popen, _: Trial) -> None:
  """One that reads videos."""
  command = ['pgrep', '-f', '-P', str(process.pid), 'spawn_main']
  listed = subprocess.run(command, capture_output=True, check=True)
  os.kill(int(listed.stdout.split()[0]), signal.SIGKILL)


def fill(_: subprocess.Popen, trial: Trial) -> None:
  """Leaves no room where the checkpoints go."""
  with trial.ballast.open('wb', buffering=0) as file:
    try:
      while True:
        file.write(bytes(1 << 12))
    except OSError:
      return


# What is done, what the exit status is then, and what is said.
KINDS = {
  'kill -9': (kill, -signal.SIGKILL, ''),
  'SIGTERM': (stop, 0, 'the same command resumes'),
  'killed worker': (kill_worker, 1, 'was ended by SIGKILL'),
  'full disk': (fill, 1, 'No space left on device'),
}


def disturb(trial: Trial, kind: str, steps: int, delay: float) -> int:
  """Starts, lets so many steps pass and some seconds, acts. -> exit status.

  Raises:
    AssertionError: that was not what should come of it.
  """
  act, expected, words = KINDS[kind]
  workers = {'data.workers': 1} if kind in ('killed worker', 'SIGTERM') else {}
  process, acted = trial.start(**workers), False
  while process.poll() is None:
    first = trial.going_on()
    # Lines beyond the checkpoint are there until the first step is done.
    stepping = first is not None and 'Compiled' in trial.output.read_text()
    due = stepping and trial.step() >= first + steps
    if not acted and first is not None and (due or not steps):
      time.sleep(delay)
      act(process, trial)
      acted = True
    time.sleep(0.02)
  trial.ballast.unlink(missing_ok=True)
  said = trial.output.read_text()
  assert process.returncode == expected, f'{process.returncode}: {said}'
  assert words in said and 'Traceback' not in said, said
  return process.returncode


def spoil(trial: Trial, step: int, draw: random.Random) -> str:
  """Damages one file of a checkpoint. -> what was done."""
  folder = trial.workdir / 'checkpoints' / str(step)
  names = sorted(json.loads((folder / 'checksums.json').read_text()))
  file, how = folder / draw.choice(names), draw.choice(sorted(SPOIL))
  if how == 'deleted':
    file.unlink()
  else:
    file.write_bytes(SPOIL[how](file.read_bytes()))
  name = file.relative_to(folder)
  return f'{name.parent / name.name[:8]} {how}'


def disturb_all(
  trial: Trial, kinds: list[str], draw: random.Random, total: int
) -> Iterator[tuple]:
  """Yields rows of the table: kind, when, checkpoints then, exit status."""
  starts = [kind for kind in kinds if kind in KINDS]
  spoils = len(kinds) - len(starts)
  for number, kind in enumerate(starts):
    saved, left, spoilt = trial.saved(), len(starts) - number, 0
    # The newest, or the newest two; never all that there are.
    while len(saved) > spoilt + 1 and spoilt < min(2, spoils):
      if draw.random() > spoils / left:
        break
      spoilt += 1
      what = spoil(trial, saved[-spoilt], draw)
      yield 'spoilt checkpoint', f'{saved[-spoilt]}: {what}', saved, ''
    spoils -= spoilt
    most = max(1, 2 * (total - 2 - (saved or [0])[-1]) // left)
    steps = draw.randint(kind != 'kill -9', max(1, min(5, most)))
    status = disturb(trial, kind, steps, draw.uniform(0, 0.3))
    named = trial.output.read_text().count('cannot be read')
    assert named == spoilt, f'{spoilt} were spoilt, {named} are named'
    when = f'{steps} after {trial.going_on()}' if steps else 'while starting'
    yield kind, when, trial.saved(), status


def ends(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """All that a run leaves: the last checkpoint, predictions, losses."""
  sys.path.insert(0, str(REPOSITORY))
  import jax

  from flatten_jax.checkpoints.checkpoints import Checkpoints
  from flatten_jax.runtime import run_log

  with Checkpoints(workdir, create=False) as checkpoints:
    state = checkpoints.restore_arrays(checkpoints.choose())
  leaves = jax.tree_util.tree_leaves_with_path(state)
  arrays = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
  rows = run_log.read_metrics(workdir)
  losses = [(r['step'], r['train/loss']) for r in rows if 'train/loss' in r]
  with np.load(workdir / 'predictions_test.npz') as file:
    arrays |= dict(file)
  results = np.array((workdir / 'results.json').read_text())
  return arrays | {'losses': np.array(losses), 'results.json': results}


def mount(folder: pathlib.Path) -> bool:
  """Whether `folder` could be made a small file system."""
  folder.mkdir(parents=True, exist_ok=True)
  size = f'size={DISK_MIB}m'
  command = ['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', str(folder)]
  try:
    return not subprocess.run(command, check=False).returncode
  except FileNotFoundError:
    return False


def main(argv=None) -> int:
  """Prints a table and returns 0 where nothing differs."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--disturbances', type=int, default=50)
  parser.add_argument('--epochs', type=float, default=12.0)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument(
    '--folder',
    type=pathlib.Path,
    default=None,
    help='Where to work; an undisturbed run that is there is used again.',
  )
  args = parser.parse_args(argv)
  folder = args.folder or pathlib.Path(tempfile.mkdtemp())
  disk, draw = folder / 'disk', random.Random(args.seed)
  kinds = [kind for kind, n in SHARES.items() for _ in range(n)]
  draw.shuffle(kinds)
  kinds = kinds[: args.disturbances]
  calm = Trial(folder / 'calm', folder / 'clips', args.epochs)
  trial = Trial(disk / 'disturbed', folder / 'clips', args.epochs)
  on_disk = mount(disk)
  if not on_disk:
    print('No tmpfs can be mounted here: no full disks.')
    kinds = [kind for kind in kinds if kind != 'full disk']
  try:
    if not (calm.workdir / 'results.json').exists():
      assert calm.start().wait() == 0, calm.output.read_text()
    print(f'{calm.step()} steps\n')
    print('| | disturbance | after step | checkpoints then | exit status |')
    print('|--:|---|---|---|--:|')
    rows = disturb_all(trial, kinds, draw, calm.step())
    for number, (kind, when, saved, status) in enumerate(rows, 1):
      there = ', '.join(map(str, saved)) or 'none'
      print(f'| {number} | {kind} | {when} | {there} | {status} |', flush=True)
    assert trial.start().wait() == 0, trial.output.read_text()
    ours, theirs = ends(calm.workdir), ends(trial.workdir)
  finally:
    if on_disk:
      subprocess.run(['umount', str(disk)], check=True)
  same = [np.array_equal(ours[name], theirs.get(name)) for name in ours]
  print(
    f'\n{sum(same)} of {len(ours)} arrays (parameters, statistics, optimizer, '
    'predictions, losses, results) are equal bit for bit.'
  )
  return 0 if all(same) and ours.keys() == theirs.keys() else 1


if __name__ == '__main__':
  sys.exit(main())
