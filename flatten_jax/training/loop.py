# SPDX-License-Identifier: Apache-2.0
"""A whole run, top to bottom."""

import dataclasses
import logging
import pathlib

import jax
import ml_collections

from flatten_jax.checkpoints import resume_check
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.evaluation import evaluate
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs.sources import images
from flatten_jax.runtime import batch_norm, checks, multihost, run_log, workdirs
from flatten_jax.runtime.run import Run
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import optimizer, prefetch, setup
from flatten_jax.training.throughput import ThroughputMeter

log = logging.getLogger('flatten_jax')

METRICS = ('top1', 'top5', 'mean_class')  # Of the validation, for curves.


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: str | pathlib.Path
) -> TrainState:
  """Trains what `config` describes and scores it; goes on where it stopped.

  Leaves in `workdir`: checkpoints/, results.json, predictions_*.npz,
  confusion_*.csv, log.txt, metrics.jsonl, tensorboard/, run.json and, where
  there were any, unreadable.txt.

  Args:
    config: see `configs/common.py`.
    workdir: a folder for this run; made where it is absent.

  Returns:
    The state after the last step.

  Raises:
    FloatingPointError: the loss is no longer finite; the step is named.
    ValueError: the config cannot be, or `workdir` holds another experiment.
    RuntimeError: another process trains in `workdir`.
    OSError: `workdir` cannot be written to, or the disk is full.
    SystemExit: with status 0, after a SIGTERM, when the state is saved.
  """
  multihost.initialize(config)
  with workdirs.exclusive(workdir), workdirs.friendly_disk_errors(workdir):
    return run_to_end(config, workdir)


def run_to_end(
  config: ml_collections.ConfigDict, workdir: str | pathlib.Path
) -> TrainState:
  """`train_and_evaluate`, in a workdir that is this run's alone."""
  splits = setup.prepare(config, workdir)
  checks.check(config, splits)
  if config.data.images:
    splits = images.add_images(splits, config.data.images)
  train = splits['train']
  config = setup.choose_epochs(config, len(train))
  config = batch_norm.choose_groups(config)
  steps_per_epoch = setup.epoch_steps(train, config)
  total_steps = max(1, round(config.epochs * steps_per_epoch))
  run = Run.create(config, train.class_names)
  tx, schedule = optimizer.make(config, steps_per_epoch)

  checkpoints = Checkpoints(workdir, keep_last=config.keep_last)
  wanted = run.abstract_state(tx)
  info = RunInfo(run.class_names, config.to_dict(), videos=setup.count(train))
  state = checkpoints.restore_latest(
    wanted, lambda saved: resume_check.check_resumable(saved, info)
  )
  if state is wanted:  # There is no checkpoint.
    state = run.initial_state(tx)
  first = int(state.step)
  setup.introduce(run, splits, state, total_steps, workdir)
  update = run.update(tx)

  board = run_log.RunLog(workdir, first)
  failed_videos = FailedVideos(workdir)
  failed_videos.record_index(splits, config.data)
  clips = config.batch_size * config.data.repeated_aug
  meter = ThroughputMeter(first, total_steps, steps_per_epoch, clips)
  eval_every = setup.interval(config.eval_every, steps_per_epoch)
  save_every = setup.interval(config.save_every, steps_per_epoch)
  batches = setup.training_batches(train, config, start=first)
  stream = prefetch.DevicePrefetcher(batches, run.to_devices, meter.input_wait)
  with checkpoints, batches, board, setup.StopSignal() as stop:
    for step in range(first + 1, total_steps + 1):
      last = step == total_steps
      # What moves between host and devices in here is asked for by name.
      with jax.transfer_guard('disallow'):
        batch, on_devices = stream.next()
        state, metrics = update(state, on_devices)
        meter.add(metrics)
        if not last:
          stream.start_next()
      failed_videos.record(batch, train)
      if setup.due(step, config.log_every) or last:
        values = meter.flush() | {'lr': float(schedule(step - 1))}
        board.write(step, values)
        log.info(meter.line(values))
      scores = None
      if 'val' in splits and (setup.due(step, eval_every) or last):
        with meter.pause():
          scores = evaluate.validate(
            run, *state.weights, splits['val'], failed_videos
          )
        board.write(step, {f'val/{key}': scores[key] for key in METRICS})
      stopping = multihost.sync_preemption(stop.requested, step)
      if setup.due(step, save_every) or last or scores or stopping:
        meter.check_finite()
        epoch = step / steps_per_epoch
        now = dataclasses.replace(info, batch=step, epoch=epoch)
        checkpoints.save(state, now, scores)
        failed_videos.sync()
      checkpoints.check()
      if stopping and not last:
        checkpoints.wait()
        log.info('Saved after step %d; the same command resumes.', step)
        raise SystemExit(0)
  evaluate.evaluate_splits(config, splits, workdir)
  return state
