# SPDX-License-Identifier: Apache-2.0
"""Turns SIGTERM and Ctrl-C into a request to save and stop."""

import os
import signal
import threading

import jax


class StopSignal:
  """A context in which a first SIGTERM or SIGINT sets `requested`.

  A second one kills the process. With several processes, jax handles SIGTERM
  and notifies all of them (`multihost_utils.reached_preemption_sync_point`);
  SIGINT is turned into SIGTERM.
  """

  requested = False

  def __enter__(self) -> 'StopSignal':
    self._before = {}
    numbers = [signal.SIGINT]
    if jax.process_count() == 1:
      numbers.append(signal.SIGTERM)
    # Only the main thread may set handlers.
    if threading.current_thread() is threading.main_thread():
      self._before = {n: signal.signal(n, self._request) for n in numbers}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def _request(self, number: int, _) -> None:
    self.__exit__()
    self.requested = True
    name = signal.Signals(number).name
    # Not `log`, which may be in the middle of a line.
    os.write(2, f'{name}: saving, then stopping; again to stop now.\n'.encode())
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)
