# SPDX-License-Identifier: Apache-2.0
"""The largest batch that fits: what is tried, and what is suggested."""

import json

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.profiling import batch_size, memory
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.workdir import run_log


class Steps:
  """Stands in for a trainer on a device that fits batches of up to 32."""

  def __init__(self, experiment, train, batches):
    self.size = len(next(batches)['clip'])

  def compile_only(self):
    return {'memory_arguments': 1000, 'memory_temporary': 10 * self.size}

  def step(self):
    if self.size > 32:
      raise jax.errors.JaxRuntimeError(
        'RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.'
      )
    return {'loss': np.float32(1)}


@pytest.fixture
def free(monkeypatch):
  """The memory of the device; None: it does not tell."""
  found = {'bytes': None}
  monkeypatch.setattr(batch_size, 'Trainer', Steps)
  monkeypatch.setattr(memory, 'free_bytes', lambda: found['bytes'])
  yield found
  run_log.stop()


def test_the_largest_batch_is_found_and_the_learning_rate_goes_with_it(
  free, config, tmp_path
):
  found = fj.find_batch_size(config, tmp_path)
  sizes = [row['batch_size'] for row in found['sizes']]
  assert sizes == [8, 16, 32, 64]  # There are eight devices.
  assert [row['fits'] for row in found['sizes']] == [True, True, True, False]
  assert (found['largest'], found['stopped']) == (32, 'memory')
  # There are 24 videos; the config has batches of 8 at 0.001.
  assert (found['suggested'], found['lr']) == (16, 0.002)
  assert found['command'] == '--config.batch_size=16 --config.lr=0.002'
  assert found['sizes'][1]['planned_bytes'] == 1160
  assert json.loads((tmp_path / 'batch_size.json').read_text()) == found
  text = (tmp_path / 'log.txt').read_text()
  assert 'The largest batch that fits is 32 (the next one does not fit)' in text
  assert found['command'] in text


def test_a_step_that_is_planned_too_large_is_not_run(
  free, config, tmp_path, monkeypatch
):
  free['bytes'] = 1100
  ran = []
  monkeypatch.setattr(Steps, 'step', lambda self: ran.append(self.size))
  found = fj.find_batch_size(config, tmp_path)
  assert found['largest'] == 8 and set(ran) == {8}
  free['bytes'] = 1
  found = fj.find_batch_size(config, tmp_path)
  assert found['largest'] == 0 and not found['command']
  assert 'Not even the smallest' in (tmp_path / 'log.txt').read_text()


def test_the_search_ends_at_the_limit_or_at_slow_steps(
  free, config, tmp_path, monkeypatch
):
  assert fj.find_batch_size(config, tmp_path, limit=20)['stopped'] == 'limit'
  monkeypatch.setattr(batch_size, '_seconds_of_step', lambda _: 100.0)
  found = fj.find_batch_size(config, tmp_path)
  assert (found['largest'], found['stopped']) == (8, 'time')


def test_other_errors_of_a_step_are_not_about_memory(
  free, config, tmp_path, monkeypatch
):
  def fail(_):
    raise jax.errors.JaxRuntimeError('INTERNAL: something else')

  monkeypatch.setattr(Steps, 'step', fail)
  with pytest.raises(jax.errors.JaxRuntimeError, match='something else'):
    fj.find_batch_size(config, tmp_path)


def test_sizes_divide_over_accumulation_steps_and_groups(config):
  config.batch_norm_groups, config.grad_clip_groups = 1, 1
  assert list(batch_size.sizes(config, 40)) == [8, 16, 32]
  config.grad_accum_steps = 2
  assert list(batch_size.sizes(config, 40)) == [16, 32]
  config.batch_norm_groups = 32
  assert list(batch_size.sizes(config, 40)) == [32]
  config.batch_norm_groups = 3  # No power of two divides into them.
  assert list(batch_size.sizes(config, 100)) == [48, 96]
  with pytest.raises(ValueError, match='No batch up to --limit=40 divides'):
    next(batch_size.sizes(config, 40))


def test_a_real_step_is_compiled_and_run(config, tmp_path):
  config.model.depth = (1, 0, 0, 0)
  with context.open_run(config, tmp_path) as run:
    splits = run.open_videos()
    config = configs.resolve(run.config, splits)
    clips = np.zeros((2, 4, 16, 16, 3), np.uint8)
    some = {'clip': clips, 'label': np.zeros(2, np.int32)}
    row = batch_size.try_batch(config, splits['train'], some)
    config.freeze = 'backbone'
    probe = batch_size.try_batch(config, splits['train'], some)
  run_log.stop()
  assert row['fits'] and row['clips_per_second'] > 0
  # A linear probe has no backward pass, and stores nothing for it.
  assert 0 < probe['planned_bytes'] < row['planned_bytes']


def test_the_memory_of_the_host_is_known_and_shared():
  free = memory.host_free_bytes()
  assert 2**20 < free < 2**50
  assert 0 < memory.free_bytes() < free / jax.local_device_count()
  assert memory.gib(3 * 2**20) == '3.0 MiB'
