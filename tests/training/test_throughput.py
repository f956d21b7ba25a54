# SPDX-License-Identifier: Apache-2.0
"""Speed and input wait, measured with a fake clock."""

import logging
import threading

import jax
import pytest

from flatten_jax.training import throughput
from flatten_jax.training.throughput import ThroughputMeter


class Clock:
  """Fakes `time`, and steps that take `step_time`."""

  def __init__(self, monkeypatch, step_time=1.0):
    self.now, self.ends = 0.0, [0.0]
    self.step_time = step_time
    monkeypatch.setattr(throughput, 'time', self)
    monkeypatch.setattr(throughput, 'end_of', lambda metrics: metrics['end'])
    monkeypatch.setattr(jax, 'device_get', lambda rows: rows)

  def monotonic(self):
    return self.now

  def step(self, meter):
    """Dispatches a step, which the device runs after the ones before it."""
    self.ends.append(max(self.now, self.ends[-1]) + self.step_time)
    # The meter blocks the loop at the first step, and when it is two ahead.
    held = -1 if len(self.ends) == 2 else -3
    self.now = max(self.now, self.ends[held])
    meter.add({'loss': 1.0, 'accuracy': 0.5, 'end': self.ends[-1]})

  def run(self, meter, count, data_time):
    """Runs steps whose batches each take `data_time` seconds."""
    for _ in range(count):
      self.step(meter)
      with meter.input_wait():
        self.now += data_time
    self.now = max(self.now, self.ends[-1])


def started(clock):
  meter = ThroughputMeter(0, 1000, 10, 8)
  clock.step(meter)  # The compiling step.
  return meter


def test_a_busy_device_does_not_wait(monkeypatch):
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 10, data_time=0.9)
  values = meter.flush()
  assert values['input_wait'] == 0
  assert values['clips_per_second'] == pytest.approx(8)


def test_slow_steps_are_reported_every_half_minute(monkeypatch, caplog):
  caplog.set_level(logging.INFO, 'flatten_jax')
  clock = Clock(monkeypatch, step_time=10)
  meter = started(clock)
  clock.run(meter, 12, data_time=0)
  steps = [line for line in caplog.messages if line.startswith('step')]
  assert [line.split('  ')[0] for line in steps] == [
    'step 7/1000',
    'step 11/1000',
  ]
  assert 'ETA' in steps[0]


def test_input_wait_is_idle_time_of_the_device(monkeypatch):
  """Steps take 1 s, batches 1.25 s: the device is idle 20 % of the time."""
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 20, data_time=1.25)
  values = meter.flush()
  assert values['input_wait'] == pytest.approx(20, abs=0.5)
  assert values['clips_per_second'] == pytest.approx(8 / 1.25)


def test_a_pause_counts_as_neither_training_nor_input_wait(monkeypatch):
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 5, data_time=0.5)
  with meter.pause():
    clock.now += 100
  clock.run(meter, 5, data_time=0.5)
  values = meter.flush()
  assert values['input_wait'] == 0
  assert values['clips_per_second'] == pytest.approx(8)


def test_a_slow_input_is_reported_once_after_a_whole_window(
  monkeypatch, caplog
):
  clock = Clock(monkeypatch)
  meter = started(clock)
  caplog.clear()
  with caplog.at_level(logging.WARNING, 'flatten_jax'):
    clock.run(meter, 70, data_time=1.05)  # 5 % is acceptable.
    meter.flush()
    clock.run(meter, 20, data_time=2.0)  # 50 %, but less than a minute.
    meter.flush()
    assert not caplog.messages
    for _ in range(8):
      clock.run(meter, 20, data_time=2.0)
      meter.flush()
  (message,) = caplog.messages
  assert 'wait for input 50 % of the time' in message
  assert 'docs/performance.md' in message


def test_the_loop_stays_at_most_two_steps_ahead_of_the_device(monkeypatch):
  ends = [threading.Event() for _ in range(4)]
  monkeypatch.setattr(throughput, 'end_of', lambda metrics: metrics.wait())
  monkeypatch.setattr(throughput.log, 'info', lambda *_: None)
  ends[0].set()
  meter = ThroughputMeter(0, 100, 10, 8)
  for end in ends[:3]:
    meter.add(end)  # The second and third do not block.
  fourth = threading.Thread(target=meter.add, args=(ends[3],))
  fourth.start()
  fourth.join(timeout=0.2)
  assert fourth.is_alive()
  ends[1].set()
  fourth.join(timeout=60)
  assert not fourth.is_alive()
  for end in ends:
    end.set()
