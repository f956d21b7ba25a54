# SPDX-License-Identifier: Apache-2.0
"""Limits how long calls into a library may take, even if they never return."""

from collections.abc import Callable
import math
import queue
import threading
from typing import Any

from flatten_jax.inputs.video import running_time
from flatten_jax.inputs.video.container import DecoderStuck, VideoPath, name_of

_LOOK = 0.25  # Seconds after which a waiting thread looks at the clock again.


class TimeLimit:
  """The time in which one video has to be read, from now on; 0 for no limit.

  Decoders check `deadline`, of `running_time.now`, between packets, of which
  one may take a while. A decoder that has not returned some time after it is
  taken for stuck, and its thread is left behind, a daemon, so that the process
  can end. Code that hangs while it holds the interpreter's lock is not covered;
  PyAV releases it.
  """

  def __init__(self, seconds: float, path: VideoPath):
    now = running_time.now()
    self.deadline = now + seconds if seconds else math.inf
    self.busy = False  # While a call has not returned, nothing may be freed.
    self._path = path
    self._patience = patience(seconds)
    self._end = now + self._patience if seconds else math.inf

  def call(self, function: Callable, *args) -> Any:
    """Calls `function` in a helper thread, or raises DecoderStuck in time."""
    if self._end == math.inf:
      return function(*args)
    if not hasattr(_thread, 'helper'):
      _thread.helper = _Helper()
    results = queue.SimpleQueue()
    self.busy = True
    _thread.helper.tasks.put((function, args, results))
    result, error = self._wait(results)
    self.busy = False
    try:
      if error is not None:
        raise error
      return result
    finally:
      del error  # Its traceback refers to this frame, and to the decoder.

  def _wait(self, results: queue.SimpleQueue) -> Any:
    """Returns what the helper has put, or raises DecoderStuck in time."""
    while True:
      left = self._end - running_time.now()
      try:
        return results.get(timeout=min(max(left, 0), _LOOK))
      except queue.Empty:
        if left > 0:
          continue
      del _thread.helper
      cause = f'the decoder did not come back within {self._patience:g} s'
      raise DecoderStuck(name_of(self._path), cause)


def patience(seconds: float) -> float:
  """Returns after how many seconds a decoder with a limit must be stuck."""
  return max(1.5 * seconds, seconds + 1.0)


_thread = threading.local()


class _Helper:
  """A thread that works for one other thread, and ends with it.

  New threads would cost time, and memory for arenas of glibc's allocator.
  """

  def __init__(self):
    self.tasks = queue.SimpleQueue()
    threading.Thread(
      target=_serve, args=(self.tasks,), daemon=True, name='decodes'
    ).start()

  def __del__(self):
    self.tasks.put(None)


def _serve(tasks: queue.SimpleQueue) -> None:
  while task := tasks.get():
    function, args, results = task
    try:
      results.put((function(*args), None))
    except BaseException as error:
      results.put((None, error))
    del task, function, args, results  # Frames are large.
