# SPDX-License-Identifier: Apache-2.0
"""A trained model, from its workdir alone."""

import dataclasses
import logging
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.runtime import batch_norm, multihost, run_log, sharding
from flatten_jax.runtime.run import Run

log = logging.getLogger('flatten_jax')

# What of a config belongs to the weights, and what says how clips are made.
OF_THE_MODEL = ('model', 'flatten', 'grid', 'mean', 'std')
OF_CLIPS = ('num_frames', 'crop', 'sampling', 'stride')


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
  the processes that are joined already. To the model belongs what was done to
  its input: layout and normalisation. How clips are sampled is the config's,
  and the log says where that is not what the model was trained on.

  Raises:
    FileNotFoundError: `workdir` holds no checkpoint.
  """
  if config is not None:
    multihost.initialize(config)
  run_log.quiet()  # The log starts once there is a config; this is before.
  with Checkpoints(workdir, create=False) as checkpoints:
    which = config.test_checkpoint if config is not None else None
    saved = checkpoints.info(checkpoints.choose(which)).config
  saved = ml_collections.ConfigDict(saved | multihost.single_host_overrides())
  if config is None:
    return saved
  config = config.copy_and_resolve_references()
  differs = []
  for key in OF_THE_MODEL:
    differs += _difference(key, config[key], saved[key], 'stays')
    with config.ignore_type():  # A tuple comes back from JSON as a list.
      config[key] = saved[key]
  for key in OF_CLIPS:
    differs += _difference(
      f'data.{key}', config.data[key], saved.data[key], 'was in training'
    )
  if differs:
    run_log.start(workdir)
  for line in differs:
    log.warning('%s', line)
  return config


def _difference(key: str, here: Any, trained: Any, says: str) -> list[str]:
  """What to say of a value that is not the one of the training, if anything."""
  pair = [list(x) if isinstance(x, tuple) else x for x in (here, trained)]
  if key == 'model' or pair[0] == pair[1]:
    return []
  return [f'{key} {says} {pair[1]!r}; the config has {pair[0]!r}']


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
