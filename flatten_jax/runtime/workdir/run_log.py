# SPDX-License-Identifier: Apache-2.0
"""Logs of a run: console, text file, JSON lines, and `config.loggers`."""

from collections.abc import Iterable, Mapping
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
import numpy as np
import tqdm

from flatten_jax import paths
from flatten_jax.runtime.workdir import workdirs
from flatten_jax.runtime.workdir.loggers import by_name, safe_logger

log = logging.getLogger('flatten_jax')

LIBRARIES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'av', 'numpy')


class RunLog:
  """Writes the metrics of a run; only the first process writes.

  Each written step is a line of workdir/metrics.jsonl, and goes to the loggers.

  Args:
    workdir: of the run.
    first_step: the logs are continued after it, and drop what is later.
    loggers: see `config.loggers`.

  Raises:
    RuntimeError: a logger cannot be opened.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    first_step: int = 0,
    loggers: Iterable[str] = ('tensorboard',),
  ):
    self.enabled = jax.process_index() == 0
    self._loggers: list[safe_logger.SafeLogger] = []
    if not self.enabled:
      return
    workdir = pathlib.Path(workdir)
    self._metrics = workdir / 'metrics.jsonl'
    self._drop_after(first_step)
    rows = read_metrics(workdir) if self._metrics.exists() else []
    self._loggers = by_name.open_all(loggers, workdir, first_step, rows)

  def write(self, step: int, values: dict[str, float]) -> None:
    """Records scalars, named like 'train/loss', at a step."""
    if not self.enabled:
      return
    values = {key: float(value) for key, value in values.items()}
    self.write_scores(step, values)
    with self._metrics.open('a') as file:
      file.write(json.dumps({'step': step} | values) + '\n')

  def write_scores(self, step: int, values: Mapping[str, float]) -> None:
    """Gives the loggers scalars that results.json has, or metrics.jsonl."""
    self._send('write_scalars', step, values)

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Gives the loggers pictures, uint8 [H W 3] or [N H W 3]."""
    self._send('write_images', step, images)

  def write_config(self, config: Mapping[str, Any]) -> None:
    """Gives the loggers a config with dotted keys."""
    plain = bool, int, float, str
    self._send(
      'write_hparams',
      {k: v if isinstance(v, plain) else str(v) for k, v in config.items()},
    )

  def _send(self, method: str, *values) -> None:
    for logger in self._loggers:
      logger.send(method, *values)

  def __enter__(self) -> 'RunLog':
    return self

  def __exit__(self, kind, error, _) -> None:
    """Ends the loggers; a run that was told to stop has not failed."""
    failed = kind is not None and getattr(error, 'code', 1) != 0
    for logger in self._loggers:
      logger.close(failed)

  def _drop_after(self, step: int) -> None:
    """Removes rows that an interrupted run wrote after its last checkpoint."""
    if not self._metrics.exists():
      return
    rows = [r for r in _read_rows(self._metrics) if r['step'] <= step]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    paths.write_text(self._metrics, text)


def read_metrics(workdir: str | pathlib.Path) -> list[dict[str, float]]:
  """Returns the rows that `RunLog.write` recorded in a workdir, by step.

  Skips incomplete lines, which a kill or a running training leaves. If steps
  were repeated after a kill, the later rows count.
  """
  found: dict[tuple, dict[str, float]] = {}
  for row in _read_rows(pathlib.Path(workdir) / 'metrics.jsonl'):
    if 'waiting' in row:  # The key in older workdirs.
      row['input_wait'] = row.pop('waiting')
    while found and (last := next(reversed(found)))[0] > row['step']:
      del found[last]
    # Training and validation of one step are two rows.
    found[row['step'], frozenset(row)] = row
  return list(found.values())


def _read_rows(path: pathlib.Path) -> list[dict[str, float]]:
  rows = []
  for line in path.read_text().splitlines():
    with contextlib.suppress(ValueError):
      row = json.loads(line)
      if isinstance(row, dict) and 'step' in row:
        rows.append(row)
  return rows


class Console(logging.StreamHandler):
  """Writes lines above the progress bars of the terminal."""

  def emit(self, record: logging.LogRecord) -> None:
    """Writes one line."""
    with tqdm.tqdm.external_write_mode(self.stream):
      super().emit(record)


class LogFile(logging.FileHandler):
  """A log file that drops lines while it cannot be written to."""

  def handleError(self, record: logging.LogRecord) -> None:
    """Ignores the error: the console has the line too."""


def start(workdir: str | pathlib.Path) -> None:
  """Sends log lines of this package to the console and to workdir/log.txt."""
  stop()
  quiet()
  log.setLevel(logging.DEBUG)
  log.propagate = False
  if jax.process_index() != 0:
    log.addHandler(logging.NullHandler())
    return
  console = Console(sys.stdout)
  console.setLevel(logging.INFO)
  path = pathlib.Path(workdir) / workdirs.LOG
  file = LogFile(path, encoding='utf-8', errors='backslashreplace')
  for handler, date in ((console, '%H:%M:%S'), (file, '%Y-%m-%d %H:%M:%S')):
    handler.setFormatter(logging.Formatter('%(asctime)s  %(message)s', date))
    log.addHandler(handler)


def quiet() -> None:
  """Silences log lines of other packages below errors; stdout takes any name.

  Orbax logs every step of a save or a restore through absl, and each failure
  three times; jax logs absent backends. Failures are raised as well.
  """
  for name in ('absl', 'asyncio', 'matplotlib'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  # The HTTP clients of huggingface_hub log addresses that are signed to upload.
  for name in ('jax', 'httpx', 'httpx2'):
    logging.getLogger(name).setLevel(logging.WARNING)
  if hasattr(sys.stdout, 'reconfigure'):  # A notebook's has not.
    sys.stdout.reconfigure(errors='backslashreplace')
  if sys.unraisablehook is not _unraisable:
    _unraisable.others = sys.unraisablehook
    sys.unraisablehook = _unraisable


def _unraisable(error) -> None:
  """Hides errors of Orbax's other arrays after one of them has failed."""
  if str(error.exc_value) != 'Event loop is closed':
    _unraisable.others(error)


def stop() -> None:
  """Closes the handlers that `start` opened."""
  for handler in list(log.handlers):
    log.removeHandler(handler)
    with contextlib.suppress(OSError):  # The disk may be full.
      handler.close()


def describe_machine() -> dict[str, Any]:
  """Returns library versions, devices and the git commit of this code."""
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
  """Returns the git commit of this code; '' without git or a checkout."""
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


def log_parameters(params: dict, decay: dict) -> None:
  """Logs the parameter table to the file and the totals to the console.

  Args:
    params: parameters.
    decay: factors of weight decay, 0 for none, in the same tree.
  """
  table = parameter_overview.get_parameter_overview(params, include_stats=False)
  log.debug('Parameters:\n%s', table)
  sizes = jax.tree.map(lambda value: value.size, params)
  decayed = jax.tree.map(lambda size, factor: size * bool(factor), sizes, decay)
  log.info(
    '%.3f M parameters, weight decay on %.3f M of them (table in log.txt)',
    sum(jax.tree.leaves(sizes)) / 1e6,
    sum(jax.tree.leaves(decayed)) / 1e6,
  )
