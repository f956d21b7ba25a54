# SPDX-License-Identifier: Apache-2.0
"""What surrounds the loop: folders, data, first words, signals, intervals."""

import json
import logging
import os
import pathlib
import signal
import threading

import jax
import ml_collections
import numpy as np

from flatten_jax import flattening
from flatten_jax.inputs import image_video_mix, pipeline, views
from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.runtime import (
  batch_norm,
  gcs_workdir,
  host_memory,
  model_factory,
  multihost,
  preprocess,
  run_log,
  sharding,
  workdirs,
)
from flatten_jax.runtime.run import Run
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import optimizer

log = logging.getLogger('flatten_jax')


def prepare(
  config: ml_collections.ConfigDict, workdir: str | pathlib.Path
) -> dict[str, Videos]:
  """Joins the other processes, makes `workdir`, opens the data.

  Returns:
    The videos of 'train', and of 'val' and 'test' where there are any.
  """
  multihost.initialize(config)
  prepare_device(config)
  workdirs.make_writable(workdir)
  run_log.start(workdir)
  # A layout or views that cannot be are refused before anything is read.
  grid = tuple(config.grid) or None
  key = jax.random.key(0)
  num_frames = config.data.num_frames
  if not preprocess.takes_clips(config):
    flattening.frame_order(config.flatten, num_frames, grid=grid, rng=key)
  views.of_config(config.data)
  return open_videos(config)


def prepare_device(config: ml_collections.ConfigDict) -> None:
  """Keeps compiled programs where the config says so, and freed memory."""
  if config.compile_cache:
    cache = pathlib.Path(config.compile_cache).expanduser()
    jax.config.update('jax_compilation_cache_dir', str(cache))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
  if jax.default_backend() == 'cpu':
    host_memory.keep_freed_memory()  # A training step is a quarter faster.


def open_videos(config: ml_collections.ConfigDict) -> dict[str, Videos]:
  """The splits that `config.data` describes, after making what is embedded."""
  data = config.data
  for key in ('root', 'train', 'val', 'test', 'prefix', 'images'):
    if gcs_workdir.is_remote(data.get(key)):
      raise ValueError(
        f'data.{key}={data[key]}: videos are read from file systems only. '
        'Mount the bucket (gcsfuse) or copy them, and give that folder.'
      )
  if not data.motion_clips:
    return dataset.open_splits(data)
  count = data.motion_clips
  root = motion_clips.make(
    embedded_folder(data),
    train=count,
    val=max(count // 10, 12),
    test=max(count // 5, 12),
  )
  return dataset.open_splits(data.to_dict() | {'root': str(root)})


def embedded_folder(data: ml_collections.ConfigDict) -> pathlib.Path:
  """Where the embedded set of `config.data` is, or will be made."""
  root = data.root or f'~/.cache/flatten_jax/motion_clips_{data.motion_clips}'
  return pathlib.Path(root).expanduser()


def choose_epochs(
  config: ml_collections.ConfigDict, num_videos: int
) -> ml_collections.ConfigDict:
  """Fills in what the config leaves open.

  With `epochs=0`, about 100 000 clips are seen, in 20 to 150 epochs; with
  `warmup_epochs` below 0, it is a tenth of the epochs.
  """
  config = config.copy_and_resolve_references()
  if not config.epochs:
    config.epochs = float(np.clip(round(100_000 / num_videos), 20, 150))
    log.info('%.0f epochs, chosen for %d videos', config.epochs, num_videos)
  if config.warmup_epochs < 0:
    config.warmup_epochs = config.epochs / 10
  return config


def introduce(
  run: Run,
  splits: dict[str, Videos],
  state: TrainState,
  total_steps: int,
  workdir: str | pathlib.Path,
) -> None:
  """Says what will be trained, on what, and by what; writes run.json."""
  config = run.config
  machine = run_log.describe_machine()
  description = {'config': config.to_dict(), 'total_steps': total_steps}
  description |= {'class_names': run.class_names, 'machine': machine}
  normalised = batch_norm.describe(config, state.batch_stats)
  description |= {'mesh': dict(run.mesh.shape), 'batch_norm': normalised}
  if jax.process_index() == 0:
    text = json.dumps(description, indent=2) + '\n'
    (pathlib.Path(workdir) / 'run.json').write_text(text)
  log.debug('Config:\n%s', config)
  if 'val' not in splits:
    log.info('No val split: nothing is validated while training')
  log.info(
    '%s on %d frames of %d px %s: %d x %d px, %.3f GFLOPs a view',
    config.model.name,
    config.data.num_frames,
    config.data.crop,
    'as clips'
    if preprocess.takes_clips(config)
    else f'laid out {config.flatten}',
    *model_factory.image_shape(config),
    run.cost.gflops,
  )
  run_log.log_parameters(state.params, optimizer.decays(state.params))
  devices = machine['devices']
  log.info(
    '%d steps of %d clips on %d x %s; everything else is in %s',
    total_steps,
    config.batch_size * config.data.repeated_aug,
    len(devices),
    jax.devices()[0].device_kind,
    pathlib.Path(workdir) / 'run.json',
  )
  log.info('%s', sharding.describe(config, run.mesh, state.params, state))
  log.info('Batch norm: %s', normalised)
  if int(state.step):
    log.info('Resuming after step %d', int(state.step))


def training_batches(
  train: Videos, config: ml_collections.ConfigDict, start: int
) -> pipeline.Batches:
  """This process's share of batch `start` and all that follow."""
  make = (
    image_video_mix.train_batches if train.images else pipeline.train_batches
  )
  return make(
    train,
    config.data,
    seed=config.seed,
    batch_size=config.batch_size // jax.process_count(),
    start=start,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    workers=config.data.workers,
    threads=config.data.threads,
  )


def count(train: Videos) -> int:
  """How many videos, and still images, are trained on."""
  return len(train) + (len(train.images) if train.images else 0)


def epoch_steps(train: Videos, config: ml_collections.ConfigDict) -> float:
  """Steps until every video was shown once; those of images come on top."""
  share = image_video_mix.image_share(config.data) if train.images else 0
  return len(train) / config.batch_size / float(1 - share)


def interval(epochs: float, steps_per_epoch: float) -> int:
  """Epochs in whole steps; 0 stays 0, which is never."""
  return max(1, round(epochs * steps_per_epoch)) if epochs else 0


def due(step: int, every: int) -> bool:
  """Whether something that happens every so many steps happens now."""
  return every > 0 and step % every == 0


class StopSignal:
  """Within it, a first SIGTERM or SIGINT sets `requested`; a second kills.

  Where there are several processes, SIGTERM is left to jax, which tells all of
  them (`multihost_utils.reached_preemption_sync_point`); SIGINT becomes one.
  """

  requested = False

  def __enter__(self) -> 'StopSignal':
    self._before = {}
    numbers = [signal.SIGINT]
    if jax.process_count() == 1:
      numbers.append(signal.SIGTERM)
    # Outside the main thread, signals are somebody else's.
    if threading.current_thread() is threading.main_thread():
      self._before = {n: signal.signal(n, self._request) for n in numbers}
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def _request(self, number: int, _) -> None:
    self.__exit__()
    self.requested = True
    name = signal.Signals(number).name
    # Not through `log`, which may be in the middle of a line.
    os.write(2, f'{name}: saving, then stopping; again to stop now.\n'.encode())
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)
