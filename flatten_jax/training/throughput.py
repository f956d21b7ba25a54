# SPDX-License-Identifier: Apache-2.0
"""Speed of a training run, its input wait, and a check for finite losses."""

import collections
from collections.abc import Iterator
from concurrent import futures
import contextlib
import logging
import time

import jax
import numpy as np

from flatten_jax import progress

log = logging.getLogger('flatten_jax')

MAX_INPUT_WAIT = 10  # Percent of the time; above it a warning is logged.
WINDOW = 60  # Seconds over which that is measured.


class ThroughputMeter:
  """Collects the metrics of steps on the device and reads them when logged.

  Nothing is copied from the device between two log lines. `add` blocks when the
  loop is more than two steps ahead of the device. The input wait is the time in
  which the devices were idle because the next batch was not ready; a thread
  records the end of each step, whatever the loop does meanwhile.

  Args:
    first_step: number of steps before this run, or before it was resumed.
    total_steps: last step of the run.
    steps_per_epoch: need not be whole.
    batch_size: clips per step.
  """

  def __init__(
    self,
    first_step: int,
    total_steps: int,
    steps_per_epoch: float,
    batch_size: int,
  ):
    self._total_steps = total_steps
    self._steps_per_epoch = steps_per_epoch
    self._batch_size = batch_size
    self._step = first_step
    self._pending: list[dict[str, jax.Array]] = []
    self._seconds_per_step = 0.0
    self._compiling = True
    if first_step < total_steps:
      log.info('Compiling the training step: seconds, or minutes if it is new')
    self._watch = futures.ThreadPoolExecutor(1, 'end of steps')
    self._ends = collections.deque(maxlen=3)  # Futures of the last steps.
    self._window = np.zeros(2)  # Seconds of input wait, and in all.
    self._warned = False
    self._written = 0.0
    self._restart()

  def _restart(self) -> None:
    self._start, self._paused = time.monotonic(), 0.0
    self._timed_from = self._step
    self._inputs: list[tuple[futures.Future[float], float]] = []

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
    self._paused += time.monotonic() - start

  def add(self, metrics: dict[str, jax.Array]) -> None:
    """Adds the metrics of the next step, which are still on the device."""
    self._pending.append(metrics)
    self._step += 1
    self._ends.append(self._watch.submit(end_of, metrics))
    if self._compiling:
      seconds = self._ends[-1].result() - self._start
      log.info('Compiled; the first step is done after %.0f s', seconds)
      self._compiling = False
      self._restart()
    elif len(self._ends) > 2:
      self._ends[0].result()
    self._write_line()

  def _write_line(self) -> None:
    """Logs the step if nothing was logged for half a minute."""
    now, steps = time.monotonic(), self._step - self._timed_from
    if steps and now - max(self._start, self._written) > progress.SECONDS:
      self._written = now
      each = (now - self._start - self._paused) / steps
      left = duration((self._total_steps - self._step) * each)
      log.info('step %d/%d  ETA %s', self._step, self._total_steps, left)

  def flush(self) -> dict[str, float]:
    """Returns the means of the metrics since the last call, and the speed.

    Returns:
      'train/<metric>', 'clips_per_second' and 'input_wait', the percentage of
      time that the devices waited for a batch.

    Raises:
      FloatingPointError: a loss is not finite; its step is named.
    """
    rows = self._read()
    elapsed = time.monotonic() - self._start - self._paused
    waited = sum(max(0.0, ready - end.result()) for end, ready in self._inputs)
    steps = self._step - self._timed_from
    if steps:
      self._seconds_per_step = elapsed / steps
      self._warn(waited, elapsed)
    values = {
      f'train/{key}': float(np.mean([row[key] for row in rows]))
      for key in rows[0]
    }
    values['clips_per_second'] = steps * self._batch_size / elapsed
    values['input_wait'] = 100 * min(waited / elapsed, 1.0)
    self._pending = []
    self._restart()
    return values

  def _warn(self, waited: float, elapsed: float) -> None:
    """Logs a warning, once, if the input is too slow over a window."""
    self._window += waited, elapsed
    if self._window[1] < WINDOW or self._warned:
      return
    percent = 100 * self._window[0] / self._window[1]
    self._window[:] = 0
    if percent > MAX_INPUT_WAIT:
      log.warning(
        'The devices wait for input %.0f %% of the time: see '
        'docs/performance.md.',
        percent,
      )
      self._warned = True

  def check_finite(self) -> None:
    """Raises FloatingPointError as `flush` does; keeps the metrics."""
    self._read()

  def _read(self) -> list[dict[str, float]]:
    rows = jax.device_get(self._pending)
    first = self._step - len(rows) + 1
    for step, row in enumerate(rows, first):
      for key, name in (('loss', 'loss'), ('grad_norm', 'gradient')):
        if not np.isfinite(row.get(key, 0.0)):
          raise FloatingPointError(
            f'The {name} of step {step} is {row[key]}; the last checkpoint is '
            'older. In a new --workdir, lower lr, lengthen warmup_epochs or '
            'lower grad_clip_norm; --config.model.pretrained=<this workdir> '
            'starts from its weights.'
          )
    return rows

  def line(self, values: dict[str, float]) -> str:
    """Returns a log line with the values of the last `flush`."""
    width = len(str(self._total_steps))
    left = (self._total_steps - self._step) * self._seconds_per_step
    return (
      f'step {self._step:{width}}/{self._total_steps}  '
      f'epoch {self._step / self._steps_per_epoch:6.2f}  '
      f'loss {values["train/loss"]:.4f}  '
      f'acc {100 * values["train/accuracy"]:5.1f} %  '
      f'lr {values["lr"]:.2e}  '
      f'{values["clips_per_second"]:6.1f} clips/s  '
      f'input wait {values["input_wait"]:2.0f} %  '
      f'ETA {duration(left)}'
    )


def end_of(metrics: dict[str, jax.Array]) -> float:
  """Waits for a step; returns the time at which it ended."""
  jax.block_until_ready(metrics)
  return time.monotonic()


def duration(seconds: float) -> str:
  """Formats 4000 as '1h06m'."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds}s'
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f'{minutes}m{seconds:02}s'
  hours, minutes = divmod(minutes, 60)
  return f'{hours}h{minutes:02}m' if hours < 48 else f'{hours / 24:.1f} days'
