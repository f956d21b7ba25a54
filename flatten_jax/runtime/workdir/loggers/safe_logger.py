# SPDX-License-Identifier: Apache-2.0
"""Keeps a training from failing with a logger, and from waiting for one."""

import contextlib
import logging
import queue
import threading
import time
from typing import Any

log = logging.getLogger('flatten_jax')

WAITING = 1000  # Calls that wait for a slow logger; more are dropped.
PATIENCE = 60.0  # Seconds that the end of a run waits for each logger.


class SafeLogger:
  """A logger whose errors are one warning in the log.

  It gets later values all the same: a network may come back. CLU's AsyncWriter
  raises the errors of its thread, waits at the end as long as it takes, and
  is in a package that imports TensorFlow.

  Args:
    name: for the warning.
    writer: with the methods of `metric_writer.MetricWriter`.
    background: calls are made in a thread, in order.
  """

  def __init__(self, name: str, writer: Any, *, background: bool):
    self._name, self._writer, self._warned = name, writer, False
    self._calls: queue.Queue | None = None
    if background:
      self._calls = queue.Queue(WAITING)
      # A daemon, so that a program can end while a network hangs.
      self._thread = threading.Thread(target=self._work, daemon=True)
      self._thread.start()

  def send(self, method: str, *values: Any) -> None:
    """Calls a method of the logger, now or soon."""
    if self._calls is None:
      self._call(method, *values)
      return
    try:
      self._calls.put_nowait((method, *values))
    except queue.Full:
      self._warn(f'{WAITING} calls wait for it')

  def close(self, failed: bool = False) -> None:
    """Ends the logger, which has `PATIENCE` to send the rest."""
    if failed and hasattr(self._writer, 'fail'):
      self.send('fail')
    if self._calls is None:
      self._call('close')
      return
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(queue.Full):
      self._calls.put(('close',), timeout=PATIENCE)
    self._thread.join(max(0.0, deadline - time.monotonic()))
    if self._thread.is_alive():
      self._warn(f'it does not end within {PATIENCE:.0f} s')

  def _work(self) -> None:
    method = ''
    while method != 'close':
      method, *values = self._calls.get()
      self._call(method, *values)

  def _call(self, method: str, *values: Any) -> None:
    try:
      getattr(self._writer, method)(*values)
    except Exception as error:  # Of any library.
      self._warn(f'{type(error).__name__}: {error}')

  def _warn(self, cause: str) -> None:
    if not self._warned:
      self._warned = True
      log.warning(
        'The logger %r lost values (%s). The training goes on; this is said '
        'once, and metrics.jsonl has all values.',
        self._name,
        cause,
      )
