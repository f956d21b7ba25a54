# SPDX-License-Identifier: Apache-2.0
"""Interrupts a training run in many ways; its results must not change.

  python -m benchmarks.survival
  python -m benchmarks.survival --platform=cuda --disturbances=8

Trains a small run without interruptions, then the same run with kills, stop
signals, killed reading processes, full disks, and damaged files of its newest
checkpoints. The same command resumes it each time. In the end it compares
parameters, batch statistics, optimizer state, losses, results and predictions
bit by bit.

The full disk is a small tmpfs, which only root can mount; without root it is
left out.
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
# Number of each in 50. Checkpoints are damaged between two starts.
SHARES = {
  'kill -9': 12,
  'SIGTERM': 5,
  'killed worker': 5,
  'full disk': 4,
  'damaged checkpoint': 24,
}
DAMAGES = {
  'cut in half': lambda data: data[: len(data) // 2],
  'emptied': lambda data: b'',
  'garbled': lambda data: b'\0garbled' * (1 + len(data) // 8),
  'one bit flipped': lambda data: data[:-1] + bytes([data[-1] ^ 4]),
  'deleted': None,
}


@dataclasses.dataclass
class Trial:
  """A run in a workdir, started repeatedly by the same command."""

  workdir: pathlib.Path
  clips: pathlib.Path
  epochs: float
  platform: str = 'cpu'
  process: subprocess.Popen | None = None  # The last one.

  def start(self, **changes) -> subprocess.Popen:
    """Starts it in a new process group."""
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
    }
    with self.output.open('wb') as out:
      self.process = subprocess.Popen(
        [
          sys.executable,
          'main.py',
          '--config=configs/quickstart.py:clips=48',
          f'--workdir={self.workdir}',
          *(f'--config.{key}={value}' for key, value in values.items()),
        ],
        cwd=REPOSITORY,
        env=cache | os.environ | {'JAX_PLATFORMS': self.platform},
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
    return self.process

  def finish(self) -> None:
    """Starts it, and waits for the end of the run; raises AssertionError."""
    assert self.start().wait() == 0, self.output.read_text()

  def end(self) -> None:
    """Kills the process and all of its group, if it runs."""
    if self.process and self.process.poll() is None:
      os.killpg(self.process.pid, signal.SIGKILL)
      self.process.wait()

  @property
  def output(self) -> pathlib.Path:
    """Returns the file with the output of the last process."""
    return self.clips.parent / f'{self.workdir.name}.out'

  @property
  def ballast(self) -> pathlib.Path:
    """Returns the file that fills the disk."""
    return self.workdir.parent / 'ballast'

  def step(self) -> int:
    """Returns the last step in metrics.jsonl, 0 before the first."""
    try:
      lines = (self.workdir / 'metrics.jsonl').read_text().splitlines()
      return json.loads(lines[-1])['step']
    except (OSError, IndexError, ValueError):
      return 0

  def saved(self) -> list[int]:
    """Returns the steps of its checkpoints, oldest first."""
    folder = self.workdir / 'checkpoints'
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())

  def resumed_after(self) -> int | None:
    """Returns the step that the process resumed after; None before its log."""
    output = self.output.read_text()
    if 'everything else is in' not in output:
      return None
    found = re.search(r'Resuming after step (\d+)', output)
    return int(found[1]) if found else 0


def kill(process: subprocess.Popen, _: Trial) -> None:
  """Kills the main process; its reading processes must notice."""
  process.kill()


def stop(process: subprocess.Popen, _: Trial) -> None:
  """Sends SIGTERM to all processes of the group, as clusters do."""
  os.killpg(process.pid, signal.SIGTERM)


def kill_worker(process: subprocess.Popen, _: Trial) -> None:
  """Kills a process that reads videos."""
  command = ['pgrep', '-f', '-P', str(process.pid), 'spawn_main']
  listed = subprocess.run(command, capture_output=True, check=True)
  os.kill(int(listed.stdout.split()[0]), signal.SIGKILL)


def fill(_: subprocess.Popen, trial: Trial) -> None:
  """Fills the disk of the checkpoints."""
  with trial.ballast.open('wb', buffering=0) as file:
    try:
      while True:
        file.write(bytes(1 << 12))
    except OSError:
      return


# The action, the expected exit status, and words in the output.
KINDS = {
  'kill -9': (kill, -signal.SIGKILL, ''),
  'SIGTERM': (stop, 0, 'the same command resumes'),
  'killed worker': (kill_worker, 1, 'was ended by SIGKILL'),
  'full disk': (fill, 1, 'No space left on device'),
}


def disturb(trial: Trial, kind: str, steps: int, delay: float) -> int:
  """Starts a trial and interrupts it; returns the exit status.

  Args:
    trial: to start.
    kind: of the interruption, a key of KINDS.
    steps: to wait for before it.
    delay: to wait for after these, in seconds.

  Raises:
    AssertionError: the exit status or the output is not the expected one.
  """
  act, expected, words = KINDS[kind]
  workers = {'data.workers': 1} if kind in ('killed worker', 'SIGTERM') else {}
  process, acted = trial.start(**workers), False
  while process.poll() is None:
    first = trial.resumed_after()
    # Lines after the checkpoint remain until the first step is done.
    stepping = first is not None and 'Compiled' in trial.output.read_text()
    due = stepping and trial.step() >= first + steps
    if not acted and first is not None and (due or not steps):
      time.sleep(delay)
      act(process, trial)
      acted = True
    time.sleep(0.02)
  trial.ballast.unlink(missing_ok=True)
  output = trial.output.read_text()
  assert process.returncode == expected, f'{process.returncode}: {output}'
  assert words in output and 'Traceback' not in output, output
  return process.returncode


def damage(trial: Trial, step: int, draw: random.Random) -> str:
  """Damages one file of a checkpoint; returns a description."""
  folder = trial.workdir / 'checkpoints' / str(step)
  names = sorted(json.loads((folder / 'checksums.json').read_text()))
  file, how = folder / draw.choice(names), draw.choice(sorted(DAMAGES))
  if how == 'deleted':
    file.unlink()
  else:
    file.write_bytes(DAMAGES[how](file.read_bytes()))
  name = file.relative_to(folder)
  return f'{name.parent / name.name[:8]} {how}'


def disturb_all(
  trial: Trial, kinds: list[str], draw: random.Random, total: int
) -> Iterator[tuple]:
  """Yields rows of the table: kind, when, checkpoints then, exit status."""
  starts = [kind for kind in kinds if kind in KINDS]
  damages = len(kinds) - len(starts)
  starts.append('')  # The last one is not interrupted.
  for number, kind in enumerate(starts):
    saved, left, damaged = trial.saved(), len(starts) - number, 0
    # The newest one or two, never all of them.
    while len(saved) > damaged + 1 and damaged < min(2, damages):
      if draw.random() > damages / left:
        break
      damaged += 1
      what = damage(trial, saved[-damaged], draw)
      yield 'damaged checkpoint', f'{saved[-damaged]}: {what}', saved, ''
    damages -= damaged
    if not kind:
      trial.finish()
      check_log(trial, damaged)
      return
    most = max(1, 2 * (total - 2 - (saved or [0])[-1]) // left)
    steps = draw.randint(kind != 'kill -9', max(1, min(5, most)))
    status = disturb(trial, kind, steps, draw.uniform(0, 0.3))
    check_log(trial, damaged)
    when = (
      f'{steps} after {trial.resumed_after()}' if steps else 'while starting'
    )
    yield kind, when, trial.saved(), status


def check_log(trial: Trial, damaged: int) -> None:
  """Raises AssertionError unless the last start named each damaged one."""
  named = trial.output.read_text().count('cannot be read')
  assert named == damaged, f'{damaged} were damaged, {named} were logged'


def ends(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the results of a run: checkpoint, predictions, losses."""
  sys.path.insert(0, str(REPOSITORY))
  import jax

  from flatten_jax.checkpoints.checkpoints import Checkpoints
  from flatten_jax.runtime.workdir import run_log

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
  """Mounts a small file system at `folder`; returns whether it could."""
  folder.mkdir(parents=True, exist_ok=True)
  size = f'size={DISK_MIB}m'
  command = ['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', str(folder)]
  try:
    return not subprocess.run(command, check=False).returncode
  except FileNotFoundError:
    return False


def main(argv=None) -> int:
  """Prints a table; returns 0 if all results are equal."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--disturbances', type=int, default=50)
  parser.add_argument('--epochs', type=float, default=12.0)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--platform', default='cpu', help="JAX's, to train on")
  parser.add_argument(
    '--folder',
    type=pathlib.Path,
    default=None,
    help='Folder to work in; an undisturbed run in it is used again.',
  )
  args = parser.parse_args(argv)
  folder = args.folder or pathlib.Path(tempfile.mkdtemp())
  disk, draw = folder / 'disk', random.Random(args.seed)
  kinds = [kind for kind, n in SHARES.items() for _ in range(n)]
  draw.shuffle(kinds)
  kinds = kinds[: args.disturbances]
  calm, trial = (
    Trial(workdir, folder / 'clips', args.epochs, args.platform)
    for workdir in (folder / 'calm', disk / 'disturbed')
  )
  # Stopped by SIGTERM, too, it leaves no training and no mounted disk behind.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit('Stopped by SIGTERM.'))
  on_disk = mount(disk)
  if not on_disk:
    print('No tmpfs can be mounted here: the disk is never full.')
    kinds = [kind for kind in kinds if kind != 'full disk']
  try:
    if not (calm.workdir / 'results.json').exists():
      calm.finish()
    print(f'{calm.step()} steps\n')
    print('| | disturbance | after step | checkpoints then | exit status |')
    print('|--:|---|---|---|--:|')
    rows = disturb_all(trial, kinds, draw, calm.step())
    number = 0
    for number, (kind, when, saved, status) in enumerate(rows, 1):
      there = ', '.join(map(str, saved)) or 'none'
      print(f'| {number} | {kind} | {when} | {there} | {status} |', flush=True)
    ours, theirs = ends(calm.workdir), ends(trial.workdir)
  finally:
    calm.end()
    trial.end()
    if on_disk:  # Lazily: a reading process may take a moment to end.
      subprocess.run(['umount', '--lazy', str(disk)], check=True)
  same = [np.array_equal(ours[name], theirs.get(name)) for name in ours]
  print(
    f'\nAfter {number} of {len(kinds)} disturbances, {sum(same)} of '
    f'{len(ours)} arrays (parameters, statistics, optimizer, predictions, '
    'losses, results) are equal bit for bit.'
  )
  return 0 if all(same) and ours.keys() == theirs.keys() else 1


if __name__ == '__main__':
  sys.exit(main())
