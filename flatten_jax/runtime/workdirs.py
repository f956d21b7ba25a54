# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: writable, large enough, and one training's at a time."""

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
from typing import Any, TextIO

import jax

from flatten_jax.runtime import gcs_workdir

log = logging.getLogger('flatten_jax')

LOCK = '.lock'
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OVERHEAD = 1 << 20  # Bytes of a checkpoint beside its arrays, about.


def make_writable(workdir: str | pathlib.Path) -> None:
  """Makes the folder and writes to it, so that a run fails at once or not."""
  if gcs_workdir.is_remote(workdir):
    raise ValueError(
      f'{workdir} is no folder. main.py takes it as a --workdir; in Python, '
      'use `flatten_jax.runtime.gcs_workdir.mirrored_workdir(workdir)`.'
    )
  workdir = pathlib.Path(workdir)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    # Processes of several hosts may have one number, and one folder.
    probe = workdir / f'.write_test_{socket.gethostname()}_{os.getpid()}'
    probe.write_bytes(b'x')
    probe.unlink()
  except OSError as error:
    raise OSError(
      f'Cannot write to --workdir={workdir}: {error.strerror}. Give a folder '
      'that can be made and written to.'
    ) from error


@contextlib.contextmanager
def exclusive(workdir: str | pathlib.Path) -> Iterator[None]:
  """Inside it, no other process trains in `workdir`; the folder is made.

  The kernel frees the lock when the process ends, however it ends. Of a job of
  many processes the first takes it. Reading a workdir, as evaluation does,
  takes none.

  Raises:
    RuntimeError: another process trains there; it is named.
  """
  make_writable(workdir)
  if jax.process_index():
    yield
    return
  with (pathlib.Path(workdir) / LOCK).open('a+') as file:
    held = _lock(file, workdir)
    if held:
      _write_owner(file)
    try:
      yield
    finally:
      if held:
        file.truncate(0)


def _lock(file: TextIO, workdir: str | pathlib.Path) -> bool:
  """Whether the lock was taken; False where the file system has no locks."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise RuntimeError(
      f'{workdir} is in use by {_read_owner(file)}. Two trainings would '
      'overwrite each other: wait for that one, stop it, or use another '
      '--workdir.'
    ) from None
  except OSError as error:
    log.warning(
      'No locks in %s (%s): see to it that nothing else trains there.',
      workdir,
      error.strerror,
    )
    return False
  return True


def _write_owner(file: TextIO) -> None:
  """Writes who holds the lock."""
  file.truncate(0)
  now = datetime.datetime.now().astimezone()
  holder = {
    'host': socket.gethostname(),
    'pid': os.getpid(),
    'since': now.isoformat(' ', 'seconds'),
  }
  file.write(json.dumps(holder) + '\n')
  file.flush()


def _read_owner(file: TextIO) -> str:
  """Who holds the lock, as far as that is written."""
  file.seek(0)
  try:
    holder = json.loads(file.read())
    return 'process {pid} on {host} since {since}'.format(**holder)
  except (ValueError, KeyError):
    return 'another process'


def check_space(
  workdir: str | pathlib.Path, state: Any, keep_last: int
) -> None:
  """Refuses to start what would end in the middle of a save.

  Args:
    workdir: what is in its checkpoints/ already counts as room.
    state: a tree of arrays; what a checkpoint holds.
    keep_last: so many checkpoints stay, beside the best one, while the next is
      written.

  Raises:
    OSError: less is free than the checkpoints need.
  """
  folder = gcs_workdir.checkpoint_root(workdir) / 'checkpoints'
  if gcs_workdir.is_remote(folder):
    return
  one = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + OVERHEAD
  need = (keep_last + 2) * one
  # Of whole ones: others are being deleted.
  whole = [path for path in folder.iterdir() if path.name.isdigit()]
  there = sum(f.stat().st_size for path in whole for f in path.rglob('*'))
  free = shutil.disk_usage(folder).free
  if free < need - there:
    raise OSError(
      f'{workdir} has {mib(free)} free, and this run needs {mib(need - there)} '
      f'there: {keep_last + 2} checkpoints (keep_last={keep_last}, the best, '
      f'the next) of {mib(one)}. Make room, or give another --workdir.'
    )


def mib(size: int) -> str:
  """12345678 -> '11.8 MiB'."""
  return f'{size / 2**20:.1f} MiB'


@contextlib.contextmanager
def friendly_disk_errors(workdir: str | pathlib.Path) -> Iterator[None]:
  """Says of a full disk what to do about it, wherever it is met."""
  try:
    yield
  except OSError as error:
    if error.errno not in FULL:
      raise
    free = mib(shutil.disk_usage(workdir).free)
    raise OSError(
      f'{error.strerror}: {workdir} has {free} free. Make room, and the same '
      'command goes on after the last checkpoint.'
    ) from error
