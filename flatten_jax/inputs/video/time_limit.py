# SPDX-License-Identifier: Apache-2.0
"""Waits for a call only so long, whatever library it is stuck in."""

from collections.abc import Callable
import queue
import threading
from typing import TypeVar

from flatten_jax.inputs.video.container import DecoderStuck, VideoPath

Result = TypeVar('Result')


def call(
  function: Callable[[], Result], seconds: float, path: VideoPath
) -> Result:
  """Calls `function` in a thread; leaves it behind after so many seconds.

  Nothing can end a thread that is stuck in native code. It is a daemon, so that
  it does not keep the process from ending. What this does not cover is code
  that hangs while it holds the interpreter's lock; PyAV lets go of it to
  read, to decode and to convert.

  Raises:
    DecoderStuck: it did not come back; `path` is named.
  """
  results = queue.SimpleQueue()
  if not hasattr(_own, 'helper'):
    _own.helper = _Helper()
  _own.helper.tasks.put((function, results))
  try:
    result, error = results.get(timeout=seconds)
  except queue.Empty:
    del _own.helper
    raise DecoderStuck(
      str(path), f'the decoder did not come back within {seconds:g} s'
    ) from None
  if error is not None:
    raise error
  return result


def patience(limit: float) -> float:
  """When a decoder that is to give up after `limit` seconds must be stuck.

  Decoders look at the clock between packets, of which one may take a while.
  """
  return max(1.5 * limit, limit + 1.0)


_own = threading.local()


class _Helper:
  """A thread that works for one other thread, and ends with it."""

  def __init__(self):
    self.tasks = queue.SimpleQueue()
    threading.Thread(
      target=_serve, args=(self.tasks,), daemon=True, name='decodes'
    ).start()

  def __del__(self):
    self.tasks.put(None)


def _serve(tasks: queue.SimpleQueue) -> None:
  while task := tasks.get():
    function, results = task
    try:
      answer = function(), None
    except BaseException as error:
      answer = None, error
    results.put(answer)
    del task, function, results, answer  # Frames are large.
