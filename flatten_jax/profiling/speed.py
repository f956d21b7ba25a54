# SPDX-License-Identifier: Apache-2.0
"""Measures training steps and test views of a config alone, without reading."""

import pathlib

import jax
import ml_collections

from flatten_jax.evaluation import evaluate
from flatten_jax.inputs import pipeline, views
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.profiling import timing
from flatten_jax.profiling.profile import Trainer
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import setup

STEPS = 20  # Of each measurement; fewer if they take minutes.


def measure(
  config: ml_collections.ConfigDict, workdir: str | pathlib.Path
) -> dict[str, float]:
  """Measures the speed and the memory of a config, from random weights.

  Args:
    config: of a run; `model.pretrained` is ignored.
    workdir: for the log.

  Returns:
    'train_clips_per_second' and 'test_views_per_second' of the devices, and
    'memory_mib' of a training step on each device, by XLA's plan.
  """
  config = configs.complete(config)
  with context.open_run(config, workdir) as run:
    splits = run.open_videos()
    config = configs.from_random_weights(run.config)
    config, train = configs.resolve(config, splits), splits['train']
    experiment = Experiment.create(config, train.class_names)
    with setup.training_batches(train, config, start=0) as batches:
      trainer = Trainer(experiment, train, batches)
    plan = trainer.compile()
    clips = config.batch_size * config.data.repeated_aug
    times = timing.durations('train', trainer.step, STEPS)
    planned = plan['memory_arguments'] + plan['memory_temporary']
    return {
      'train_clips_per_second': 1e3 * clips / times['train_ms'],
      'test_views_per_second': _test_speed(experiment, splits),
      'memory_mib': planned / 2**20,
    }


def _test_speed(experiment: Experiment, splits: dict[str, Videos]) -> float:
  """Returns the views per second of a test, without reading."""
  config = experiment.config
  videos = splits[evaluate.tested_split(splits) or 'train']
  count = config.eval_views * sharding.rows_of_process(experiment.mesh)
  with pipeline.eval_batches(
    videos,
    views.of_config(config.data).apply(config.data),
    batch_size=count,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    threads=config.data.threads,
  ) as batches:
    batch = experiment.to_devices(next(batches))
  weights = experiment.random_weights()
  times = timing.durations(
    'test', lambda: experiment.eval_step(*weights, batch), STEPS
  )
  return 1e3 * count * jax.process_count() / times['test_ms']
