# SPDX-License-Identifier: Apache-2.0
"""How fast a run goes, how it waits, and whether its loss is still a number."""

import collections
from collections.abc import Iterator
from concurrent import futures
import contextlib
import logging
import time

import jax
import numpy as np

log = logging.getLogger('flatten_jax')


WAITS = 10  # Percent of the time: from here on a run is told what to do.
WINDOW = 60  # Seconds over which that is judged.


class ThroughputMeter:
  """Collects the metrics of steps on the device; reads them when they are due.

  Between two log lines nothing is copied from the device. The loop is held at
  most two steps ahead of it. Waiting is the time in which the devices had
  nothing to do since the next batch was not there: a thread notes when each
  step ended, whatever the loop did meanwhile.

  Args:
    first_step: number of steps made before.
    total_steps: where the run ends.
    steps_per_epoch: of the data.
    batch_size: clips per step.
    advice: what to do where the devices wait; it is logged once.
  """

  def __init__(
    self,
    first_step: int,
    total_steps: int,
    steps_per_epoch: float,
    batch_size: int,
    advice: str = '',
  ):
    self._total_steps = total_steps
    self._steps_per_epoch = steps_per_epoch
    self._batch_size = batch_size
    self._advice = advice
    self._step = first_step
    self._pending: list[dict[str, jax.Array]] = []
    self._seconds_per_step = 0.0
    self._compiling = True
    self._watch = futures.ThreadPoolExecutor(1, 'end of steps')
    self._ends = collections.deque(maxlen=3)  # Of the last steps, futures.
    self._window = np.zeros(2)  # Seconds waited, of seconds.
    self._restart()

  def _restart(self) -> None:
    self._start, self._paused = time.monotonic(), 0.0
    self._timed_from = self._step
    self._fetches: list[tuple[futures.Future[float], float]] = []

  @contextlib.contextmanager
  def input_wait(self) -> Iterator[None]:
    """Around getting the batch that follows the step added last."""
    yield
    if self._ends:
      self._fetches.append((self._ends[-1], time.monotonic()))

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Does not count the time inside as training."""
    start = time.monotonic()
    yield
    self._paused += time.monotonic() - start

  def add(self, metrics: dict[str, jax.Array]) -> None:
    """Takes the metrics of the next step, still on the device."""
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

  def flush(self) -> dict[str, float]:
    """Means of the metrics since the last call, and the speed.

    Returns:
      'train/<metric>', 'clips_per_second' and 'input_wait', the percentage of
      time that the devices waited for a batch.

    Raises:
      FloatingPointError: a loss is not finite; its step is named.
    """
    rows = self._read()
    elapsed = time.monotonic() - self._start - self._paused
    waited = sum(
      max(0.0, arrived - end.result()) for end, arrived in self._fetches
    )
    steps = self._step - self._timed_from
    if steps:
      self._seconds_per_step = elapsed / steps
      self._advise(waited, elapsed)
    values = {
      f'train/{key}': float(np.mean([row[key] for row in rows]))
      for key in rows[0]
    }
    values['clips_per_second'] = steps * self._batch_size / elapsed
    values['input_wait'] = 100 * min(waited / elapsed, 1.0)
    self._pending = []
    self._restart()
    return values

  def _advise(self, waited: float, elapsed: float) -> None:
    """Says once what to do, where a window of time was spent waiting."""
    self._window += waited, elapsed
    waited, elapsed = self._window
    if elapsed < WINDOW or not self._advice:
      return
    self._window[:] = 0
    if waited > WAITS / 100 * elapsed:
      share = 100 * waited / elapsed
      log.warning(
        '%.0f %% of the time the devices wait for videos. %s '
        '(--mode=profile takes a closer look.)',
        share,
        self._advice,
      )
      self._advice = ''

  def check_finite(self) -> None:
    """Raises FloatingPointError as `flush` does, and forgets nothing."""
    self._read()

  def _read(self) -> list[dict[str, float]]:
    rows = jax.device_get(self._pending)
    first = self._step - len(rows) + 1
    for step, row in enumerate(rows, first):
      for key, what in (('loss', 'loss'), ('grad_norm', 'gradient')):
        if not np.isfinite(row.get(key, 0.0)):
          raise FloatingPointError(
            f'The {what} of step {step} is {row[key]}. The last checkpoint is '
            'from before. In a new --workdir, lower lr, lengthen warmup_epochs '
            'or lower grad_clip_norm; --config.model.pretrained=<this workdir> '
            'starts from its weights.'
          )
    return rows

  def line(self, values: dict[str, float]) -> str:
    """One dense line about the last `flush`."""
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
  """The time at which a step is done; waits for it."""
  jax.block_until_ready(metrics)
  return time.monotonic()


def duration(seconds: float) -> str:
  """4000 -> '1h06m'."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds}s'
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f'{minutes}m{seconds:02}s'
  hours, minutes = divmod(minutes, 60)
  return f'{hours}h{minutes:02}m' if hours < 48 else f'{hours / 24:.1f} days'
