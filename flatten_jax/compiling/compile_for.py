# SPDX-License-Identifier: Apache-2.0
"""Compiles training and evaluation for a machine that is not here."""

from collections.abc import Mapping
import functools
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import ml_collections

from flatten_jax.compiling import (
  arithmetic,
  batch_search,
  collectives,
  hlo,
  memory_report,
  page,
)
from flatten_jax.compiling.machines import Machine
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import (
  config as configs,
  few_videos,
  recipes,
)
from flatten_jax.runtime.workdir import run_log

log = logging.getLogger('flatten_jax')

PROGRAMS = ('train', 'evaluate')
CLASSES = 400  # Of Kinetics; a few more or less change next to nothing.
BUFFERS = 10
# Written once the compiler has planned the memory, before machine code.
PLANNED = ('*after_optimizations.txt', '*memory-usage-report.txt')


def compile_for(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  topology: str,
  *,
  largest_batch: bool = False,
  machine_code: bool = False,
) -> dict[str, Any]:
  """Compiles a config's steps for a machine, and reports what came out.

  Needs no such machine, only its compiler: the extras `tpu` and `cuda` have
  them. Reads no videos; writes compile.md and compile.json to `workdir`.

  Args:
    config: of the run. Its `data` are not read; what it leaves open is chosen
      for some videos and for the devices of the machine.
    workdir: for the files.
    topology: the machine, such as 'v5e:4x4', 'h100:1x1x8' or 'cpu:8'; see
      `machines.table`.
    largest_batch: also finds the largest batch of a chip that fits, with and
      without `model.remat`; each try takes as long as the program itself.
    machine_code: compiles to the end, which takes a TPU's compiler about ten
      times as long and finds nothing more.

  Returns:
    The content of compile.json: 'train' and 'evaluate' as `read` returns them,
    and perhaps 'largest'.

  Raises:
    ValueError: there is no such machine, the config does not fit it, or
      `largest_batch` is asked of a CPU.
    RuntimeError: the compiler is not installed, or failed.
  """
  machine = Machine.parse(topology)
  if largest_batch and machine.platform == 'cpu':
    raise ValueError(
      '--largest_batch takes a machine whose memory is known, a TPU or a GPU, '
      f'as v5e:4x4 or h100:1x1x8; got {machine}. --mode=batch_size tries '
      'batches on the machine that it runs on.'
    )
  machine.check_installed()
  with context.open_run(config, workdir, settle=False) as run:
    config = run.config
    if recipes.open_keys(config):
      text = 'What the config leaves open is chosen for %d videos and for %s'
      log.info(text, few_videos.Facts().train, machine)
    else:
      config = configs.from_random_weights(config)
    spec = {
      'config': config.to_dict(),
      'machine': str(machine),
      'classes': CLASSES,
    }
    found: dict[str, Any] = {
      'machine': str(machine),
      'here': run_log.describe_machine(),
      'classes': CLASSES,
    }
    for program in PROGRAMS:
      log.info('Compiling %s for %s', page.NAMES[program], machine)
      found[program] = compile_one(
        spec | {'program': program}, machine, machine_code
      )
      log.info('%s', page.summary(found[program]))
    if largest_batch:
      compiled = functools.partial(compile_one, machine=machine)
      found['largest'] = {
        str(remat): batch_search.search(spec, found['train'], remat, compiled)
        for remat in (False, True)
      }
    path = run.workdir / 'compile.md'
    path.write_text(page.page(found))
    text = json.dumps(found, indent=2) + '\n'
    path.with_suffix('.json').write_text(text)
    log.info('The page is %s', path)
    return found


def compile_one(
  spec: Mapping[str, Any], machine: Machine, machine_code: bool = False
) -> dict[str, Any]:
  """Compiles one program in a process of its own; see `program` for `spec`.

  Returns:
    What `program` knows of it, and what `read` found.

  Raises:
    ValueError: the config does not fit the machine.
    RuntimeError: the compiler failed.
  """
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / 'spec.json').write_text(json.dumps(spec))
    with open(folder / 'log.txt', 'w') as output:
      process = subprocess.Popen(
        [sys.executable, '-m', 'flatten_jax.compiling.program', name],
        env=os.environ | machine.environment() | {'PYTHONPATH': _python_path()},
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
      try:
        _wait(process, folder, machine_code)
      finally:
        if process.poll() is None:
          os.killpg(process.pid, signal.SIGKILL)
          process.wait()
    if not _is_planned(folder):
      _raise(folder / 'log.txt')
    facts = json.loads((folder / 'program.json').read_text())
    found = facts | read(folder) | {'seconds': time.monotonic() - start}
    limit = machine.memory_bytes
    if limit and found['memory_bytes'] > limit:
      why = f'more than the {limit / 2**30:.1f} GiB that JAX reserves'
      found |= {'fits': False, 'why': why}
    return found


def _python_path() -> str:
  """Returns a path on which this package is, installed or not."""
  here = str(pathlib.Path(__file__).resolve().parents[2])
  return os.pathsep.join([here, os.environ.get('PYTHONPATH', '')]).rstrip(
    os.pathsep
  )


def _is_planned(folder: pathlib.Path) -> bool:
  return all(any((folder / 'xla').glob(pattern)) for pattern in PLANNED)


def _wait(
  process: subprocess.Popen, folder: pathlib.Path, machine_code: bool
) -> None:
  """Waits until the compiler has planned the memory, or is done."""
  sizes: list[int] = []
  while process.poll() is None:
    time.sleep(1)
    if machine_code or not _is_planned(folder):
      continue
    files = [next((folder / 'xla').glob(pattern)) for pattern in PLANNED]
    before, sizes = sizes, [file.stat().st_size for file in files]
    if sizes == before and all(sizes) and _is_whole(files[0]):
      return


def _is_whole(program: pathlib.Path) -> bool:
  """Returns whether a program was written to its end, a closing brace.

  A busy disk may pause in between; half a program would give wrong figures.
  """
  with program.open('rb') as file:
    file.seek(-min(16, program.stat().st_size), os.SEEK_END)
    return file.read().rstrip().endswith(b'}')


def _raise(path: pathlib.Path) -> None:
  """Raises the error at the end of a log."""
  lines = [line for line in path.read_text().splitlines() if line.strip()]
  errors = [
    line for line in lines if line.partition(':')[0].endswith(('Error', 'Exit'))
  ]
  if errors and errors[-1].startswith('ValueError: '):
    raise ValueError(errors[-1].removeprefix('ValueError: '))
  text = '\n'.join(errors[-1:] or lines[-5:] or ['It was killed.'])
  raise RuntimeError(f'The compiler failed: {text}')


def read(folder: pathlib.Path) -> dict[str, Any]:
  """Reads what the compiler wrote of a program.

  Returns:
    'fits', and 'why' not; 'memory_bytes' of a chip in all; 'gmacs_per_chip',
    10^9 multiply-adds; 'collectives', a row for each kind and type with the
    number of messages and the bytes of a chip; 'forms' of layers; 'buffers',
    the ten largest; 'recomputed', instructions that XLA repeats to save
    memory; 'host_callbacks'.
  """
  text, report = (
    max((folder / 'xla').glob(pattern)).read_text() for pattern in PLANNED
  )
  program = hlo.Program(text)
  total, buffers = memory_report.read(report, program)
  done = folder / 'done.json'
  why = json.loads(done.read_text())['out_of_memory'] if done.exists() else ''
  if list((folder / 'xla').glob('*oom_intermediate*')) and not why:
    why = 'out of memory'
  return {
    'fits': not why,
    'why': why,
    'memory_bytes': total,
    'gmacs_per_chip': arithmetic.multiply_adds(program) / 1e9,
    'collectives': [
      {'kind': kind, 'dtype': dtype, 'messages': messages, 'bytes': size}
      for (kind, dtype), (messages, size) in sorted(
        collectives.count(program).items(), key=lambda item: -item[1][1]
      )
    ],
    'forms': program.forms(),
    'buffers': [
      {'bytes': x.bytes, 'value': x.value, 'padding': x.padding}
      for x in buffers[:BUFFERS]
    ],
    'recomputed': program.recomputed(),
    'host_callbacks': program.host_callbacks(),
  }
