# SPDX-License-Identifier: Apache-2.0
"""Starts and ends worker processes that read videos."""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import multiprocessing
import os
import re
import signal
import threading
from typing import TypeVar

import cv2

Result = TypeVar('Result')


def start(*_) -> None:
  """Prepares a worker process before it reads.

  The main process handles signals to the whole group: it saves with the clips
  that workers still return, then ends them.
  """
  cv2.setNumThreads(1)
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  end_with_parent()


def death(error: BaseException) -> str | None:
  """Returns an explanation if `error` is Grain's about a dead worker."""
  found = re.search(r'Worker process .* exit code (-?\d+)', str(error))
  if not found:
    return None
  code = int(found[1])
  how = signal.Signals(-code).name if code < 0 else f'exit status {code}'
  return (
    f'A process that reads videos was ended by {how}. (SIGKILL: memory has '
    'probably run out; try fewer --config.data.workers, or 0.) No clip is '
    'left out: the same command resumes after the last checkpoint.'
  )


def end_with_parent() -> None:
  """Ends this worker when its parent is killed; Grain's would wait forever."""
  parent = multiprocessing.parent_process()

  def watch():
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def share(
  function: Callable[..., Result], jobs: Sequence[tuple], processes: int
) -> Iterator[Result]:
  """Yields `function(*job)` of all jobs as they finish; an error ends all."""
  # Spawned, not forked: this process may have threads (JAX has).
  context = multiprocessing.get_context('spawn')
  pool = futures.ProcessPoolExecutor(
    min(processes, len(jobs)), context, initializer=end_with_parent
  )
  with pool:
    running = [pool.submit(function, *job) for job in jobs]
    try:
      for job in futures.as_completed(running):
        yield job.result()
    finally:
      pool.shutdown(cancel_futures=True)


def check_shared_memory(workers: int, size: int) -> None:
  """Checks that clips of `size` bytes fit; workers are killed if it is full."""
  try:
    status = os.statvfs('/dev/shm')
  except OSError:
    return  # Only on Linux is shared memory a file system.
  free, need = status.f_bavail * status.f_frsize, 4 * workers * size
  if free < need:
    raise RuntimeError(
      f'{workers} workers need about {need >> 20} MiB of shared memory, and '
      f'/dev/shm has {free >> 20} MiB free. Use data.workers=0, or in a '
      f'container give it more, like `docker run --shm-size=2g`.'
    )
