# SPDX-License-Identifier: Apache-2.0
"""Speed, waiting and advice, on a clock that the test turns."""

import logging
import threading

import jax
import pytest

from flatten_jax.training import throughput
from flatten_jax.training.throughput import ThroughputMeter


class Clock:
  """Stands in for `time`, and for the end of steps that take `step_time`."""

  def __init__(self, monkeypatch, step_time=1.0):
    self.now, self.ends = 0.0, [0.0]
    self.step_time = step_time
    monkeypatch.setattr(throughput, 'time', self)
    monkeypatch.setattr(throughput, 'end_of', lambda metrics: metrics['end'])
    monkeypatch.setattr(jax, 'device_get', lambda rows: rows)

  def monotonic(self):
    return self.now

  def step(self, meter):
    """The next step is handed to the device, behind those before it."""
    self.ends.append(max(self.now, self.ends[-1]) + self.step_time)
    # Where the meter would hold the loop: at the first step, or two ahead.
    held = -1 if len(self.ends) == 2 else -3
    self.now = max(self.now, self.ends[held])
    meter.add({'loss': 1.0, 'accuracy': 0.5, 'end': self.ends[-1]})

  def run(self, meter, count, data_time):
    """Steps of which each batch takes `data_time` to be made."""
    for _ in range(count):
      self.step(meter)
      with meter.input_wait():
        self.now += data_time
    self.now = max(self.now, self.ends[-1])


def started(clock, **options):
  meter = ThroughputMeter(0, 1000, 10, 8, **options)
  clock.step(meter)  # The one that compiles.
  return meter


def test_a_device_that_always_has_work_does_not_wait(monkeypatch):
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 10, data_time=0.9)
  values = meter.flush()
  assert values['input_wait'] == 0
  assert values['clips_per_second'] == pytest.approx(8)


def test_waiting_is_what_the_device_lacked_not_what_the_host_spent(monkeypatch):
  """Steps of 1 s, batches of 1.25 s: a fifth of the time nothing happens."""
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 20, data_time=1.25)
  values = meter.flush()
  assert values['input_wait'] == pytest.approx(20, abs=0.5)
  assert values['clips_per_second'] == pytest.approx(8 / 1.25)


def test_what_a_pause_takes_is_neither_training_nor_waiting(monkeypatch):
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 5, data_time=0.5)
  with meter.pause():
    clock.now += 100
  clock.run(meter, 5, data_time=0.5)
  values = meter.flush()
  assert values['input_wait'] == 0
  assert values['clips_per_second'] == pytest.approx(8)


def test_advice_comes_once_and_only_where_a_whole_window_waits(
  monkeypatch, caplog
):
  clock = Clock(monkeypatch)
  meter = started(clock, advice='Buy a faster disk.')
  caplog.clear()
  with caplog.at_level(logging.WARNING, 'flatten_jax'):
    clock.run(meter, 70, data_time=1.05)  # 5 % is as it may be.
    meter.flush()
    clock.run(meter, 20, data_time=2.0)  # Half of it, but not for long.
    meter.flush()
    assert not caplog.messages
    for _ in range(8):
      clock.run(meter, 20, data_time=2.0)
      meter.flush()
  (message,) = caplog.messages
  assert message.startswith('50 % of the time')
  assert 'Buy a faster disk.' in message


def test_the_loop_is_held_two_steps_ahead_of_the_device(monkeypatch):
  ends = [threading.Event() for _ in range(4)]
  monkeypatch.setattr(throughput, 'end_of', lambda metrics: metrics.wait())
  monkeypatch.setattr(throughput.log, 'info', lambda *_: None)
  ends[0].set()
  meter = ThroughputMeter(0, 100, 10, 8)
  for end in ends[:3]:
    meter.add(end)  # The second and third go on at once.
  fourth = threading.Thread(target=meter.add, args=(ends[3],))
  fourth.start()
  fourth.join(timeout=0.2)
  assert fourth.is_alive()
  ends[1].set()
  fourth.join(timeout=60)
  assert not fourth.is_alive()
  for end in ends:
    end.set()
