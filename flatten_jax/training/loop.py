# SPDX-License-Identifier: Apache-2.0
"""A training run, from config to test scores."""

import dataclasses
import pathlib

import ml_collections

from flatten_jax.evaluation import evaluate, log_test
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir.loggers import by_name
from flatten_jax.training import run_summary
from flatten_jax.training.trainer import Trainer


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: str | pathlib.Path
) -> TrainState:
  """Trains and evaluates the experiment of a config; resumes where it stopped.

  Writes to `workdir`: checkpoints/, results.json, predictions_*.npz,
  confusion_*.csv, log.txt, metrics.jsonl, run.json, what `config.loggers` write
  and, if videos could not be read, unreadable.txt.

  Args:
    config: see `runtime/configuration/default_config.py`.
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
  if configs.saved_config_of(run.workdir) is None:  # It is a new run.
    configs.check_initial_weights(run.config)
  splits = run.open_videos(with_images=True)
  run = dataclasses.replace(run, config=configs.resolve(run.config, splits))
  trainer = Trainer(run, splits)
  with trainer.board:  # Open until the test.
    state = trainer.train()
    scores = evaluate.evaluate_splits(run, splits)
    log_test.write(trainer.board, run.workdir, scores)
  run_summary.mark_finished(run.workdir)
  return state
