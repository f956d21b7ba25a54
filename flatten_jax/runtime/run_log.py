# SPDX-License-Identifier: Apache-2.0
"""Where a run writes what it does: console, text, JSON lines, TensorBoard.

CLU's metric writers import TensorFlow, which the core does without; this file
is all that stands in for them.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from clu import parameter_overview
import jax

from flatten_jax.runtime import tensorboard
from flatten_jax.training import optimizer

log = logging.getLogger('flatten_jax')

LIBRARIES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'av', 'numpy')


class RunLog:
  """Writes for one process of a run; all but the first write nothing.

  workdir/log.txt holds the lines of the console, and the parameter table;
  workdir/metrics.jsonl one line per written step; workdir/tensorboard the same
  for TensorBoard.
  """

  def __init__(self, workdir: str | pathlib.Path, first_step: int = 0):
    """Continues the logs of `workdir`, dropping what is after `first_step`."""
    self._enabled = jax.process_index() == 0
    if not self._enabled:
      return
    workdir = pathlib.Path(workdir)
    self._metrics = workdir / 'metrics.jsonl'
    self._drop_after(first_step)
    self._tensorboard = tensorboard.TensorBoardWriter(
      workdir / 'tensorboard', first_step
    )

  def write(self, step: int, values: dict[str, float]) -> None:
    """Records scalars, named like 'train/loss', at a step."""
    if not self._enabled:
      return
    values = {key: float(value) for key, value in values.items()}
    self._tensorboard.write(step, values)
    with self._metrics.open('a') as file:
      file.write(json.dumps({'step': step} | values) + '\n')

  def __enter__(self) -> 'RunLog':
    return self

  def __exit__(self, *_) -> None:
    if self._enabled:
      self._tensorboard.close()

  def _drop_after(self, step: int) -> None:
    """Forgets what an interrupted run wrote beyond its last checkpoint."""
    if not self._metrics.exists():
      return
    lines = []
    for line in self._metrics.read_text().splitlines():
      try:
        if json.loads(line)['step'] <= step:
          lines.append(line + '\n')
      except ValueError:
        continue  # Cut off by a kill.
    partial = self._metrics.with_suffix('.partial')
    partial.write_text(''.join(lines))
    os.replace(partial, self._metrics)


def read_metrics(workdir: str | pathlib.Path) -> list[dict[str, float]]:
  """Everything that `RunLog.write` recorded in a workdir, in order.

  But for a line that is being written, or that a kill cut off.
  """
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  rows = []
  for line in text.splitlines():
    with contextlib.suppress(ValueError):
      row = json.loads(line)
      if 'waiting' in row:  # The key in older workdirs.
        row['input_wait'] = row.pop('waiting')
      rows.append(row)
  return rows


class LogFile(logging.FileHandler):
  """The lines of the console in a file, as long as it can be written."""

  def handleError(self, record: logging.LogRecord) -> None:
    """Leaves the line to the console; what must be kept raises elsewhere."""


def start(workdir: str | pathlib.Path) -> None:
  """Sends this package's log lines to the console and to workdir/log.txt."""
  stop()
  quiet()
  log.setLevel(logging.DEBUG)
  log.propagate = False
  if jax.process_index() != 0:
    log.addHandler(logging.NullHandler())
    return
  console = logging.StreamHandler(sys.stdout)
  console.setLevel(logging.INFO)
  file = LogFile(pathlib.Path(workdir) / 'log.txt')
  for handler, date in ((console, '%H:%M:%S'), (file, '%Y-%m-%d %H:%M:%S')):
    handler.setFormatter(logging.Formatter('%(asctime)s  %(message)s', date))
    log.addHandler(handler)


def quiet() -> None:
  """Lets other packages speak of errors only.

  Orbax tells every step of a save or a restore through absl, and thrice what
  failed; jax which backends are not there. What fails is raised.
  """
  for name in ('absl', 'asyncio'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  logging.getLogger('jax._src.xla_bridge').setLevel(logging.WARNING)
  if sys.unraisablehook is not _unraisable:
    _unraisable.others = sys.unraisablehook
    sys.unraisablehook = _unraisable


def _unraisable(what) -> None:
  """Where one array cannot be written or read, others report to nobody."""
  if str(what.exc_value) != 'Event loop is closed':
    _unraisable.others(what)


def stop() -> None:
  """Closes what `start` opened."""
  for handler in list(log.handlers):
    log.removeHandler(handler)
    with contextlib.suppress(OSError):  # A full disk, met again.
      handler.close()


def describe_machine() -> dict[str, Any]:
  """Library versions, devices and the git commit that a run depends on."""
  return {
    'python': platform.python_version(),
    'libraries': {name: importlib.metadata.version(name) for name in LIBRARIES},
    'devices': [str(device) for device in jax.devices()],
    'device_kind': jax.devices()[0].device_kind,
    'system': platform.platform(),
    'cpus': os.cpu_count(),
    'processes': jax.process_count(),
    'commit': commit() or 'not a git checkout',
  }


def commit() -> str:
  """The git commit of this code; empty where there is none, or no git."""
  try:
    described = subprocess.run(
      ['git', 'describe', '--always', '--dirty'],
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=False,
    )
  except OSError:
    return ''
  return described.stdout.strip()


def log_parameters(params: dict) -> None:
  """The parameter table to the log file, its sum to the console."""
  table = parameter_overview.get_parameter_overview(params, include_stats=False)
  log.debug('Parameters:\n%s', table)
  sizes, mask = (
    jax.tree.leaves(params),
    jax.tree.leaves(optimizer.decays(params)),
  )
  decayed = sum(p.size for p, m in zip(sizes, mask, strict=True) if m)
  log.info(
    '%.3f M parameters, %.3f M of them decay (table in log.txt)',
    sum(p.size for p in sizes) / 1e6,
    decayed / 1e6,
  )
