# SPDX-License-Identifier: Apache-2.0
"""Speed and input wait, measured with a fake clock."""

import logging
import threading
import time

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
    # The meter blocks the loop at a compiled step, and when it is two ahead.
    held = -1 if meter._compiling else -3
    self.now = max(self.now, self.ends[held])
    meter.add({'loss': 1.0, 'accuracy': 0.5, 'end': self.ends[-1]})
    meter._ends[-1].result()  # The thread has noted it.

  def run(self, meter, count, data_time):
    """Runs steps whose batches each take `data_time` seconds."""
    for _ in range(count):
      self.step(meter)
      with meter.input_wait():
        self.now += data_time
    self.now = max(self.now, self.ends[-1])


def started(clock):
  meter = ThroughputMeter(0, 8)
  clock.step(meter)  # The compiling step.
  return meter


def test_a_busy_device_does_not_wait(monkeypatch):
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 10, data_time=0.9)
  values = meter.flush()
  assert values['input_wait'] == 0
  assert values['clips_per_second'] == pytest.approx(8)


def test_totals_are_of_the_steps_that_are_done_and_wait_for_none(monkeypatch):
  ends, read = [threading.Event() for _ in range(3)], []

  def end_of(row):
    ends[row['loss']].wait()
    return 0.0

  monkeypatch.setattr(throughput, 'end_of', end_of)
  monkeypatch.setattr(jax, 'device_get', lambda rows: read.extend(rows) or rows)
  meter = ThroughputMeter(10, 8)
  ends[0].set()
  for loss in range(3):
    meter.add({'loss': loss})
  totals = meter.totals()
  assert (totals['step'], totals['rows'], totals['steps']) == (11, 1, 0)
  assert read == [{'loss': 0}]  # The others are not copied.
  ends[1].set()
  meter._ends[1].result()
  totals = meter.totals()
  assert (totals['step'], totals['loss'], totals['steps']) == (12, 1, 1)
  ends[2].set()
  assert meter.flush()['train/loss'] == 1
  totals = meter.totals()
  assert (totals['rows'], totals['loss'], totals['steps']) == (3, 3, 2)
  assert [row['loss'] for row in read] == [0, 1, 2]  # Each once.


def test_a_long_compilation_is_not_silent(monkeypatch, caplog):
  caplog.set_level(logging.INFO, 'flatten_jax')
  monkeypatch.setattr(throughput.progress, 'SECONDS', 0.02)
  meter = ThroughputMeter(0, 8)
  meter.expect_compilation()
  time.sleep(0.1)
  meter.close()
  count = len(caplog.messages)
  time.sleep(0.05)
  assert caplog.messages[0].startswith('Compiling the training step')
  assert len(caplog.messages) == count > 2
  assert set(caplog.messages[1:]) == {'Still compiling, 0 s'}


def test_a_second_compilation_is_no_training_time(monkeypatch):
  """As when the whole network is trained after its head."""
  clock = Clock(monkeypatch)
  meter = started(clock)
  clock.run(meter, 5, data_time=0)
  meter.expect_compilation()
  clock.now += 100
  clock.step(meter)
  clock.run(meter, 5, data_time=0)
  meter.close()
  assert meter.flush()['clips_per_second'] == pytest.approx(8)
  totals = meter.totals()
  assert totals['seconds'] == pytest.approx(10)
  assert (totals['step'], totals['steps'], totals['rows']) == (12, 10, 12)


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
  assert meter.totals()['paused'] == 0  # The first one may be a compilation.
  with meter.pause():
    clock.now += 7
  assert meter.totals()['paused'] == 7


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
  assert '--config.data.workers' in message
  assert '--config.data.frame_cache_gib' in message
  assert 'docs/performance.md' in message


def test_the_loop_stays_at_most_two_steps_ahead_of_the_device(monkeypatch):
  ends = [threading.Event() for _ in range(4)]
  monkeypatch.setattr(throughput, 'end_of', lambda metrics: metrics.wait())
  monkeypatch.setattr(throughput.log, 'info', lambda *_: None)
  ends[0].set()
  meter = ThroughputMeter(0, 8)
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
