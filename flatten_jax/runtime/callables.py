# SPDX-License-Identifier: Apache-2.0
"""Makes a `LoadedModel` of any callable from images, or clips, to logits."""

from collections.abc import Callable, Sequence
import copy
import logging
from typing import Any

from flax import nnx
import jax
import ml_collections
import numpy as np

from flatten_jax.flattening import Flattened
from flatten_jax.inputs.augment.transforms import test_crop
from flatten_jax.inputs.flow import fields
from flatten_jax.models import Averaged, InputSpec
from flatten_jax.runtime import model_factory, preprocess
from flatten_jax.runtime.configuration import (
  config as configs,
  config_rules,
  default_config,
)
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel

log = logging.getLogger('flatten_jax')


def from_callable(
  model: Callable[[jax.Array], jax.Array],
  class_names: Sequence[str] | None = None,
  settings: dict[str, Any] | None = None,
) -> LoadedModel:
  """Wraps any callable from images (or clips) to logits.

  Args:
    model: takes images [B H W 3]; clips [B T H W 3] if it is `Flattened`,
      `Averaged` or has a true attribute `takes_clips`; with `takes_positions`
      also the numbers of the frames, positions=[B T]. An `input_spec`, as
      models of `create_model` have, fills the settings that are left open.
    class_names: of the logits; their numbers by default.
    settings: config values by dotted key, {'data.num_frames': 16, ...}.

  Raises:
    ValueError: `class_names` has another length than the logits.
  """
  source, settings = type(model).__name__, settings or {}
  if not callable(model) or isinstance(class_names, str):
    raise TypeError(
      'Expected a workdir or a callable model, and a list of class names; got '
      f'{model!r} and {class_names!r}.'
    )
  for key, value in settings.items():
    config_rules.check(key, value)
  if isinstance(model, Flattened):
    layout = {'flatten': model.mode, 'grid': model.grid or ()}
    model, settings = model.model, layout | settings
  elif isinstance(model, Averaged):
    model, settings = model.model, {'clip_model': 'average'} | settings
  config = default_config.base()
  config.model.name = ''  # It is not in the registry.
  with config.ignore_type():
    config.update_from_flattened_dict(settings)
  if getattr(model, 'takes_clips', False):
    config.flatten = 'none'
  spec = getattr(model, 'input_spec', None)
  configs.fill_input(config, spec=spec or InputSpec(sampling='segment'))
  if spec is None:
    _warn_of_assumptions(config, settings)
  module: nnx.Module = _Function(model)
  if isinstance(model, nnx.Module):
    module = copy.copy(model)  # Has the same weights, and a task of its own.
  model_factory.set_task(module, config)
  graphdef, *weights = nnx.split(module, nnx.Param, ...)
  weights = [nnx.to_pure_dict(part) for part in weights]
  num_classes = _num_classes(graphdef, weights, config)
  if class_names is None:
    class_names = [str(number) for number in range(num_classes)]
  if len(class_names) != num_classes:
    raise ValueError(
      f'The model has {num_classes} classes, and class_names has '
      f'{len(class_names)}.'
    )
  frozen = ml_collections.FrozenConfigDict(config)
  mesh = sharding.make_mesh(config, jax.local_devices()[:1])
  experiment = Experiment(frozen, tuple(class_names), graphdef, mesh)
  weights = jax.device_put(weights, experiment.replicated)
  return LoadedModel(experiment, *weights, source=source)


def _num_classes(
  graphdef: nnx.GraphDef, weights: list, config: ml_collections.ConfigDict
) -> int:
  """Returns the number of logits of a test view."""
  frames = config.data.test_frames or config.data.num_frames
  side = test_crop(config.data)
  shape = (1, frames, side, side, fields.num_channels(config.data))
  one = {
    'clip': jax.ShapeDtypeStruct(shape, np.uint8),
    'positions': jax.ShapeDtypeStruct(shape[:2], np.int32),
    'index': jax.ShapeDtypeStruct((1,), np.int32),
    'view': jax.ShapeDtypeStruct((1,), np.int32),
  }

  def logits(weights, batch):
    inputs = preprocess.eval_inputs(batch, config)
    return preprocess.call(nnx.merge(graphdef, *weights), inputs)

  return jax.eval_shape(logits, weights, one).shape[-1]


class _Function(nnx.Module):
  """Any callable images -> logits as a module without parameters."""

  def __init__(self, function: Callable[..., jax.Array]):
    self.function = function
    self.takes_positions = getattr(function, 'takes_positions', False)

  def __call__(self, images: jax.Array, **positions) -> jax.Array:
    return self.function(images, **positions)


def _warn_of_assumptions(
  config: ml_collections.ConfigDict, given: dict[str, Any]
) -> None:
  """Logs the input that a callable is given without having been asked."""
  data = config.data
  assumed = {
    'num_frames': data.num_frames,
    'crop': data.crop,
    'mean': tuple(config.mean),
    'std': tuple(config.std),
  }
  unknown = [
    f'{key}={value}'
    for key, value in assumed.items()
    if not {key, f'data.{key}'} & given.keys()
  ]
  if unknown:
    log.warning(
      'The input of this model is assumed: %s. Give others as arguments.',
      ', '.join(unknown),
    )
