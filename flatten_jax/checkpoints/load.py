# SPDX-License-Identifier: Apache-2.0
"""Loads a trained model and its config from a workdir."""

import logging
import os
import pathlib
from typing import Any

import ml_collections

from flatten_jax import paths
from flatten_jax.checkpoints import model_folder
from flatten_jax.runtime.configuration import config as configs, recipes
from flatten_jax.runtime.configuration.config_keys import value_of
from flatten_jax.runtime.devices import batch_norm, multihost, sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.workdir import run_log

log = logging.getLogger('flatten_jax')

# Keys that belong to the weights, and keys that describe the training clips.
MODEL_KEYS = (
  'model',
  'flatten',
  'grid',
  'mean',
  'std',
  'channels',
  'eval_average',
  'data.input',
  'data.flow_frames',
  'data.multi_label',
)
CLIP_KEYS = (
  'data.num_frames',
  'data.crop',
  'data.sampling',
  'data.stride',
  'data.resize',
)


def load_config(
  workdir: str | pathlib.Path, config: ml_collections.ConfigDict | None = None
) -> ml_collections.ConfigDict:
  """Returns the config to use a checkpoint with.

  Args:
    workdir: of a training run, or the folder of a model.
    config: the videos, views and sampling to use instead of the checkpoint's.
      The model, its input, layout and normalization are the checkpoint's in any
      case; the log warns of differences to the training.

  Returns:
    The config, for all devices of this machine or of the processes that are
    already joined.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
  """
  if config is not None:
    config = configs.complete(config)
    multihost.initialize(config)
  run_log.quiet()  # The log starts once there is a config, which is later.
  with model_folder.open_to_read(workdir) as checkpoints:
    which = config.test_checkpoint if config is not None else None
    saved = checkpoints.info(checkpoints.choose(which)).config
  saved |= multihost.single_host_overrides()
  saved = ml_collections.ConfigDict(saved)
  configs.fill_input(saved)
  if config is None:
    return saved
  config = recipes.keep(config, saved)
  differences = _difference(
    'clip_model', config.clip_model, saved.clip_model, 'stays'
  )
  config.clip_model = saved.clip_model  # First: it sets the number of frames.
  configs.fill_input(config, saved)
  for key in MODEL_KEYS:
    given, trained = value_of(config, key), value_of(saved, key)
    differences += _difference(key, given, trained, 'stays')
    with config.ignore_type():
      config.update_from_flattened_dict({key: trained})
  of_flow = ('data.flow_method',) if 'flow' in saved.data.input else ()
  for key in (*CLIP_KEYS, *of_flow):
    given, trained = value_of(config, key), value_of(saved, key)
    differences += _difference(key, given, trained, 'was in training')
  if differences:
    run_log.start(paths.expand(workdir))
  for line in differences:
    log.warning('%s', line)
  return config


def _difference(key: str, given: Any, trained: Any, verb: str) -> list[str]:
  """Returns a line about a value that differs from the training's, if any."""
  if key == 'model' or given == trained:
    return []
  return [f'{key} {verb} {trained!r}; the config has {given!r}']


def load_model(
  workdir: str | os.PathLike, config: ml_collections.ConfigDict | None = None
) -> LoadedModel:
  """Loads the checkpoint that `config.test_checkpoint` selects.

  Args:
    workdir: of a training run, or the folder of a model.
    config: from `load_config`, perhaps with other data or views; by default
      the checkpoint's.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
  """
  if config is None:
    config = load_config(workdir)
  with model_folder.open_to_read(workdir) as checkpoints:
    step = checkpoints.choose(config.test_checkpoint)
    info = checkpoints.info(step)
    weights = checkpoints.restore_weights(step)
    validation = checkpoints.scores(step) or {}
  experiment = Experiment.create(config, info.class_names)
  weights = weights['params'], weights['batch_stats']
  params, batch_stats = sharding.put(weights, experiment.shardings(weights))
  return LoadedModel(
    experiment,
    params,
    batch_stats,
    step,
    batch_norm.describe(info.config, batch_stats),
    f'{config.model.name} of {workdir}, step {step}',
    tuple(validation.get('thresholds', ())),
  )
