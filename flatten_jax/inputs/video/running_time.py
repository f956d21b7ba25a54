# SPDX-License-Identifier: Apache-2.0
"""A clock for time limits that stands still while the process is stopped.

Ctrl-Z, or a scheduler that suspends a job, stops a process for minutes. When it
continues, videos must not count as too slow: a training would go on with others
in their place. The system's clocks do not tell; but a thread that waits for a
decoder and looks at the clock again and again sees the gap.
"""

import threading
import time

_LONGEST = 0.5  # Seconds between two looks; more is not counted.


class _Clock:
  """Adds up the time between looks."""

  def __init__(self):
    self._lock = threading.Lock()
    self._seen = time.monotonic()
    self._now = 0.0

  def now(self) -> float:
    """Returns seconds since some moment, without those of gaps.

    Time counts if somebody asks for it at least twice a second.
    """
    with self._lock:
      seen = time.monotonic()
      self._now += min(seen - self._seen, _LONGEST)
      self._seen = seen
      return self._now


now = _Clock().now
