# SPDX-License-Identifier: Apache-2.0
"""Starts and ends worker processes that read videos."""

import ast
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
import linecache
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import threading
import types
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


def check_script() -> None:
  """Raises RuntimeError if the main script must not start processes."""
  if cause := script_problem():
    raise RuntimeError(cause)


def script_problem() -> str:
  """Returns why the main script must not start processes; '' if it may.

  Python runs the main script again in each new process. So what starts them has
  to be under `if __name__ == '__main__':`. A notebook, `python -c`, a zip file
  and a `__main__.py` are not run again. In doubt there is no problem: `death`
  explains it as well, later.
  """
  frame = _frame_of_script()
  if not frame:
    return ''
  script, number = frame.f_code.co_filename, frame.f_lineno
  advice = 'or use no other processes: data.workers=0.'
  if script == '<stdin>':
    return (
      'Processes that read videos cannot start from a script on stdin: save it '
      f'in a file, {advice}'
    )
  try:
    tree = ast.parse(pathlib.Path(script).read_bytes())
  except (OSError, ValueError, SyntaxError):
    return ''  # Not a text: compiled, for example.
  if not _is_run_again(frame) and _has_guard(tree, number):
    return ''
  line = linecache.getline(script, number).strip()
  return (
    f'Processes that read videos run {script} again. Put its line {number} '
    f"under a guard,\n\n  if __name__ == '__main__':\n    {line}\n\n{advice}"
  )


def _is_run_again(frame: types.FrameType) -> bool:
  """Returns whether the script of a frame runs in a process that it started."""
  return frame.f_globals.get('__name__') == '__mp_main__'


def _frame_of_script() -> types.FrameType | None:
  """Returns the frame of a script that new processes run; None in a thread."""
  main = sys.modules['__main__']
  name = getattr(getattr(main, '__spec__', None), 'name', '')
  if name.rpartition('.')[2] == '__main__':
    return None
  frame = sys._getframe()
  while frame and not (
    frame.f_code.co_name == '<module>'
    and (frame.f_globals is vars(main) or _is_run_again(frame))
  ):
    frame = frame.f_back
  # Other code in its globals is from `exec`, a notebook or a debugger.
  own = frame and frame.f_code.co_filename == frame.f_globals.get('__file__')
  return frame if own else None


def _has_guard(script: ast.Module, line: int) -> bool:
  """Returns whether statements up to a line ask if this is the main process.

  `if __name__ == '__main__':` is only the most usual one of many ways.
  """
  begun = [node for node in script.body if node.lineno <= line]
  words = ('__main__', '__mp_main__', 'parent_process', 'current_process')
  return any(
    word in words
    for node in ast.walk(ast.Module(begun, []))
    for word in (getattr(node, key, '') for key in ('value', 'id', 'attr'))
  )


def death(error: BaseException) -> str | None:
  """Returns an explanation if `error` is Grain's about a dead worker."""
  found = re.search(r'Worker process .* exit code (-?\d+)', str(error))
  if not found:
    return None
  code = int(found[1])
  how = signal.Signals(-code).name if code < 0 else f'exit status {code}'
  cause = {
    -signal.SIGKILL: 'Memory has probably run out: try fewer data.workers, or '
    '0. ',
    1: 'Its error is above. If that names the script, what starts the work has '
    "to be under `if __name__ == '__main__':`. ",
  }.get(code, '')
  return (
    f'A process that reads videos was ended by {how}. {cause}No clip is left '
    'out: the same command resumes after the last checkpoint.'
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
  """Yields `function(*job)` of all jobs as they finish; an error ends all.

  Raises:
    RuntimeError: a process was killed.
  """
  check_script()
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
    except BrokenProcessPool:
      raise RuntimeError(
        f'One of {processes} processes was ended, probably since memory ran '
        'out. Give the same command again, with fewer processes if you can.'
      ) from None
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
