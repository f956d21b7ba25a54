# SPDX-License-Identifier: Apache-2.0
"""Lines come by time and the bar by terminal, measured with a fake clock."""

import collections
import io
import logging
import sys

import pytest

from flatten_jax.training import step_log
from flatten_jax.training.step_log import StepLog


class Meter:
  """Counts steps that take `seconds`, with a loss that is their number."""

  def __init__(self, monkeypatch, seconds):
    self.seconds, self.now, self.sums = seconds, 0.0, collections.Counter()
    monkeypatch.setattr(step_log, 'time', self)

  def monotonic(self):
    return self.now

  def totals(self):
    return self.sums.copy()

  def close(self):
    self.closed = True

  def step(self, pause=0.0):
    number = self.sums['step'] + 1
    self.sums.update(step=1, rows=1, loss=number, accuracy=0.5)
    if number > 1:  # The first one is compiled.
      self.now += self.seconds + pause
      self.sums.update(
        steps=1, seconds=self.seconds, waited=self.seconds / 4, paused=pause
      )


def run(monkeypatch, caplog, seconds, total, pause=0.0):
  """Returns the log of a run of `total` steps, two of them an epoch."""
  caplog.set_level(logging.INFO, 'flatten_jax')
  meter = Meter(monkeypatch, seconds)
  with StepLog(
    meter, total, lambda step: step / 2, 8, lambda step: step / 1000
  ) as lines:
    for step in range(1, total + 1):
      meter.step(pause)
      lines.show(step == total)
  assert meter.closed
  return caplog.messages


def test_an_estimate_comes_after_the_second_step(monkeypatch, caplog):
  meter = Meter(monkeypatch, 1.5)
  caplog.set_level(logging.INFO, 'flatten_jax')
  lines = StepLog(meter, 1800, float, 8, lambda step: 0.0)
  meter.step()
  lines.show()
  assert not caplog.messages
  meter.step()
  lines.show()
  assert caplog.messages == ['About 45 min: 1798 more steps of 1.5 s']


@pytest.mark.parametrize(
  ('seconds', 'total', 'steps'),
  [
    # Every ten seconds in the first minute, then every half minute.
    (1.0, 150, [12, 22, 32, 42, 52, 62, 92, 122, 150]),
    (25.0, 8, [3, 4, 5, 7, 8]),  # Slower steps than lines.
    (0.001, 9, [9]),
    (1.0, 1, [1]),
  ],
)
def test_lines_come_by_time(seconds, total, steps, monkeypatch, caplog):
  messages = run(monkeypatch, caplog, seconds, total)
  lines = [line for line in messages if line.startswith('step')]
  assert [int(line.split()[1].split('/')[0]) for line in lines] == steps


def test_a_line_is_about_the_steps_since_the_last_one(monkeypatch, caplog):
  messages = run(monkeypatch, caplog, 2.0, 100)
  assert messages[1:3] == [
    # Means of 1 to 7 and of 8 to 12.
    'step   7/100  epoch   3.50  loss 4.0000  acc  50.0 %  lr 6.00e-03  '
    '   4.0 clips/s  input wait 25 %  ETA 3m06s',
    'step  12/100  epoch   6.00  loss 10.0000  acc  50.0 %  lr 1.10e-02  '
    '   4.0 clips/s  input wait 25 %  ETA 2m56s',
  ]


def test_the_time_left_includes_validations_like_those_so_far(
  monkeypatch, caplog
):
  messages = run(monkeypatch, caplog, 4.0, 50, pause=1.0)
  assert messages[0] == 'About 4 min: 48 more steps of 4 s'  # 48 * 5 s.
  assert messages[1].endswith('ETA 3m50s')  # After step 4.


def test_other_processes_write_nothing(monkeypatch, caplog):
  monkeypatch.setattr(step_log.jax, 'process_index', lambda: 1)
  assert not run(monkeypatch, caplog, 10.0, 9)


def test_a_terminal_has_a_bar_below_the_lines(monkeypatch, caplog):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setattr(sys, 'stderr', terminal)
  run(monkeypatch, caplog, 4.0, 6)
  bars = terminal.getvalue().split('\r')
  (found,) = [bar for bar in bars if ' 3/6, ' in bar]
  assert found.startswith('Training:  50%|')
  assert found.rstrip().endswith('3/6, loss 2.000, ETA 12s')
  assert not bars[-1].strip()  # It is removed at the end.


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [
    (2.4, '2 s'),
    (89, '89 s'),
    (2700, '45 min'),
    (5000, '83 min'),
    (12_345, '3.4 hours'),
  ],
)
def test_an_estimate_is_in_round_words(seconds, text):
  assert step_log.about(seconds) == text


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [(59, '59s'), (61, '1m01s'), (4000, '1h06m'), (400_000, '4.6 days')],
)
def test_a_duration_is_short(seconds, text):
  assert step_log.duration(seconds) == text
