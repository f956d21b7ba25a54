# SPDX-License-Identifier: Apache-2.0
"""A trained model, from its workdir alone."""

import dataclasses
import pathlib

import jax
import ml_collections
import numpy as np

from flatten_jax.train import batch_norm, processes, run_log, sharding
from flatten_jax.train.checkpoints import Checkpoints
from flatten_jax.train.run import Run


@dataclasses.dataclass(frozen=True)
class Trained:
  """A model on its devices, with the weights that it is evaluated with.

  Attributes:
    run: its config, classes and structure.
    params: parameters, where `config.sharding` says.
    batch_stats: running statistics of batch normalisation, likewise.
    step: of the checkpoint that they are from.
    batch_norm: over which clips it was normalised in training.
  """

  run: Run
  params: dict
  batch_stats: dict
  step: int
  batch_norm: str

  def forward(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch of `inputs.pipeline` -> its logits, see `Run.forward`."""
    batch = self.run.to_devices(batch)
    return self.run.forward(self.params, self.batch_stats, batch)


def as_trained(
  config: ml_collections.ConfigDict | None, workdir: str | pathlib.Path
) -> ml_collections.ConfigDict:
  """A config with the model of a checkpoint; None for all that it holds.

  All but where it runs: that is then all devices of this machine, or those of
  the processes that are joined already.

  Raises:
    FileNotFoundError: `workdir` holds no checkpoint.
  """
  if config is not None:
    processes.join(config)
  run_log.quiet()  # The log starts once there is a config; this is before.
  with Checkpoints(workdir, create=False) as checkpoints:
    which = config.test_checkpoint if config is not None else None
    saved = checkpoints.info(checkpoints.choose(which)).config
  saved = ml_collections.ConfigDict(saved | processes.here())
  config = saved if config is None else config.copy_and_resolve_references()
  config.model = saved.model
  return config


def load(
  workdir: str | pathlib.Path, config: ml_collections.ConfigDict
) -> Trained:
  """The checkpoint of `workdir` that `config.test_checkpoint` names.

  Args:
    workdir: of a training run.
    config: from `as_trained`, perhaps with other data or views.
  """
  with Checkpoints(workdir, create=False) as checkpoints:
    step = checkpoints.choose(config.test_checkpoint)
    info = checkpoints.info(step)
    weights = checkpoints.restore_weights(step)
  run = Run.create(config, info.class_names)
  weights = weights['params'], weights['batch_stats']
  params, batch_stats = sharding.put(weights, run.shardings(weights))
  normalised = batch_norm.describe(info.config, batch_stats)
  return Trained(run, params, batch_stats, step, normalised)
