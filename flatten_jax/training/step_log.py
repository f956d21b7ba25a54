# SPDX-License-Identifier: Apache-2.0
"""Progress of a training: lines by time, and a bar on a terminal."""

import collections
from collections.abc import Callable
import logging
import math
import time

import jax

from flatten_jax import progress
from flatten_jax.training.throughput import ThroughputMeter

log = logging.getLogger('flatten_jax')

OFTEN = 10  # Seconds from line to line in the first minute.
REDRAW = 0.5  # Seconds until the bar is drawn again.
BAR = '{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}'


class StepLog:
  """Shows how far a training is, how fast, and how long it still takes.

  An estimate comes after the second step, then a line every ten seconds, and
  every half minute after the first minute; on a terminal there is a bar below
  them. Only steps that are done count, so nothing waits for a device.

  Args:
    meter: gets every step.
    total_steps: last step of the run.
    epoch: from a step to the epochs until then.
    clips: per step.
    rate: from a step, counted from 0, to its learning rate.
    hits_name: of the metric 'accuracy', see `runtime.task`.
  """

  def __init__(
    self,
    meter: ThroughputMeter,
    total_steps: int,
    epoch: Callable[[int], float],
    clips: int,
    rate: Callable[[int], float],
    hits_name: str = 'acc',
  ):
    self._hits_name = hits_name
    self._meter, self._rate = meter, rate
    self._total, self._epoch = total_steps, epoch
    self._clips = clips
    self._enabled = jax.process_index() == 0
    self._before = collections.Counter[str]()  # Totals at the last line.
    self._each = self._loss = 0.0  # Seconds of a step and loss, lately.
    self._begun = self._next_line = self._next_bar = 0.0
    self._bar: progress.Progress | None = None

  def show(self, last: bool = False) -> None:
    """Writes a line and draws the bar, if it is time; call it at each step."""
    now = time.monotonic()
    due = last or now >= self._next_line
    if not self._enabled or not (due or now >= self._next_bar):
      return
    totals = self._meter.totals()
    if self._bar is None and not last:
      if totals['steps']:  # The second step is done.
        self._begin(now, totals)
      return
    if due:
      log.info('%s', self._line(totals))
      self._before = totals
      often = now - self._begun < 60
      self._next_line = now + (OFTEN if often else progress.SECONDS)
    self._draw(now, totals)

  def __enter__(self) -> 'StepLog':
    return self

  def __exit__(self, *_) -> None:
    """Ends the bar, and lines about a compilation."""
    self._meter.close()
    if self._bar is not None:
      self._bar.close()

  def _begin(self, now: float, totals: collections.Counter[str]) -> None:
    """Logs the estimate and opens the bar."""
    seconds, left = self._seconds_left(totals), self._total - totals['step']
    log.info(
      'About %s: %d more steps of %.3g s', about(seconds), left, self._each
    )
    self._bar = progress.Progress(
      'Training',
      'steps',
      lines=False,
      total=self._total,
      initial=totals['step'],
      leave=False,
      bar_format=BAR,
    )
    self._begun, self._next_line = now, now + OFTEN
    self._draw(now, totals)

  def _draw(self, now: float, totals: collections.Counter[str]) -> None:
    """Draws the bar, if there is a terminal, with the loss lately."""
    self._next_bar = math.inf
    if self._bar is None or self._bar.disable:
      return
    self._next_bar = now + REDRAW
    self._bar.n = totals['step']
    if rows := totals['rows'] - self._before['rows']:
      self._loss = (totals['loss'] - self._before['loss']) / rows
    left = duration(self._seconds_left(totals))
    self._bar.set_postfix_str(f'loss {self._loss:.3f}, ETA {left}')

  def _seconds_left(self, totals: collections.Counter[str]) -> float:
    """Returns an estimate: steps as lately, and pauses as so far.

    A pause is a validation, for example.
    """
    if steps := totals['steps'] - self._before['steps']:
      self._each = (totals['seconds'] - self._before['seconds']) / steps
    paused = totals['paused'] / max(totals['steps'], 1)
    return (self._total - totals['step']) * (self._each + paused)

  def _line(self, totals: collections.Counter[str]) -> str:
    """Returns a line about the steps since the last one."""
    part, step = collections.Counter(totals), totals['step']
    part.subtract(self._before)
    rows, seconds = max(part['rows'], 1), max(part['seconds'], 1e-9)
    return (
      f'step {step:{len(str(self._total))}}/{self._total}  '
      f'epoch {self._epoch(step):6.2f}  '
      f'loss {part["loss"] / rows:.4f}  '
      f'{self._hits_name} {100 * part["accuracy"] / rows:5.1f} %  '
      f'lr {self._rate(max(step - 1, 0)):.2e}  '
      f'{part["steps"] * self._clips / seconds:6.1f} clips/s  '
      f'input wait {100 * min(part["waited"] / seconds, 1):2.0f} %  '
      f'ETA {duration(self._seconds_left(totals))}'
    )


def about(seconds: float) -> str:
  """Formats 4000 as '1.1 hours'."""
  for unit, size in (('hours', 3600), ('min', 60)):
    if seconds >= 1.5 * size:
      return f'{seconds / size:.2g} {unit}'
  return f'{seconds:.0f} s'


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
