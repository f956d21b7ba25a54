# SPDX-License-Identifier: Apache-2.0
"""A training run, from config to test scores."""

import contextlib
import dataclasses
import logging
import pathlib

import jax
import ml_collections
import optax

from flatten_jax.checkpoints import resume_check, training_data
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.evaluation import evaluate, log_test, metrics
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.runtime import config as configs, context, task
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import run_log
from flatten_jax.runtime.workdir.loggers import by_name
from flatten_jax.training import (
  freezing,
  log_pictures,
  optimizer,
  precise_batch_norm,
  prefetch,
  schedules,
  setup,
)
from flatten_jax.training.best_validation import BestValidation
from flatten_jax.training.run_summary import log_run_summary
from flatten_jax.training.step_log import StepLog
from flatten_jax.training.stop_signal import StopSignal
from flatten_jax.training.throughput import ThroughputMeter

log = logging.getLogger('flatten_jax')


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: str | pathlib.Path
) -> TrainState:
  """Trains and evaluates the experiment of a config; resumes where it stopped.

  Writes to `workdir`: checkpoints/, results.json, predictions_*.npz,
  confusion_*.csv, log.txt, metrics.jsonl, run.json, what `config.loggers` write
  and, if videos could not be read, unreadable.txt.

  Args:
    config: see `runtime/default_config.py`.
    workdir: a folder for this run; created if it does not exist.

  Returns:
    The state after the last step.

  Raises:
    FloatingPointError: the loss is not finite any more; the step is named.
    ValueError: a config value is wrong, or `workdir` holds another experiment.
    RuntimeError: another process trains in `workdir`, or a logger cannot be
      opened.
    OSError: `workdir` cannot be written to, or the disk is full.
    SystemExit: with status 0, after a SIGTERM, when the state is saved.
  """
  with context.open_run(config, workdir, exclusive=True) as run:
    return train_to_end(run)


def train_to_end(run: context.RunContext) -> TrainState:
  """Trains and evaluates in a workdir that this run has locked."""
  by_name.check(run.config.loggers)
  with contextlib.ExitStack() as stack:  # Loggers are open until the test.
    return _train_and_test(run, stack)


def _train_and_test(
  run: context.RunContext, stack: contextlib.ExitStack
) -> TrainState:
  if configs.saved_config_of(run.workdir) is None:  # It is a new run.
    configs.check_initial_weights(run.config)
  workdir, splits = run.workdir, run.open_videos(with_images=True)
  config, train = configs.resolve(run.config, splits), splits['train']
  steps_per_epoch = setup.epoch_steps(train, config)
  total_steps = max(1, round(config.epochs * steps_per_epoch))
  experiment = Experiment.create(config, train.class_names)
  tx = optimizer.make(config)
  rate = schedules.on_host(schedules.make(config, steps_per_epoch))

  checkpoints = Checkpoints(
    workdir, keep_last=config.keep_last, best_by=config.save_best_by
  )
  info = RunInfo(
    train.class_names,
    config.to_dict(),
    videos=setup.count(train),
    data=training_data.describe(train),
  )
  state = restored_or_initial(checkpoints, experiment, tx, info)
  first = int(state.step)
  log_run_summary(experiment, splits, state, total_steps, workdir)
  frozen = setup.interval(freezing.epochs(config), steps_per_epoch)
  names = freezing.names(experiment) if first < frozen else ()
  update = setup.make_train_step(experiment, tx, frozen=names)
  norms = freezing.with_frozen_norms(experiment, names)
  measure = precise_batch_norm.make(norms, train, steps_per_epoch)
  best = BestValidation(checkpoints, steps_per_epoch, config.patience)
  if best.ends(first) and checkpoints.scores(first):
    total_steps = first  # It was the last step already.
    log.info('%s', best.last_line(first))

  board = run_log.RunLog(workdir, first, config.loggers)
  stack.enter_context(board).write_config(configs.flat(config))
  failed_videos = FailedVideos(workdir)
  failed_videos.record_index(splits, config.data)
  clips = config.batch_size * config.data.repeated_aug
  meter = ThroughputMeter(first, clips)
  hits = task.of(config).hits_name
  lines = StepLog(meter, total_steps, steps_per_epoch, clips, rate, hits)
  eval_every = setup.interval(config.eval_every, steps_per_epoch)
  save_every = setup.interval(config.save_every, steps_per_epoch)
  batches = setup.training_batches(train, config, start=first)
  stream = prefetch.DevicePrefetcher(
    batches, experiment.to_devices, meter.input_wait
  )

  def write(step: int) -> None:
    board.write(step, meter.flush() | {'lr': rate(step - 1)})

  with checkpoints, batches, lines, StopSignal() as stop:
    compiled = set()
    for step in range(first + 1, total_steps + 1):
      last = step == total_steps
      if frozen and step == frozen + 1:
        log.info('All parameters are trained from now on')
        update = setup.make_train_step(experiment, tx)
        measure = precise_batch_norm.make(experiment, train, steps_per_epoch)
        state = setup.without_moments(state)
      # The order matters: the next batch is read and transferred after this
      # step is dispatched and before anything waits for its result. Inside the
      # guard, every transfer has to be explicit.
      with jax.transfer_guard('disallow'):
        batch, on_devices = stream.next()
        if step == 1:
          log_pictures.write_first_clips(board, batch, config)
        kind = step > frozen, on_devices['clip'].shape  # Images are smaller.
        if kind not in compiled:
          meter.expect_compilation()
        compiled.add(kind)
        lr = experiment.to_all_devices(rate(step - 1))
        state, measured = update(state, on_devices, lr)
        meter.add(measured)
        if not last:
          stream.start_next()
      failed_videos.record(batch, train)
      if setup.due(step, config.log_every) or last:
        write(step)
      lines.show(last)
      saves, scores = setup.due(step, save_every) or last, None
      validates = 'val' in splits and (setup.due(step, eval_every) or last)
      # Norms of a frozen backbone keep their statistics, all of them.
      measures = step > frozen or freezing.part(config) != 'backbone'
      if config.precise_batch_norm and (saves or validates) and measures:
        with meter.pause():
          state = measure(state, step)
      if validates:
        with meter.pause():
          model = LoadedModel(experiment, *state.weights, step)
          scores = evaluate.validate(model, splits['val'], failed_videos)
        keys = *metrics.logged(scores), 'loss'
        board.write(step, {f'val/{key}': scores[key] for key in keys})
        log.info('%s', best.add(step, scores))
      stopping = multihost.sync_preemption(stop.requested, step)
      if saves or validates or stopping:
        meter.check_finite()
        epoch = step / steps_per_epoch
        now = dataclasses.replace(info, batch=step, epoch=epoch)
        checkpoints.save(state, now, scores)
        failed_videos.sync()
      checkpoints.check()
      if stopping and not last:
        checkpoints.wait()
        log.info(
          'Saved after step %d; the same command resumes, or `train %s`.',
          step,
          workdir,
        )
        raise SystemExit(0)
      if validates and not last and best.ends(step):
        if not setup.due(step, config.log_every):
          write(step)
        lines.show(last=True)
        log.info('%s', best.last_line(step))
        break
  run = dataclasses.replace(run, config=config)
  scores = evaluate.evaluate_splits(run, splits)
  log_test.write(board, workdir, scores)
  return state


def restored_or_initial(
  checkpoints: Checkpoints,
  experiment: Experiment,
  tx: optax.GradientTransformationExtraArgs,
  info: RunInfo,
) -> TrainState:
  """Returns the state of the newest checkpoint, or that before the first step.

  Raises:
    ValueError: the checkpoint belongs to another experiment than `info`.
  """
  wanted = setup.abstract_state(experiment, tx)
  state = checkpoints.restore_latest(
    wanted,
    lambda saved: resume_check.check_resumable(
      saved, info, checkpoints.workdir
    ),
  )
  if state is wanted:  # Nothing was restored.
    state = setup.initial_state(experiment, tx)
  return state
