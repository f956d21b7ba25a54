# SPDX-License-Identifier: Apache-2.0
"""Profiles a few training steps: compute, input, memory, and a trace."""

from collections.abc import Iterator
import json
import logging
import os
import pathlib
import time
from typing import Any

import jax
import ml_collections

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.profiling import profile_page, timing
from flatten_jax.profiling.peak import peak_flops
from flatten_jax.runtime import context, model_factory, preprocess
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import (
  freezing,
  optimizer,
  prefetch,
  setup,
  steps,
)
from flatten_jax.training.throughput import ThroughputMeter

log = logging.getLogger('flatten_jax')

WARM_UP = 3  # Steps after the one that compiles.
TRACED = 3  # Steps in the trace; viewers cannot open larger files.


def profile(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  num_steps: int = 30,
) -> dict[str, Any]:
  """Trains some steps from random weights and measures where time goes.

  Reads and writes no checkpoint. Writes profile.md, profile.json and profile/,
  a trace of device and host for xprof and Perfetto, to `workdir`.

  Args:
    config: of the run; `data.images` and `model.pretrained` are ignored.
    workdir: for the files.
    num_steps: steps to time; fewer if they take minutes.

  Returns:
    The content of profile.json; `profile_page.rows` explains it.
  """
  config = configs.complete(config)
  with context.open_run(config, workdir) as run:
    splits = run.open_videos()
    config = configs.from_random_weights(run.config)
    config, train = configs.resolve(config, splits), splits['train']
    experiment = Experiment.create(config, train.class_names)
    figures, folder = describe(experiment), run.workdir / 'profile'
    with setup.training_batches(train, config, start=0) as batches:
      trainer = Trainer(experiment, train, batches)
      figures |= trainer.compile()
      figures |= trainer.train(num_steps)
      options = jax.profiler.ProfileOptions()
      options.python_tracer_level = 0  # Of all Python calls, it would be huge.
      with jax.profiler.trace(
        folder, create_perfetto_trace=True, profiler_options=options
      ):
        trainer.advance(TRACED)
      figures |= timing.durations('step', trainer.step, num_steps)
      figures |= flatten_alone(experiment, trainer.arrays['clip'], num_steps)
      figures |= timing.input_alone(batches, num_steps)
    figures['cpu_ms_per_clip'] = timing.host_cost(train, config)
    figures |= shares(figures) | {'trace': str(folder)}
    if jax.process_index() == 0:
      path = run.workdir / 'profile.md'
      path.write_text(profile_page.page(figures, config.data))
      text = json.dumps(figures, indent=2) + '\n'
      path.with_suffix('.json').write_text(text)
      for name, text in profile_page.rows(figures):
        log.info('%s: %s', name, text)
      log.info('The page is %s, how to open the trace is on it', path)
    return figures


def describe(experiment: Experiment) -> dict[str, Any]:
  """Returns the model, the batch and the machine."""
  config, mesh = experiment.config, experiment.mesh
  device = mesh.devices.flat[0]
  peak = peak_flops(device.device_kind, config.model.dtype)
  return {
    'date': time.strftime('%Y-%m-%d'),
    'model': config.model.name,
    'dtype': config.model.dtype,
    'frames': config.data.num_frames,
    'crop': config.data.crop,
    'layout': preprocess.describe(config),
    'image': list(model_factory.image_shape(config)),
    'clips_per_step': config.batch_size * config.data.repeated_aug,
    'grad_accum_steps': config.grad_accum_steps,
    'gflops_per_view': experiment.cost_of(
      config.data.num_frames, config.data.crop
    ).gflops,
    'device': device.device_kind,
    'devices': mesh.size,
    'peak_tflops': peak and peak * mesh.size / 1e12,
    'cores': (
      len(os.sched_getaffinity(0))
      if hasattr(os, 'sched_getaffinity')  # Linux: those of this process.
      else os.cpu_count()
    ),
    'readers': [config.data.workers, config.data.threads],
    'machine': run_log.describe_machine(),
  }


class Trainer:
  """The step and the input of the training loop, to be timed."""

  def __init__(
    self,
    experiment: Experiment,
    train: Videos,
    batches: Iterator[pipeline.Batch],
  ):
    config = experiment.config
    tx = optimizer.make(config)
    self._rate = experiment.to_all_devices(0)  # As fast as any other.
    self._state = setup.initial_state(experiment, tx)
    # A part that is frozen for some epochs only costs as the others later.
    frozen = freezing.names_for_all_epochs(experiment)
    self._update = setup.make_train_step(experiment, tx, frozen=frozen)
    clips = config.batch_size * config.data.repeated_aug
    self._meter = ThroughputMeter(0, clips)
    self._stream = prefetch.DevicePrefetcher(
      batches, experiment.to_devices, self._meter.input_wait
    )
    _, self.arrays = self._stream.next()  # The last batch on the devices.

  def compile(self) -> dict[str, Any]:
    """Compiles the step and runs it once."""
    figures = self.compile_only()
    self._meter.add(self.step())
    return figures

  def compile_only(self) -> dict[str, Any]:
    """Compiles the step; returns the seconds, and its memory on a device."""
    start = time.monotonic()
    with timing.cache_hits() as hits:
      inputs = self._state, self.arrays, self._rate
      self._update = self._update.lower(*inputs).compile()
    seconds = time.monotonic() - start
    plan = self._update.memory_analysis()
    kept = plan.argument_size_in_bytes + plan.output_size_in_bytes
    return {
      'compile_seconds': seconds,
      'compile_cached': bool(hits),
      'memory_arguments': kept - plan.alias_size_in_bytes,
      'memory_temporary': plan.temp_size_in_bytes,
    }

  def step(self) -> dict[str, jax.Array]:
    """Dispatches one step on the last batch."""
    with jax.transfer_guard('disallow'):
      self._state, metrics = self._update(self._state, self.arrays, self._rate)
    return metrics

  def advance(self, count: int) -> None:
    """Runs steps on new batches, as the loop does."""
    for number in range(count):
      with jax.profiler.StepTraceAnnotation('train', step_num=number):
        _, self.arrays = self._stream.next()
        self._meter.add(self.step())
        self._stream.start_next()
    self._meter.check_finite()  # Waits for the last step.

  def train(self, num_steps: int) -> dict[str, Any]:
    """Measures the speed of steps on new batches."""
    start = time.monotonic()
    self.advance(WARM_UP)
    self._meter.flush()
    seconds = (time.monotonic() - start) / WARM_UP
    self.advance(timing.affordable(num_steps, seconds))
    values = self._meter.flush()
    return {
      'clips_per_second': values['clips_per_second'],
      'waiting_percent': values['input_wait'],
      'memory_peak': [
        (device.memory_stats() or {}).get('peak_bytes_in_use')
        for device in jax.local_devices()
      ],
    }


def flatten_alone(
  experiment: Experiment, clips: jax.Array, num_steps: int
) -> dict[str, float]:
  """Measures the part of a step before the model: uint8 clips to images."""
  config = experiment.config
  key = steps.random_keys(config.seed, 0)['order']
  key = jax.device_put(key, experiment.replicated)

  @jax.jit
  def normalize(clips):
    return preprocess.normalize(clips, config).astype(config.model.dtype)

  @jax.jit
  def prepare(clips, key):
    return preprocess.flatten_clips(normalize(clips), config, key)

  return timing.durations(
    'normalize', lambda: normalize(clips), num_steps
  ) | timing.durations('prepare', lambda: prepare(clips, key), num_steps)


def shares(figures: dict[str, Any]) -> dict[str, float | None]:
  """Derives FLOP/s and shares of the step and of the peak.

  Model FLOPs are two per multiply-add, once forward and twice backward;
  recomputation by `remat` is not counted.
  """
  seconds, clips = figures['step_ms'] / 1e3, figures['clips_per_step']
  tflop = 6e-3 * figures['gflops_per_view'] * clips
  peak = figures['peak_tflops']
  flattening = max(figures['prepare_ms'] - figures['normalize_ms'], 0.0)
  return {
    'step_clips_per_second': clips / seconds,
    'tflop_per_step': tflop,
    'tflops': tflop / seconds,
    'peak_percent': peak and 100 * tflop / seconds / peak,
    'prepare_percent': 100 * figures['prepare_ms'] / figures['step_ms'],
    'layout_percent': 100 * flattening / figures['step_ms'],
  }
