# SPDX-License-Identifier: Apache-2.0
"""The progress of long work: a bar on a terminal, else a line now and then."""

from collections.abc import Iterable
import io
import logging
import sys
import threading
from typing import Any

import tqdm

log = logging.getLogger('flatten_jax')

SECONDS = 30  # From line to line; work that takes less has none.


class Progress(tqdm.tqdm):
  """Counts what is done, like tqdm.

  Without a terminal, as in a batch job or in a notebook, the log gets a line
  every half minute, also if nothing was done in it; or stderr, if nobody
  listens to the log.

  Args:
    what: is done, the beginning of the line: 'Evaluating'.
    unit: of what is counted, in the plural: 'videos'.
    items: to iterate over, if the work is a loop.
    lines: False if the caller writes its own; `disable` is then True without
      a terminal.
    **options: of tqdm: `total`, `initial`, `disable`, `leave`.
  """

  def __init__(
    self,
    what: str,
    unit: str,
    items: Iterable[Any] | None = None,
    lines: bool = True,
    **options: Any,
  ):
    self._ended = threading.Event()
    self._drawn = bool(sys.stderr and sys.stderr.isatty())
    if not self._drawn:
      options |= {'file': io.StringIO(), 'mininterval': 1, 'miniters': 1}
      options |= {} if lines else {'disable': True}
    super().__init__(items, what, unit=f' {unit}', **options)
    if not (self._drawn or self.disable):
      threading.Thread(target=self._write_lines, daemon=True).start()

  def display(self, msg: str | None = None, pos: int | None = None) -> bool:
    """Draws the bar, if there is one."""
    return super().display(msg, pos) if self._drawn else True

  def close(self) -> None:
    """Ends the bar, or the lines."""
    self._ended.set()
    super().close()

  def _write_lines(self) -> None:
    while not self._ended.wait(SECONDS):
      if log.hasHandlers() and log.isEnabledFor(logging.INFO):
        log.info('%s', self.line())
      else:
        print(self.line(), file=sys.stderr, flush=True)

  def line(self) -> str:
    """Returns how far the work is, its speed and the time left."""
    total = f' of {self.total}' if self.total else ''
    line = f'{self.desc}: {self.n}{total}{self.unit}'
    if not (done := self.n - self.initial):
      return line
    rate = done / max(self._time() - self.start_t, 1e-9)
    line += f', {rate:.3g}/s' if rate >= 1 else f', {1 / rate:.3g} s each'
    if not self.total:
      return line
    return f'{line}, {self.format_interval((self.total - self.n) / rate)} left'
