# SPDX-License-Identifier: Apache-2.0
"""Waits for a call only so long, whatever library it is stuck in."""

from collections.abc import Callable
import queue
import threading
from typing import TypeVar

from flatten_jax.inputs.video_file import DecoderStuck, VideoPath

Result = TypeVar('Result')


def call(
  function: Callable[[], Result], seconds: float, path: VideoPath
) -> Result:
  """Calls `function` in a thread; leaves it behind after so many seconds.

  Nothing can end a thread that is stuck in native code. It is a daemon, so that
  it does not keep the process from ending. What this does not cover is code
  that hangs while it holds the interpreter's lock; PyAV and OpenCV let go of it
  to read, to decode and to convert. Starting a thread takes 0.1 ms, reading a
  clip a hundred times that.

  Raises:
    DecoderStuck: it did not come back; `path` is named.
  """
  results = queue.SimpleQueue()

  def work():
    try:
      results.put((function(), None))
    except BaseException as error:
      results.put((None, error))

  threading.Thread(target=work, daemon=True, name=f'reads {path}').start()
  try:
    result, error = results.get(timeout=seconds)
  except queue.Empty:
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
