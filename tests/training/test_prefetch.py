# SPDX-License-Identifier: Apache-2.0
"""The next batch is transferred before anything waits for the step."""

import contextlib

import jax
import numpy as np
import pytest

from flatten_jax.inputs.pipeline import Batches
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import loop, prefetch, setup, steps, trainer


def numbers(failing_at=None):
  """Yields batches 0, 1, 2, ...; fails at one of them."""
  for number in range(5):
    if number == failing_at:
      raise RuntimeError('a worker died')
    yield number


def prefetcher_of(batches, moved):
  def to_devices(batch):
    moved.append(batch)
    return {'clip': batch}

  return prefetch.DevicePrefetcher(batches, to_devices, contextlib.nullcontext)


def test_a_batch_is_transferred_before_it_is_used():
  moved = []
  stream = prefetcher_of(numbers(), moved)
  assert stream.next() == (0, {'clip': 0})
  stream.start_next()
  assert moved == [0, 1]
  assert stream.next() == (1, {'clip': 1})
  assert stream.next() == (2, {'clip': 2})  # Also without `start_next`.
  assert moved == [0, 1, 2]


def test_a_failure_is_raised_by_every_later_call_of_next():
  stream = prefetcher_of(Batches(numbers(failing_at=1)), [])
  assert stream.next()[0] == 0
  stream.start_next()  # The step of batch 0 can still be logged and saved.
  for _ in range(2):
    with pytest.raises(RuntimeError, match='a worker died'):
      stream.next()


def test_an_interruption_is_raised_at_once():
  def interrupted():
    raise KeyboardInterrupt
    yield

  with pytest.raises(KeyboardInterrupt):
    prefetcher_of(interrupted(), []).start_next()


def one_parameter(state, batch, learning_rate, **_):
  """Replaces the training step by one that compiles quickly."""
  loss = batch['clip'].mean() / 255
  metrics = {'loss': loss, 'accuracy': loss, 'grad_norm': loss}
  return state.replace(step=state.step + 1), metrics


@pytest.mark.parametrize('leak', ['batch', 'number'])
def test_an_implicit_transfer_to_a_device_stops_the_run(
  config, tmp_path, monkeypatch, leak
):
  """A batch that was left on the host, or an operation on a Python number."""

  def to_devices(self, batch):
    return {'clip': batch['clip']}

  def next_batch(self):
    return self._batches, {'clip': jax.numpy.zeros(8) + np.float32(1)}

  monkeypatch.setattr(steps, 'train_step', one_parameter)
  if leak == 'batch':
    monkeypatch.setattr(Experiment, 'to_devices', to_devices)
  else:
    monkeypatch.setattr(prefetch.DevicePrefetcher, 'next', next_batch)
  config.eval_every = 0.0
  with pytest.raises(RuntimeError, match='Disallowed host-to-device transfer'):
    loop.train_and_evaluate(config, tmp_path)


def test_the_next_batch_is_prefetched_while_a_step_is_computed(
  config, tmp_path, monkeypatch
):
  """No batch is read after the last step, and none is used twice."""
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

  original_flush = trainer.ThroughputMeter.flush
  monkeypatch.setattr(trainer.ThroughputMeter, 'flush', flush)
  monkeypatch.setattr(setup, 'training_batches', training_batches)
  monkeypatch.setattr(steps, 'train_step', one_parameter)
  scores = dict.fromkeys((*trainer.metrics.TITLES, 'loss'), 0.0)
  scores |= {'views': '', 'videos': 1, 'scored': 0}
  monkeypatch.setattr(loop.evaluate, 'validate', lambda *_: scores)
  monkeypatch.setattr(loop.evaluate, 'evaluate_splits', lambda *_: {})
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
