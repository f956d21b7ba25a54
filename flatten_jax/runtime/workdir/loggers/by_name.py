# SPDX-License-Identifier: Apache-2.0
"""Opens the loggers that `config.loggers` names."""

from collections.abc import Iterable, Mapping
import importlib
import pathlib
from typing import Any

from flatten_jax import importing
from flatten_jax.runtime.workdir.loggers import (
  csv_table,
  mlflow_run,
  tensorboard,
  wandb_run,
)
from flatten_jax.runtime.workdir.loggers.safe_logger import SafeLogger

NAMES = ('tensorboard', 'csv', 'wandb', 'mlflow')
SERVICES = {'wandb': wandb_run.WandbWriter, 'mlflow': mlflow_run.MlflowWriter}
LOCAL = ('tensorboard', 'csv')  # As fast as the disk: they need no thread.


def check(names: Iterable[str]) -> None:
  """Imports what the loggers need, before anything is computed.

  Raises:
    RuntimeError: a library is not installed; the message says how to.
    ValueError: there is no such module or class of your own.
  """
  for name in names:
    if importing.is_path(name):
      importing.import_function(name, 'logger')
    elif name in SERVICES:
      try:
        importlib.import_module(name)
      except ImportError as error:
        raise RuntimeError(
          f'config.loggers has {name!r}, which needs `pip install {name}` '
          f'({error}).'
        ) from error


def open_all(
  names: Iterable[str],
  workdir: pathlib.Path,
  first_step: int,
  rows: Iterable[Mapping[str, float]],
) -> list[SafeLogger]:
  """Opens loggers.

  Args:
    names: of `NAMES`, or 'package.module:class'.
    workdir: of the run.
    first_step: after which the run continues.
    rows: of metrics.jsonl.

  Raises:
    RuntimeError: a logger cannot be opened, as when nobody is logged in.
  """
  opened: list[SafeLogger] = []
  for name in names:
    try:
      writer = _open(name, workdir, first_step, rows)
    except Exception as error:  # Of any library.
      for logger in opened:
        logger.close()
      raise RuntimeError(
        f'The logger {name!r} cannot be opened: {str(error).rstrip(".")}. '
        'Change that, or leave it out of config.loggers.'
      ) from error
    opened.append(SafeLogger(name, writer, background=name not in LOCAL))
  return opened


def _open(
  name: str,
  workdir: pathlib.Path,
  first_step: int,
  rows: Iterable[Mapping[str, float]],
) -> Any:
  if name == 'tensorboard':
    folder = workdir / 'tensorboard'
    return tensorboard.TensorBoardWriter(folder, first_step)
  if name == 'csv':
    return csv_table.CsvWriter(workdir / 'metrics.csv', first_step, rows)
  if name in SERVICES:
    return SERVICES[name](workdir)
  return importing.import_function(name, 'logger')(str(workdir))
