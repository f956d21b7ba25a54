# SPDX-License-Identifier: Apache-2.0
"""Measures a few training steps: what they take, and what they wait for."""

from collections.abc import Callable, Iterator
import dataclasses
import json
import logging
import pathlib
import time
from typing import Any

import jax
import ml_collections

from flatten_jax.inputs import pipeline
from flatten_jax.profiling import profile_page, timing
from flatten_jax.profiling.peak import peak_flops
from flatten_jax.runtime import (
  config as configs,
  context,
  model_factory,
  preprocess,
  run_log,
)
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import optimizer, prefetch, setup, steps
from flatten_jax.training.throughput import ThroughputMeter

log = logging.getLogger('flatten_jax')

WARM_UP = 3  # Steps, after the one that compiles.
TRACED = 3  # Steps in the trace; more make a file that viewers choke on.


def profile(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  num_steps: int = 30,
) -> dict[str, Any]:
  """Trains some steps from the seed and says where their time went.

  Reads and writes no checkpoint, and draws the weights from the seed whatever
  `config.model.pretrained` says. Leaves in `workdir`: profile.md and
  profile.json, the figures; profile/, a trace of the device and the host for
  xprof and Perfetto.

  Args:
    config: of the run to be; batches are those of videos that it would train
      on, and of `data.images` there are none.
    workdir: where the pages and the trace go.
    num_steps: at most so many are timed; fewer where they take minutes.

  Returns:
    What profile.json says; see `profile_page.rows` for the meaning.
  """
  config = configs.complete(config)
  config.model.pretrained = ''
  with context.open_run(config, workdir) as run:
    splits = run.open_videos()
    config, train = configs.resolve(run.config, splits), splits['train']
    experiment = Experiment.create(config, train.class_names)
    tx, _ = optimizer.make(config, setup.epoch_steps(train, config))
    figures = describe(experiment)
    folder = run.workdir / 'profile'
    with setup.training_batches(train, config, start=0) as batches:
      state = setup.initial_state(experiment, tx)
      update = setup.make_train_step(experiment, tx)
      bench = Bench(experiment, state, update, batches)
      figures |= bench.compile()
      figures |= bench.train(num_steps)
      with timing.tracing(folder):
        bench.advance(TRACED)
      figures |= bench.step_alone(num_steps)
      figures |= flatten_alone(experiment, bench.arrays['clip'], num_steps)
      figures |= timing.input_alone(batches, num_steps)
    figures['cpu_ms_per_clip'] = timing.host_cost(train, config)
    figures |= shares(figures)
    figures['trace'] = str(folder)
    if jax.process_index() == 0:
      write(figures, config, run.workdir / 'profile.md')
    return figures


def write(
  figures: dict[str, Any], config: ml_collections.ConfigDict, path: pathlib.Path
) -> None:
  """The page, the same as JSON beside it, and its lines to the console."""
  text = json.dumps(figures, indent=2) + '\n'
  path.with_suffix('.json').write_text(text)
  path.write_text(profile_page.page(figures, config.data))
  for name, text in profile_page.rows(figures):
    log.info('%s: %s', name, text)
  log.info('The page is %s, how to open the trace is on it', path)


def describe(experiment: Experiment) -> dict[str, Any]:
  """What is measured, and on what."""
  config, device = experiment.config, jax.devices()[0]
  peak = peak_flops(device.device_kind, config.model.dtype)
  return {
    'date': time.strftime('%Y-%m-%d'),
    'model': config.model.name,
    'dtype': config.model.dtype,
    'frames': config.data.num_frames,
    'crop': config.data.crop,
    'layout': 'clips' if preprocess.takes_clips(config) else config.flatten,
    'image': list(model_factory.image_shape(config)),
    'clips_per_step': config.batch_size * config.data.repeated_aug,
    'grad_accum_steps': config.grad_accum_steps,
    'gflops_per_view': experiment.cost.gflops,
    'device': device.device_kind,
    'devices': jax.device_count(),
    'peak_tflops': peak and peak * jax.device_count() / 1e12,
    'cores': timing.available_cores(),
    'readers': [config.data.workers, config.data.threads],
    'machine': run_log.describe_machine(),
  }


@dataclasses.dataclass
class Bench:
  """The loop's step and its input, to be driven and timed.

  Attributes:
    experiment: config, model structure and devices.
    state: donated to each step, and replaced.
    update: the jitted step; compiled by `compile`.
    batches: of this process.
    arrays: the last batch, on the devices.
  """

  experiment: Experiment
  state: TrainState
  update: Callable[[TrainState, dict], tuple[TrainState, dict]]
  batches: Iterator[pipeline.Batch]
  arrays: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    config = self.experiment.config
    clips = config.batch_size * config.data.repeated_aug
    self.meter = ThroughputMeter(0, 0, 1.0, clips)
    self.stream = prefetch.DevicePrefetcher(
      self.batches, self.experiment.to_devices, self.meter.input_wait
    )

  def compile(self) -> dict[str, Any]:
    """Compiles the step and makes it once."""
    _, self.arrays = self.stream.next()
    start = time.monotonic()
    with timing.cache_hits() as hits:
      self.update = self.update.lower(self.state, self.arrays).compile()
    seconds = time.monotonic() - start
    plan = self.update.memory_analysis()
    self.meter.add(self.step())
    kept = plan.argument_size_in_bytes + plan.output_size_in_bytes
    return {
      'compile_seconds': seconds,
      'compile_cached': bool(hits),
      'memory_arguments': kept - plan.alias_size_in_bytes,
      'memory_temporary': plan.temp_size_in_bytes,
    }

  def step(self) -> dict[str, jax.Array]:
    """One step on the batch at hand, without waiting for it."""
    with jax.transfer_guard('disallow'):
      self.state, metrics = self.update(self.state, self.arrays)
    return metrics

  def advance(self, count: int) -> None:
    """Steps on batches of their own, as the loop makes them."""
    for number in range(count):
      with jax.profiler.StepTraceAnnotation('train', step_num=number):
        _, self.arrays = self.stream.next()
        self.meter.add(self.step())
        self.stream.start_next()
    self.meter.check_finite()  # Waits for the last.

  def train(self, num_steps: int) -> dict[str, float]:
    """Speed of the whole: steps on batches of their own."""
    start = time.monotonic()
    self.advance(WARM_UP)
    self.meter.flush()
    count = timing.affordable(num_steps, (time.monotonic() - start) / WARM_UP)
    self.advance(count)
    values = self.meter.flush()
    return {
      'clips_per_second': values['clips_per_second'],
      'waiting_percent': values['input_wait'],
      'memory_peak': [
        (device.memory_stats() or {}).get('peak_bytes_in_use')
        for device in jax.local_devices()
      ],
    }

  def step_alone(self, num_steps: int) -> dict[str, float]:
    """The same steps, on one batch that is on the devices already."""
    return timing.summary('step', timing.durations(self.step, num_steps))


def flatten_alone(
  experiment: Experiment, clips: jax.Array, num_steps: int
) -> dict[str, float]:
  """Time of what a step does before the model: uint8 clips to images."""
  config = experiment.config
  key = steps.random_keys(config.seed, 0)['order']

  def normalize(clips):
    return preprocess.normalize(clips, config).astype(config.model.dtype)

  def prepare(clips, key):
    return preprocess.flatten_clips(normalize(clips), config, key)

  found = {}
  for name, function, args in (
    ('normalize', normalize, (clips,)),
    ('prepare', prepare, (clips, jax.device_put(key, experiment.replicated))),
  ):
    jitted = jax.jit(function)
    times = timing.durations(
      lambda jitted=jitted, args=args: jitted(*args), num_steps
    )
    found |= timing.summary(name, times)
  return found


def shares(figures: dict[str, Any]) -> dict[str, float | None]:
  """What follows from the figures: FLOP/s, shares of the step and the peak.

  Model FLOPs: two for each multiply-add, forward once and backward twice;
  what `remat` computes again is not counted.
  """
  seconds, clips = figures['step_ms'] / 1e3, figures['clips_per_step']
  tflop = 6e-3 * figures['gflops_per_view'] * clips
  peak = figures['peak_tflops']
  laid_out = max(figures['prepare_ms'] - figures['normalize_ms'], 0.0)
  return {
    'step_clips_per_second': clips / seconds,
    'tflop_per_step': tflop,
    'tflops': tflop / seconds,
    'peak_percent': peak and 100 * tflop / seconds / peak,
    'prepare_percent': 100 * figures['prepare_ms'] / figures['step_ms'],
    'layout_percent': 100 * laid_out / figures['step_ms'],
  }
