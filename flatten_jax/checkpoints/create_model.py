# SPDX-License-Identifier: Apache-2.0
"""Builds models by name, perhaps with the weights of a trained run."""

import dataclasses
import logging
import os
from typing import Any

from flax import nnx
import ml_collections

from flatten_jax import models
from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.initial_weights import restored
from flatten_jax.models import InputSpec
from flatten_jax.models.classifier import Classifier
from flatten_jax.models.weights import matching
from flatten_jax.runtime import model_factory
from flatten_jax.runtime.configuration import config as configs

log = logging.getLogger('flatten_jax')


def create_model(
  name: str,
  num_classes: int = 400,
  pretrained: str | os.PathLike | bool | None = None,
  rngs: nnx.Rngs | None = None,
  **options: Any,
) -> Classifier:
  """Builds a model: `model(images) -> logits`.

  Args:
    name: one of `list_models()`, or 'package.module:function' for an external
      model, see `models/external.py`.
    num_classes: size of the logits.
    pretrained: the training set of published weights, e.g. 'imagenet1k'; True
      for those that are named first; the path or URL of a file of weights; the
      workdir of a run, the folder of a model that was pushed, or its address
      on the Hugging Face Hub, 'hf://user/name'. A head for another number of
      classes stays at its initial values.
    rngs: for the initial values; `nnx.Rngs(0)` by default.
    **options: fields of the model's configuration, e.g. `drop_path_rate=0.1`;
      arguments of the function for an external model.

  Returns:
    The model, with its `input_spec`; an external one has `__call__`, and may
    lack all else.

  Raises:
    ValueError: the name, an option, or the weights are unknown, or the run
      trained another model.
  """
  if not isinstance(pretrained, bool | None):
    pretrained = os.fspath(pretrained)
  named = pretrained if isinstance(pretrained, str) else ''
  folder = model_folder.find(named) if named else None
  if folder is None:
    model = models.create_model(name, num_classes, pretrained, rngs, **options)
    config = configs.config_of_weights(named)
    return _as_trained(model, config) if config else model
  model = models.create_model(name, num_classes, None, rngs, **options)
  with model_folder.open_to_read(folder) as checkpoints:
    step = checkpoints.choose()
    info, saved = checkpoints.info(step), checkpoints.restore_weights(step)
  report = models.load_torch(
    model,
    models.export_torch(restored(info, saved)),
    allow=matching.ALLOWANCES,
  )
  log.info('%s from %s after step %d: %s', name, folder, step, report)
  return _as_trained(model, configs.complete(info.config))


def _as_trained(
  model: Classifier, config: ml_collections.ConfigDict
) -> Classifier:
  """Returns a model with the input and the task of the run of its weights."""
  model_factory.set_task(model, config)
  given = config.data.to_dict() | config.to_dict()
  fields = {field.name for field in dataclasses.fields(InputSpec)}
  known = {key: given[key] for key in fields & given.keys()}
  model.input_spec = dataclasses.replace(model.input_spec, **known)
  return model
