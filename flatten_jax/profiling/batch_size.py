# SPDX-License-Identifier: Apache-2.0
"""Finds the largest batch that fits the memory (`--mode=batch_size`)."""

from collections.abc import Iterator
import contextlib
import gc
import itertools
import json
import logging
import math
import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.profiling import memory, timing
from flatten_jax.profiling.profile import Trainer
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs, recipe_rules
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import setup

log = logging.getLogger('flatten_jax')

# Words of the errors of XLA and of its allocators.
OUT_OF_MEMORY = ('RESOURCE_EXHAUSTED', 'Out of memory', 'out of memory')
STOPPED = {
  'memory': 'the next one does not fit',
  'limit': 'larger ones were not to be tried',
  'time': f'a step takes more than {timing.SECONDS:.0f} s',
}


def find_batch_size(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  limit: int = 4096,
) -> dict[str, Any]:
  """Doubles the batch until a training step does not fit the memory.

  Each size, from 1, is compiled and trained for two steps, on clips of the
  config's shapes. The host's memory is not filled: there, and for any device
  that tells its memory, a step that XLA plans more memory for than there is, is
  not run. Reads and writes no checkpoint; writes batch_size.json to `workdir`.

  Args:
    config: of the run; `data.images` and `model.pretrained` are ignored.
    workdir: for the file.
    limit: largest batch to try.

  Returns:
    The content of batch_size.json: 'sizes', a row for each size; 'largest', the
    largest that fits, 0 if none does; 'stopped', a word of `STOPPED`;
    'suggested', at most the number of videos; 'lr', in proportion to it;
    'command', flags that set both, or ''; and what the machine is.

  Raises:
    ValueError: there are several processes, or a config value is wrong.
  """
  config = configs.complete(config)
  with context.open_run(config, workdir) as run:
    if jax.process_count() > 1:
      raise ValueError('--mode=batch_size measures in one process: use one.')
    splits = run.open_videos()
    config = configs.from_random_weights(run.config)
    config, train = configs.resolve(config, splits), splits['train']
    rows, stopped = _try_all(config, train, limit)
    found = _suggestion(config, rows, len(train)) | {
      'stopped': stopped,
      'sizes': rows,
      'model': config.model.name,
      'frames': config.data.num_frames,
      'crop': config.data.crop,
      'dtype': config.model.dtype,
      'machine': run_log.describe_machine(),
    }
    path = run.workdir / 'batch_size.json'
    path.write_text(json.dumps(found, indent=2) + '\n')
    log.info('%s', _summary(found))
    log.info('The measurements are in %s', path)
    return found


def sizes(config: ml_collections.ConfigDict, limit: int) -> Iterator[int]:
  """Yields the smallest batch that the config can train on, twice it, ...

  A batch has to divide over devices, accumulation steps, and the groups of
  batch norm and clipping.

  Raises:
    ValueError: none up to `limit` does.
  """
  config = config.copy_and_resolve_references()
  groups = math.lcm(config.batch_norm_groups or 1, config.grad_clip_groups or 1)

  def divides(size: int) -> bool:
    config.batch_size = size
    with contextlib.suppress(ValueError):
      recipe_rules.check_batch_size(config)
      return size * config.data.repeated_aug % groups == 0
    return False

  size = next(filter(divides, range(1, limit + 1)), 0)
  if not size:
    raise ValueError(
      f'No batch up to --limit={limit} divides over '
      f'{sharding.batch_parts(config)} devices, config.grad_accum_steps='
      f'{config.grad_accum_steps}, and {groups} groups of batch norm and '
      'clipping. Give a higher --limit.'
    )
  while size <= limit:
    yield size
    size *= 2


def _try_all(
  config: ml_collections.ConfigDict, train: Videos, limit: int
) -> tuple[list[dict[str, Any]], str]:
  """Tries sizes until one does not fit; returns rows, and why it stopped."""
  rows: list[dict[str, Any]] = []
  some: dict[str, np.ndarray] | None = None
  for size in sizes(config, limit):
    sized = config.copy_and_resolve_references()
    sized.batch_size = size
    if some is None:
      with setup.training_batches(train, sized, start=0) as batches:
        some = next(batches)
    row = {'batch_size': size} | try_batch(sized, train, some)
    rows.append(row)
    log.info('%s', _line(row))
    if not row['fits']:
      return rows, 'memory'
    if row['step_seconds'] > timing.SECONDS:
      return rows, 'time'
  return rows, 'limit'


def try_batch(
  config: ml_collections.ConfigDict, train: Videos, some: pipeline.Batch
) -> dict[str, Any]:
  """Compiles and runs a training step on a batch.

  Args:
    config: resolved, with the size of the batch.
    train: the training videos.
    some: a smaller batch, whose clips are repeated.

  Returns:
    Whether it 'fits'; 'planned_bytes' of a device, by XLA's plan, None if that
    failed; 'peak_bytes' that the device has seen in use so far, None if it does
    not tell; 'step_seconds' and 'clips_per_second', if it fits.
  """
  gc.collect()  # Arrays of the size before.
  free, planned = memory.free_bytes(), None
  clips = config.batch_size * config.data.repeated_aug
  batch = {key: _repeated(value, clips) for key, value in some.items()}
  row: dict[str, Any] = {'fits': False, 'planned_bytes': None}
  try:
    experiment = Experiment.create(config, train.class_names)
    trainer = Trainer(experiment, train, itertools.repeat(batch))
    plan = trainer.compile_only()
    planned = plan['memory_arguments'] + plan['memory_temporary']
    row['planned_bytes'] = planned
    if free is None or planned <= free:
      seconds = _seconds_of_step(trainer)
      row |= {'fits': True, 'step_seconds': seconds}
      row['clips_per_second'] = clips / seconds
  except jax.errors.JaxRuntimeError as error:
    if not any(words in str(error) for words in OUT_OF_MEMORY):
      raise
  return row | {'peak_bytes': memory.peak_bytes()}


def _repeated(values: np.ndarray, count: int) -> np.ndarray:
  """Returns `count` rows that repeat those of `values`."""
  return values[np.arange(count) % len(values)]


def _seconds_of_step(trainer: Trainer) -> float:
  """Runs a step, and another one to time unless that takes too long."""
  for _ in range(2):
    start = time.monotonic()
    jax.block_until_ready(trainer.step())
    seconds = time.monotonic() - start
    if seconds > timing.SECONDS / 2:
      break
  return seconds


def _suggestion(
  config: ml_collections.ConfigDict, rows: list[dict[str, Any]], videos: int
) -> dict[str, Any]:
  """Returns the largest size that fits, and flags for the next run."""
  fitting = [row['batch_size'] for row in rows if row['fits']]
  # An epoch is at least a step.
  useful = [size for size in fitting if size <= videos] or fitting[:1]
  if not fitting:
    return {'largest': 0, 'suggested': 0, 'lr': config.lr, 'command': ''}
  lr = float(f'{config.lr * useful[-1] / config.batch_size:.3g}')
  return {
    'largest': fitting[-1],
    'suggested': useful[-1],
    'lr': lr,
    'command': f'--config.batch_size={useful[-1]} --config.lr={lr:g}',
  }


def _line(row: dict[str, Any]) -> str:
  """Returns a log line about a size."""
  text = f'batch {row["batch_size"]:5d}: '
  if row['fits']:
    text += f'{row["clips_per_second"]:.1f} clips/s'
  else:
    text += 'does not fit'
  for key, words in (('planned_bytes', 'planned'), ('peak_bytes', 'in use')):
    if row[key]:
      text += f', {memory.gib(row[key])} {words}'
  return text


def _summary(found: dict[str, Any]) -> str:
  """Returns the result in words."""
  if not found['largest']:
    return (
      'Not even the smallest batch fits. Less memory: '
      '--config.model.remat=True, --config.model.dtype=bfloat16, a smaller '
      'data.crop or model.'
    )
  text = f'The largest batch that fits is {found["largest"]}'
  text += f' ({STOPPED[found["stopped"]]}). '
  if found['suggested'] < found['largest']:
    text += 'There are fewer training videos. '
  return text + (
    f'With the learning rate in proportion: {found["command"]}. Leave some '
    'memory to other programs, and look whether a smaller batch is as fast.'
  )
