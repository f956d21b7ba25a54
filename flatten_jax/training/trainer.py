# SPDX-License-Identifier: Apache-2.0
"""The steps of a training run: update, log, validate, save."""

from collections.abc import Mapping
import dataclasses
import logging
from typing import Any, NoReturn

import jax
import numpy as np

from flatten_jax.checkpoints import training_data
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.evaluation import evaluate, metrics
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import context, task
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import multihost, sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import (
  freezing,
  log_pictures,
  optimizer,
  phases,
  precise_batch_norm,
  prefetch,
  setup,
)
from flatten_jax.training.best_validation import BestValidation
from flatten_jax.training.run_summary import log_run_summary
from flatten_jax.training.step_log import StepLog
from flatten_jax.training.stop_signal import StopSignal
from flatten_jax.training.throughput import ThroughputMeter

log = logging.getLogger('flatten_jax')


class Trainer:
  """Trains the model of a run, from its newest checkpoint on.

  Args:
    run: with a resolved config and a locked workdir.
    splits: 'train' and, for validation, 'val'.

  Raises:
    ValueError: the checkpoint belongs to another experiment.
    RuntimeError: a logger cannot be opened.
  """

  def __init__(self, run: context.RunContext, splits: Mapping[str, Videos]):
    self._config, self._workdir = config, workdir = run.config, run.workdir
    self._phases = phases.make(config, splits)
    self._last_step = self._phases[-1].end
    videos = self._phases[-1].train  # All that the run trains on.
    self._experiment = Experiment.create(config, videos.class_names)
    self._tx = optimizer.make(config)

    self._checkpoints = Checkpoints(
      workdir, keep_last=config.keep_last, best_by=config.save_best_by
    )
    self._info = RunInfo(
      videos.class_names,
      config.to_dict(),
      videos=setup.count(videos),
      data=training_data.describe(videos),
    )
    self._state = setup.restored_or_initial(
      self._checkpoints, self._experiment, self._tx, self._info
    )
    self._first = int(self._state.step)
    self._refit_from = self._saved_refit_from()
    self._best = BestValidation(
      self._checkpoints, self._phases[0].steps_per_epoch, config.patience
    )
    ended = self._best.ends(self._first) and self._checkpoints.scores(
      self._first
    )
    if ended:
      self._last_step = self._first  # It was the last step already.
    log_run_summary(
      self._experiment, splits, self._state, self._last_step, workdir
    )
    if ended:
      log.info('%s', self._best.last_line(self._first))

    self._phase = phases.at(self._phases, self._first + 1)
    self._frozen: frozenset[str] | None = None  # Names; None: not known yet.
    self._make_functions(self._frozen_at(self._first))
    clips = config.batch_size * config.data.repeated_aug
    self._meter = ThroughputMeter(self._first, clips)
    self._lines = StepLog(
      self._meter,
      self._last_step,
      self._epoch,
      clips,
      self._rate,
      task.of(config).hits_name,
    )
    self._failed_videos = FailedVideos(workdir)
    self._failed_videos.record_index(splits, config.data)
    # Last: what fails above leaves no logger open.
    self.board = run_log.RunLog(workdir, self._first, config.loggers)
    self.board.write_config(configs.flat(config))

  def train(self) -> TrainState:
    """Trains to the last step, or until validations are better no more.

    Returns:
      The state after the last step.

    Raises:
      FloatingPointError: the loss is not finite any more; the step is named.
      SystemExit: with status 0, after a SIGTERM, when the state is saved.
    """
    with self._checkpoints, self._lines, StopSignal() as stop:
      if self._lacks_validation():
        self._validate_again(stop)
      for phase in self._phases:
        if self._first >= phase.end:
          continue
        if phase.begin and self._first <= phase.begin:
          with self._meter.pause():
            self._begin_refit(phase)
        self._train_phase(stop)
    return self._state

  def _saved_refit_from(self) -> int | None:
    """Returns the step that the refit began with, if the run is in it.

    Raises:
      OSError: its checkpoint is damaged, which the refit ends with too.
      ValueError: another checkpoint is the best now.
    """
    if not self._phases[0].end < self._first < self._last_step:
      return None
    best = self._checkpoints.choose('best')
    began = self._checkpoints.info(self._first).refit_from
    if began not in (None, best):
      raise ValueError(
        f'config.save_best_by={self._config.save_best_by!r} chooses the '
        f'checkpoint after step {best}, and the refit began with that after '
        f'step {began}: use the value that the run began with.'
      )
    return best

  def _begin_refit(self, phase: phases.Phase) -> None:
    """Goes back to the best weights, for a phase of all videos."""
    self._phase = phase
    self._checkpoints.wait()
    self._refit_from = step = self._checkpoints.choose('best')
    best = self._checkpoints.restore(self._state, step)
    log.info(
      'Refit: all %d videos are trained on from now on, those of the '
      'validation too, from the weights after epoch %.1f',
      *(len(phase.train), self._epoch(step)),
    )
    begin = sharding.put(np.int32(phase.begin), best.step.sharding)
    self._state = setup.without_moments(best).replace(step=begin)
    self._make_functions(self._frozen_at(phase.begin))

  def _end_refit(self, step: int) -> None:
    """Averages the weights with those that the refit began with."""
    log.info('Refit: the mean of the weights before and after it is tested')
    with self._meter.pause():
      before = self._checkpoints.restore(self._state, self._refit_from)
      self._state = setup.mean_weights(self._state, before)
      if self._config.batch_norm_frozen != 'all' and self._state.batch_stats:
        self._state = self._precise_norms(self._state, step)

  def _train_phase(self, stop: StopSignal) -> None:
    """Trains to the end of the phase, from the newest checkpoint on."""
    config, phase = self._config, self._phase
    first = max(self._first, phase.begin)
    last_step = min(phase.end, self._last_step)
    eval_every = setup.interval(config.eval_every, phase.steps_per_epoch)
    save_every = setup.interval(config.save_every, phase.steps_per_epoch)
    with setup.training_batches(phase.train, config, start=first) as batches:
      stream = prefetch.DevicePrefetcher(
        batches, self._experiment.to_devices, self._meter.input_wait
      )
      for step in range(first + 1, last_step + 1):
        last = step == last_step
        self._update(stream, step, last)
        logs = setup.due(step, config.log_every) or last
        if logs:
          self._write_metrics(step)
        self._lines.show(last)
        saves, scores = setup.due(step, save_every) or last, None
        validates = phase.val and (setup.due(step, eval_every) or last)
        if last and phase.begin:
          self._end_refit(step)
        elif saves or validates:
          self._measure_batch_norms(step)
        if validates:
          scores = self._validate(step, stop)
        stopping = multihost.sync_preemption(stop.requested, step)
        if saves or validates or stopping:
          self._save(step, scores)
        self._checkpoints.check()
        if stopping:
          self._exit(step)
        if validates and not last and self._best.ends(step):
          if not logs:
            self._write_metrics(step)
          self._lines.show(last=True)
          log.info('%s', self._best.last_line(step))
          break

  def _epoch(self, step: int) -> float:
    """Returns the epochs of its phase until a step."""
    return phases.at(self._phases, step).epoch(step)

  def _rate(self, step: int) -> float:
    """Returns the learning rate of a step, counted from 0."""
    return phases.at(self._phases, step + 1).rate(step)

  def _frozen_at(self, step: int) -> frozenset[str]:
    """Returns the names of the parameters that are frozen after a step."""
    is_frozen = step < self._phase.frozen_end
    return freezing.names(self._experiment) if is_frozen else frozenset()

  def _make_functions(self, frozen: frozenset[str]) -> None:
    """Makes the functions of a step; each is compiled when it is first used."""
    if frozen != self._frozen:
      self._frozen = frozen
      self._train_step = setup.make_train_step(
        self._experiment, self._tx, frozen=frozen
      )
      self._compiled: set[tuple[int, ...]] = set()  # Shapes of clips.
    self._precise_norms = precise_batch_norm.make(
      freezing.with_frozen_norms(self._experiment, frozen),
      self._phase.train,
      self._phase.steps_per_epoch,
      self._config.precise_batch_norm or precise_batch_norm.BATCHES,
    )

  def _update(
    self, stream: prefetch.DevicePrefetcher, step: int, last: bool
  ) -> None:
    """Changes the state by one batch."""
    # Also if the run is resumed here, with nothing frozen any more.
    if self._phase.begin < self._phase.frozen_end == step - 1:
      log.info('All parameters are trained from now on')
      self._make_functions(frozenset())
      self._state = setup.without_moments(self._state)
    # The order matters: the next batch is read and transferred after this step
    # is dispatched and before anything waits for its result. Inside the guard,
    # every transfer has to be explicit.
    with jax.transfer_guard('disallow'):
      batch, on_devices = stream.next()
      if step == 1:
        log_pictures.write_first_clips(self.board, batch, self._config)
      shape = on_devices['clip'].shape  # Images are smaller.
      if shape not in self._compiled:
        self._meter.expect_compilation()
      self._compiled.add(shape)
      lr = self._experiment.to_all_devices(self._rate(step - 1))
      self._state, measured = self._train_step(self._state, on_devices, lr)
      self._meter.add(measured)
      if not last:
        stream.start_next()
    self._failed_videos.record(batch, self._phase.train)

  def _write_metrics(self, step: int) -> None:
    """Logs what was measured since the last time."""
    self.board.write(step, self._meter.flush() | {'lr': self._rate(step - 1)})

  def _measure_batch_norms(self, step: int) -> None:
    """Replaces the running statistics of batch norms by precise ones."""
    # Norms of a frozen backbone keep their statistics, all of them.
    frozen = step <= self._phase.frozen_end
    if frozen and freezing.part(self._config) == 'backbone':
      return
    if self._config.precise_batch_norm:
      with self._meter.pause():
        self._state = self._precise_norms(self._state, step)

  def _lacks_validation(self) -> bool:
    """Returns whether a signal ended the validation of the first state."""
    step, phase = self._first, self._phases[0]
    every = setup.interval(self._config.eval_every, phase.steps_per_epoch)
    ends = step == min(phase.end, self._last_step)
    due = step <= phase.end and (setup.due(step, every) or ends)
    known = step in self._checkpoints.steps() and self._checkpoints.scores(step)
    return phase.val is not None and step > 0 and due and not known

  def _validate_again(self, stop: StopSignal) -> None:
    """Scores the first state, and adds the scores to its checkpoint."""
    if scores := self._validate(self._first, stop):
      self._save(self._first, scores)
    if multihost.sync_preemption(stop.requested, self._first):
      self._exit(self._first)
    if self._best.ends(self._first):
      self._last_step = self._first
      log.info('%s', self._best.last_line(self._first))

  def _validate(self, step: int, stop: StopSignal) -> dict[str, Any] | None:
    """Scores the state on the validation videos, and logs it.

    Returns:
      None if a signal has ended it; with several processes, which would have to
      agree on a batch, it waits for the end.
    """
    with self._meter.pause():
      model = LoadedModel(self._experiment, *self._state.weights, step)
      alone = jax.process_count() == 1
      scores = evaluate.validate(
        model,
        self._phases[0].val,
        self._failed_videos,
        lambda: alone and stop.requested,
      )
    if scores is None:
      return None
    keys = *metrics.logged(scores), 'loss'
    self.board.write(step, {f'val/{key}': scores[key] for key in keys})
    log.info('%s', self._best.add(step, scores))
    return scores

  def _save(self, step: int, scores: dict[str, Any] | None) -> None:
    """Saves the state if it is finite, with the scores of its validation."""
    self._meter.check_finite()
    info = dataclasses.replace(
      self._info,
      batch=step,
      epoch=self._epoch(step),
      refit_from=self._refit_from,
    )
    self._checkpoints.save(self._state, info, scores)
    self._failed_videos.sync()

  def _exit(self, step: int) -> NoReturn:
    """Ends the process when the state is on the disk."""
    self._checkpoints.wait()
    log.info(
      'Saved after step %d; the same command resumes, or `train %s`.',
      step,
      self._workdir,
    )
    raise SystemExit(0)
