# SPDX-License-Identifier: Apache-2.0
"""Trains one process after the other, or several at a time."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from benchmarks.own_videos.runs import NOTES
from flatten_jax.evaluation import results
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime.configuration import default_config

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Flags by name, of `configs/folder.py`.
SYSTEMS = {
  'nano': [
    '--config=configs/folder.py:model=uniformer_nano',
    '--config.model.pretrained=',
    '--config.channels=rgb',
  ],
  'nano_motions': [
    '--config=configs/folder.py:model=uniformer_nano',
    '--config.model.pretrained=motions',
  ],
  'lite0': [
    '--config=configs/folder.py:model=efficientnet_lite0',
    '--config.model.pretrained=imagenet1k',
    '--config.data.crop=48',  # Not 64, so that a run takes minutes.
  ],
}
WAYS = {
  'flatten': [],
  'average': ['--config.clip_model=average'],
  'one_frame': ['--config.clip_model=one_frame'],
  'random': ['--config.flatten=random'],
}
# The ways tell more than the order report of one run. A refit takes as long
# again and helps all systems.
ALWAYS = ['--config.order_report=False', '--config.refit=False']
# Folders of a finished run that the page does not need.
LARGE = 'checkpoints', 'tensorboard'
STOP_SECONDS = 120  # For a run to save itself.


@dataclasses.dataclass(frozen=True)
class Run:
  """One training: its workdir and its command."""

  folder: pathlib.Path
  command: list[str]

  @property
  def name(self) -> str:
    """Returns set, system, way, fold and seed."""
    return '/'.join(self.folder.parts[-4:])

  @property
  def finished(self) -> bool:
    """Returns whether its results are written."""
    try:
      return bool(results.tested(self.folder))
    except FileNotFoundError:
      return False


def grid(args: argparse.Namespace) -> list[Run]:
  """Returns all runs, the first fold of the first seed of every cell first."""
  folds = {name: args.folds or fold_numbers(p) for name, p in args.sets.items()}
  return [
    command_of(args, name, system, way, folds[name][number], seed)
    for seed in args.seeds
    for number in range(max(map(len, folds.values())))
    for way in args.ways
    for name in args.sets
    if number < len(folds[name])
    for system in args.systems
  ]


def fold_numbers(path: pathlib.Path) -> list[int]:
  """Returns the folds of a list, or of class folders."""
  data = default_config.data()
  data.root = str(path)
  return dataset.fold_numbers(data)


def command_of(args, name, system, way, fold, seed) -> Run:
  """Returns one run."""
  folder = args.out / name / system / way / f'fold_{fold}_seed_{seed}'
  command = [
    *(sys.executable, 'main.py', *SYSTEMS[system], *WAYS[way]),
    f'--config.data.root={args.sets[name]}',
    f'--config.data.fold={fold}',
    f'--config.seed={seed}',
    *ALWAYS,
    *args.flags,
    f'--workdir={folder}',
  ]
  return Run(folder, command)


def train(runs: list[Run], jobs: int, keep: bool) -> int:
  """Trains what is not finished, `jobs` at a time; returns the failures.

  Each job gets a share of the cores if there are enough.
  """
  waiting = [run for run in runs if not run.finished]
  print(f'{len(runs) - len(waiting)} of {len(runs)} runs are finished.')
  cores = sorted(os.sched_getaffinity(0)) if jobs > 1 else []
  shares = [cores[i::jobs] for i in range(jobs)]
  total, done, failed, start = len(waiting), 0, 0, time.monotonic()
  busy: dict[int, tuple[subprocess.Popen, Run, float]] = {}
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  try:
    while waiting or busy:
      for slot in set(range(jobs)) - set(busy):
        if waiting:
          run = waiting.pop(0)
          busy[slot] = start_run(run, shares[slot]), run, time.monotonic()
      time.sleep(0.2)
      for slot, (process, run, since) in list(busy.items()):
        if process.poll() is None:
          continue
        del busy[slot]
        done += 1
        failed += not close(run, time.monotonic() - since, keep)
        rest = (time.monotonic() - start) / done * (total - done)
        print(f'{done} of {total}; {rest / 3600:.1f} h left', flush=True)
  except KeyboardInterrupt:
    print('Stopping: the same command continues.', flush=True)
    for process, *_ in busy.values():
      process.terminate()
    for process, run, since in busy.values():
      try:
        process.wait(STOP_SECONDS)
      except subprocess.TimeoutExpired:
        process.kill()
      note(run, time.monotonic() - since)
    raise SystemExit(130) from None
  return failed


def start_run(run: Run, cores: list[int]) -> subprocess.Popen:
  """Starts or resumes one run; its console is in its output.txt."""
  run.folder.mkdir(parents=True, exist_ok=True)
  print(f'{run.name}', flush=True)
  with (run.folder / 'output.txt').open('a') as output:
    process = subprocess.Popen(
      run.command,
      cwd=REPOSITORY,
      stdout=output,
      stderr=subprocess.STDOUT,
      # A Ctrl-C is for this process, which stops them in order.
      start_new_session=True,
    )
  if cores:  # Before it starts threads.
    os.sched_setaffinity(process.pid, cores)
  return process


def close(run: Run, seconds: float, keep: bool) -> bool:
  """Notes and prints what became of a run; returns False if it failed."""
  note(run, seconds)
  if not run.finished:
    print(f'{run.name} failed: see {run.folder / "output.txt"}', flush=True)
    return False
  for name in () if keep else LARGE:
    shutil.rmtree(run.folder / name, ignore_errors=True)
  top1 = results.tested(run.folder)[1]['top1']
  print(f'{run.name}: {top1:.1f} % in {seconds / 60:.1f} min', flush=True)
  return True


def note(run: Run, seconds: float) -> None:
  """Adds the time of one process to the run's own_videos.json."""
  path = run.folder / NOTES
  spent = json.loads(path.read_text())['seconds'] if path.exists() else 0.0
  notes = {
    'command': run.command,
    'seconds': round(spent + seconds, 1),
    'date': str(datetime.date.today()),
  }
  path.write_text(json.dumps(notes, indent=2) + '\n')
