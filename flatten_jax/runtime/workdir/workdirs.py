# SPDX-License-Identifier: Apache-2.0
"""Creates and locks the folder of a run; explains full disks."""

from collections.abc import Iterator
import contextlib
import datetime
import errno
import fcntl
import json
import logging
import os
import pathlib
import shutil
import socket
import tempfile
from typing import TextIO

import jax

from flatten_jax import paths

log = logging.getLogger('flatten_jax')

LOCK = '.lock'
LOG = 'log.txt'
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InUse(RuntimeError):
  """Another process trains in a workdir."""


def local_folder(workdir: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the path of a workdir, with ~ replaced.

  Raises:
    ValueError: `workdir` is empty, or the address of a bucket.
  """
  if paths.is_remote(workdir):
    raise ValueError(
      f'{workdir} is not a folder. main.py takes it as a --workdir; in Python, '
      'use `flatten_jax.runtime.workdir.gcs_workdir.mirrored_workdir(workdir)`.'
    )
  if not os.fspath(workdir):
    raise ValueError('The workdir is empty; expected the path of a folder.')
  return paths.expand(workdir)


def make_writable(workdir: pathlib.Path) -> None:
  """Creates the folder and checks that it can be written to.

  Raises:
    OSError: it cannot.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir, buffering=0) as probe:
      probe.write(b'x')
  except OSError as error:
    raise OSError(
      f'Cannot write to --workdir={workdir}: {error.strerror}. Use a folder '
      'that can be created and written to.'
    ) from error


@contextlib.contextmanager
def exclusive(workdir: pathlib.Path) -> Iterator[None]:
  """Creates `workdir` and holds its lock, so that one process trains in it.

  The kernel releases the lock when the process ends in any way. Only the first
  process of a job takes it. Evaluation, which reads a workdir, does not.

  A folder that this has created is removed again if a mistake ends the run
  before it has written anything but its log.

  Raises:
    InUse: another process trains there; it is named.
  """
  is_new = not workdir.exists()
  make_writable(workdir)
  if jax.process_index():
    yield
    return
  with (workdir / LOCK).open('a+') as file:
    held = _lock(file, workdir)
    if held:
      _write_owner(file)
    try:
      yield
    except (ValueError, OSError):  # The mistakes of users, see `messages`.
      if is_new:
        _remove_if_unused(workdir)
      raise
    finally:
      if held:
        file.truncate(0)


def in_use(folder: pathlib.Path) -> bool:
  """Returns whether a process holds the lock of `folder` or of one below it."""
  return any(map(_is_held, folder.rglob(LOCK)))


def _is_held(path: pathlib.Path) -> bool:
  with path.open() as file:
    # Without an owner it is free. It must not be taken, for an instant, from a
    # process that is about to lock it.
    if not os.fstat(file.fileno()).st_size:
      return False
    try:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return True
    return False


def _remove_if_unused(workdir: pathlib.Path) -> None:
  """Removes a folder that has nothing but a lock and a log."""
  if {file.name for file in workdir.iterdir()} <= {LOCK, LOG}:
    shutil.rmtree(workdir)


def _lock(file: TextIO, workdir: str | pathlib.Path) -> bool:
  """Takes the lock; returns False if the file system does not have locks."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise InUse(
      f'{workdir} is in use by {_read_owner(file)}. Two trainings would '
      'overwrite each other: wait for that one, stop it, or use another '
      '--workdir.'
    ) from None
  except OSError as error:
    log.warning(
      'No locks in %s (%s): make sure that no other process trains there.',
      workdir,
      error.strerror,
    )
    return False
  return True


def _write_owner(file: TextIO) -> None:
  now = datetime.datetime.now().astimezone()
  owner = {
    'host': socket.gethostname(),
    'pid': os.getpid(),
    'since': now.isoformat(' ', 'seconds'),
  }
  file.truncate(0)
  file.write(json.dumps(owner) + '\n')
  file.flush()


def _read_owner(file: TextIO) -> str:
  file.seek(0)
  try:
    owner = json.loads(file.read())
    return 'process {pid} on {host} since {since}'.format(**owner)
  except (ValueError, KeyError):
    return 'another process'


@contextlib.contextmanager
def friendly_disk_errors(workdir: str | pathlib.Path) -> Iterator[None]:
  """Re-raises disk-full errors with advice."""
  try:
    yield
  except OSError as error:
    if error.errno not in FULL:
      raise
    free = shutil.disk_usage(workdir).free / 2**20
    raise OSError(
      f'{error.strerror}: {workdir} has {free:.1f} MiB free. Make room; the '
      'same command then resumes after the last checkpoint.'
    ) from error
