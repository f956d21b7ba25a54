# SPDX-License-Identifier: Apache-2.0
"""The next batch is on its way before anything waits for the step."""

import contextlib
import os

import jax
import numpy as np
import pytest

from configs import common
from flatten_jax.inputs.pipeline import Batches
from flatten_jax.runtime.run import Run
from flatten_jax.training import loop, prefetch, setup, steps


def numbers(failing_at=None):
  """Batches 0, 1, 2, ...; one of them cannot be made."""
  for number in range(5):
    if number == failing_at:
      raise RuntimeError('a worker died')
    yield number


def prefetcher_of(batches, moved):
  def to_devices(batch):
    moved.append(batch)
    return {'clip': batch}

  return prefetch.DevicePrefetcher(batches, to_devices, contextlib.nullcontext)


def test_a_batch_travels_before_it_is_taken():
  moved = []
  stream = prefetcher_of(numbers(), moved)
  assert stream.next() == (0, {'clip': 0})
  stream.start_next()
  assert moved == [0, 1]
  assert stream.next() == (1, {'clip': 1})
  assert stream.next() == (2, {'clip': 2})  # Also without `start_next`.
  assert moved == [0, 1, 2]


def test_a_failure_comes_after_the_step_before_it_and_stays():
  stream = prefetcher_of(Batches(numbers(failing_at=1)), [])
  assert stream.next()[0] == 0
  stream.start_next()  # The step of batch 0 can still be logged and saved.
  for _ in range(2):
    with pytest.raises(RuntimeError, match='a worker died'):
      stream.next()


def test_an_interruption_is_not_put_off():
  def interrupted():
    raise KeyboardInterrupt
    yield

  with pytest.raises(KeyboardInterrupt):
    prefetcher_of(interrupted(), []).start_next()


@pytest.mark.parametrize(
  ('cores', 'threads', 'workers', 'words'),
  [
    (2, 4, 0, ['4 threads read, on 2 cores', 'data.prepare', 'cache_gib']),
    (4, 2, 0, ['--config.data.threads=4']),
    (16, 4, 0, ['4 threads read, on 16 cores', '--config.data.workers=15']),
    (16, 4, 4, ['16 threads read, on 16 cores']),
  ],
)
def test_advice_goes_by_the_machine(
  monkeypatch, cores, threads, workers, words
):
  monkeypatch.setattr(prefetch, 'available_cores', lambda: cores)
  data = common.data()
  data.threads, data.workers = threads, workers
  said = prefetch.advice(data)
  for word in words:
    assert word in said
  if threads * max(workers, 1) >= cores:
    assert 'read in more' not in said
  data.frame_cache_gib = 1.0
  assert 'cache_gib' not in prefetch.advice(data)


def test_the_cores_are_those_that_may_be_used():
  assert 1 <= prefetch.available_cores() <= os.cpu_count()


def one_parameter(state, batch, **_):
  """In place of the training step: compiles at once."""
  loss = batch['clip'].mean() / 255
  metrics = {'loss': loss, 'accuracy': loss, 'grad_norm': loss}
  return state.replace(step=state.step + 1), metrics


@pytest.mark.parametrize('leak', ['batch', 'number'])
def test_what_moves_to_a_device_unasked_stops_the_run(
  config, tmp_path, monkeypatch, leak
):
  """A batch that was left on the host; an operation on a Python number."""

  def to_devices(self, batch):
    return {'clip': batch['clip']}

  def next_batch(self):
    return self._batches, {'clip': jax.numpy.zeros(8) + np.float32(1)}

  monkeypatch.setattr(steps, 'train_step', one_parameter)
  if leak == 'batch':
    monkeypatch.setattr(Run, 'to_devices', to_devices)
  else:
    monkeypatch.setattr(prefetch.DevicePrefetcher, 'next', next_batch)
  config.eval_every = 0.0
  with pytest.raises(RuntimeError, match='Disallowed host-to-device transfer'):
    loop.train_and_evaluate(config, tmp_path)


def test_the_next_batch_is_fetched_while_a_step_is_computed(
  config, tmp_path, monkeypatch
):
  """And none is fetched after the last; every step has its own."""
  events = []
  original = setup.training_batches

  def training_batches(*args, **kwargs):
    batches = original(*args, **kwargs)

    def noted():
      for number, batch in enumerate(batches):
        events.append(f'batch {number}')
        yield batch

    return Batches(noted(), batches.close)

  def flush(self):
    events.append(f'step {self._step} is waited for')
    return original_flush(self)

  original_flush = loop.ThroughputMeter.flush
  monkeypatch.setattr(loop.ThroughputMeter, 'flush', flush)
  monkeypatch.setattr(setup, 'training_batches', training_batches)
  monkeypatch.setattr(steps, 'train_step', one_parameter)
  scores = dict.fromkeys(loop.METRICS, 0.0)
  for name in ('evaluate_splits', 'validate'):
    monkeypatch.setattr(loop.evaluate, name, lambda *_: scores)
  config.epochs, config.warmup_epochs, config.log_every = 1.0, 0.5, 1
  config.eval_every = config.save_every = 0.0
  loop.train_and_evaluate(config, tmp_path)
  assert events == [
    'batch 0',
    'batch 1',
    'step 1 is waited for',
    'batch 2',
    'step 2 is waited for',
    'step 3 is waited for',
  ]
