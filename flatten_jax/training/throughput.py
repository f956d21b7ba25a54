# SPDX-License-Identifier: Apache-2.0
"""Speed of a training run, its input wait, and a check for finite losses."""

import collections
from collections.abc import Iterator
from concurrent import futures
import contextlib
import logging
import threading
import time

import jax
import numpy as np

from flatten_jax import progress

log = logging.getLogger('flatten_jax')

MAX_INPUT_WAIT = 10  # Percent of the time; above it a warning is logged.
WINDOW = 60  # Seconds over which that is measured.


class ThroughputMeter:
  """Collects the metrics of steps on the device and reads them when logged.

  Nothing is copied from the device but when something is logged. `add` blocks
  when the loop is more than two steps ahead of the device. The input wait is
  the time in which the devices were idle because the next batch was not ready;
  a thread records the end of each step, whatever the loop does meanwhile.

  Args:
    first_step: number of steps before this run, or before it was resumed.
    batch_size: clips per step.
  """

  def __init__(self, first_step: int, batch_size: int):
    self._batch_size = batch_size
    self._step = first_step
    self._pending: list[dict[str, jax.Array]] = []  # Not read yet,
    self._rows: list[dict[str, float]] = []  # and read since `flush`.
    self._totals = collections.Counter[str]()
    self._watch = futures.ThreadPoolExecutor(1, 'end of steps')
    self._ends = collections.deque(maxlen=3)  # Futures of the last steps.
    self._window = np.zeros(2)  # Seconds of input wait, and in all.
    self._warned = self._has_paused = False
    self._compiling: CompileLog | None = CompileLog(quiet=True)
    self._restart()

  def _restart(self) -> None:
    self._start, self._paused = time.monotonic(), 0.0
    self._timed_from = self._step
    self._inputs: list[tuple[futures.Future[float], float]] = []

  def expect_compilation(self) -> None:
    """Says that the next step is compiled first, and how long that takes."""
    if not self._compiling:
      self._end_window()
    self.close()
    self._compiling = CompileLog()

  def close(self) -> None:
    """Ends the lines about the compilation."""
    if self._compiling:
      self._compiling.end()

  @contextlib.contextmanager
  def input_wait(self) -> Iterator[None]:
    """Encloses the code that gets the batch after the last added step."""
    yield
    if self._ends:
      self._inputs.append((self._ends[-1], time.monotonic()))

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Excludes the enclosed time from the training time."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    self._paused += seconds
    # The first validation is compiled, which says nothing of later ones.
    self._totals.update(paused=seconds if self._has_paused else 0.0)
    self._has_paused = True

  def add(self, metrics: dict[str, jax.Array]) -> None:
    """Adds the metrics of the next step, which are still on the device."""
    self._pending.append(metrics)
    self._step += 1
    self._ends.append(self._watch.submit(end_of, metrics))
    if self._compiling:
      self._ends[-1].result()
      self._compiling.end('Compiled; the first step is done after %.0f s')
      self._compiling = None
      self._restart()
    elif len(self._ends) > 2:
      self._ends[0].result()

  def flush(self) -> dict[str, float]:
    """Returns the means of the metrics since the last call, and the speed.

    Returns:
      'train/<metric>', 'clips_per_second' and 'input_wait', the percentage of
      time that the devices waited for a batch.

    Raises:
      FloatingPointError: a loss is not finite; its step is named.
    """
    self.check_finite()
    rows, self._rows = self._rows, []
    window = self._end_window()
    seconds, waited = window['seconds'], window['waited']
    if window['steps']:
      self._warn(waited, seconds)
    values = {
      f'train/{key}': float(np.mean([row[key] for row in rows]))
      for key in rows[0]
    }
    values['clips_per_second'] = window['steps'] * self._batch_size / seconds
    values['input_wait'] = 100 * min(waited / seconds, 1.0)
    return values

  def totals(self) -> collections.Counter[str]:
    """Returns sums over the steps that are done; waits for none.

    Returns:
      'step', the number of the last one; the sums of each metric over 'rows'
      steps; and of 'steps' after the compilation, the 'seconds' of training,
      those 'waited' for input, and those 'paused' after the first pause.
    """
    late = sum(not end.done() for end in self._ends)
    self._read(len(self._pending) - late)
    totals = self._totals.copy()
    totals.update(self._now(late) | {'step': self._step - late})
    return totals

  def _now(self, late: int = 0) -> dict[str, float]:
    """Returns the part of the totals since the last restart."""
    done = ((end.result(), at) for end, at in self._inputs if end.done())
    return {
      'steps': self._step - late - self._timed_from,
      'seconds': time.monotonic() - self._start - self._paused,
      'waited': sum(max(0.0, ready - end) for end, ready in done),
    }

  def _end_window(self) -> dict[str, float]:
    """Adds to the totals what was measured since the last restart."""
    if self._ends:
      self._ends[-1].result()
    window = self._now()
    self._totals.update(window)
    self._restart()
    return window

  def _warn(self, waited: float, elapsed: float) -> None:
    """Logs a warning, once, if the input is too slow over a window."""
    self._window += waited, elapsed
    if self._window[1] < WINDOW or self._warned:
      return
    percent = 100 * self._window[0] / self._window[1]
    self._window[:] = 0
    if percent > MAX_INPUT_WAIT:
      log.warning(
        'The devices wait for input %.0f %% of the time: raise '
        '--config.data.workers, or for a small data set '
        '--config.data.frame_cache_gib (docs/performance.md has more)',
        percent,
      )
      self._warned = True

  def check_finite(self) -> None:
    """Raises FloatingPointError as `flush` does; keeps the metrics."""
    self._read(len(self._pending))
    first = self._step - len(self._rows) + 1
    for step, row in enumerate(self._rows, first):
      for key, name in (('loss', 'loss'), ('grad_norm', 'gradient')):
        if not np.isfinite(row.get(key, 0.0)):
          raise FloatingPointError(
            f'The {name} of step {step} is {row[key]}; the last checkpoint is '
            'older. In a new --workdir, lower lr, lengthen warmup_epochs or '
            'lower grad_clip_norm; --config.model.pretrained=<this workdir> '
            'starts from its weights.'
          )

  def _read(self, count: int) -> None:
    """Copies the metrics of the first `count` pending steps from the device."""
    rows = jax.device_get(self._pending[:count])
    del self._pending[:count]
    self._rows += rows
    for row in rows:
      self._totals.update({key: float(x) for key, x in row.items()}, rows=1)


class CompileLog:
  """Says every half minute that the training step is still being compiled."""

  def __init__(self, quiet: bool = False):
    self._start, self._ended = time.monotonic(), threading.Event()
    if not quiet:
      log.info('Compiling the training step: seconds, or minutes if it is new')
      threading.Thread(target=self._write_lines, daemon=True).start()

  def _write_lines(self) -> None:
    while not self._ended.wait(progress.SECONDS):
      log.info('Still compiling, %.0f s', time.monotonic() - self._start)

  def end(self, line: str = '') -> None:
    """Ends the lines; logs a last one, about the seconds."""
    self._ended.set()
    if line:
      log.info(line, time.monotonic() - self._start)


def end_of(metrics: dict[str, jax.Array]) -> float:
  """Waits for a step; returns the time at which it ended."""
  jax.block_until_ready(metrics)
  return time.monotonic()
