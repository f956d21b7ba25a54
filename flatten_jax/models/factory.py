# SPDX-License-Identifier: Apache-2.0
"""Builds models by name, and describes their input."""

from collections.abc import Mapping
import dataclasses
import fnmatch
import logging
import numbers
import os
from typing import Any

from flax import nnx

from flatten_jax import importing, paths
from flatten_jax.models import external
from flatten_jax.models.classifier import Classifier
from flatten_jax.models.entries.entry import ModelEntry
from flatten_jax.models.input_specs import IMAGENET, InputSpec
from flatten_jax.models.layers import random_streams
from flatten_jax.models.registry import MODELS
from flatten_jax.models.weights import (
  conversion,
  download,
  file_formats,
  matching,
  state_dicts,
)
from flatten_jax.text import did_you_mean

log = logging.getLogger('flatten_jax')

DTYPES = ('float32', 'bfloat16', 'float16', 'float64')  # To compute in.


def list_models(pattern: str = '', pretrained: bool = False) -> list[str]:
  """Returns the names that `create_model` knows, sorted.

  Args:
    pattern: of names, as 'uniformer*' or '*50'; '' for all.
    pretrained: only models that have published weights.
  """
  return sorted(
    name
    for name, entry in MODELS.items()
    if fnmatch.fnmatchcase(name, pattern or '*')
    and (entry.weights or not pretrained)
  )


def takes_clips(name: str) -> bool:
  """Returns whether a model takes clips [B T H W 3] instead of images."""
  return name in MODELS and getattr(MODELS[name].module, 'takes_clips', False)


def input_spec(name: str, pretrained: str = '') -> InputSpec:
  """Returns the input of a model, as its initial weights expect it.

  Args:
    name: as for `create_model`. The function of an external model may have an
      attribute `input_spec`.
    pretrained: as for `create_model`. Published weights bring the
      normalization, and the clips, that they were trained with. A file or a URL
      of an image model's weights is taken to be trained on ImageNet.

  Raises:
    ValueError: the model is unknown.
  """
  if importing.is_path(name):
    return external.input_spec(name)
  entry = _entry(name)
  changes = {}
  if pretrained in entry.weights:
    changes = entry.weights[pretrained].input
  elif (
    _is_file(pretrained)
    and not takes_clips(name)
    and entry.input.mean == InputSpec().mean  # Not one of its own.
  ):
    changes = IMAGENET
  return dataclasses.replace(entry.input, **changes)


def _entry(name: str) -> ModelEntry:
  if name not in MODELS:
    known = [model for model in list_models() if not model.endswith('_test')]
    raise ValueError(
      f'There is no model {name!r}.{did_you_mean(name, known)} Choose from '
      f'{", ".join(known)}, or name a function that builds one, '
      "'package.module:function'."
    )
  return MODELS[name]


def _is_file(pretrained: str) -> bool:
  """Returns whether weights come from a file or a URL, not from a workdir."""
  return (
    download.is_url(pretrained)
    or pretrained.endswith(file_formats.SUFFIXES)
    or (pretrained != '' and file_formats.holds_weights(pretrained))
  )


def weights_options(name: str, pretrained: str | None) -> dict[str, Any]:
  """Returns the options of a model in which its initial weights differ.

  Published weights have them in their entry; of a file, the number of blocks of
  a temporal encoder is counted.

  Args:
    name: as for `create_model`.
    pretrained: as for `create_model`.
  """
  if name not in MODELS or not pretrained:
    return {}
  entry = MODELS[name]
  if pretrained in entry.weights:
    return dict(entry.weights[pretrained].options)
  if not getattr(entry.config, 'temporal_depth', 0):
    return {}
  if not file_formats.holds_weights(pretrained):
    return {}
  names = state_dicts.names(file_formats.read_tensors(pretrained))
  depth = state_dicts.temporal_depth(names)
  return {'temporal_depth': depth} if depth else {}


def create_model(
  name: str,
  num_classes: int = 400,
  pretrained: str | bool | None = None,
  rngs: nnx.Rngs | None = None,
  **options: Any,
) -> Classifier:
  """Builds a model, perhaps with published weights or those of a file.

  `fj.create_model`, in `checkpoints/`, describes the arguments, and adds that
  `pretrained` may be the workdir of a run.
  """
  if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
    raise ValueError(
      f'num_classes must be a whole number, 1 or more; got {num_classes!r}.'
    )
  if not isinstance(rngs, nnx.Rngs):
    rngs = random_streams.make(0 if rngs is None else rngs)
  if importing.is_path(name):
    if pretrained:
      check_weights(name, pretrained)
    return external.build(name, num_classes, rngs, **options)
  check_options(name, options)
  entry = _entry(name)
  if pretrained is True:
    pretrained = _first_weights(name)
  options = weights_options(name, pretrained) | options
  config = dataclasses.replace(entry.config, **options)
  model = entry.module(config, num_classes, rngs=rngs)
  spec = input_spec(name, pretrained or '')
  model.input_spec = spec.of_channels(config.in_channels)
  if pretrained:
    load_pretrained(model, name, pretrained)
  return model


def _first_weights(name: str) -> str:
  """Returns the published weights that a model's entry names first.

  Raises:
    ValueError: there are none.
  """
  if not MODELS[name].weights:
    raise ValueError(
      f'There are no published weights for {name}, so pretrained=True cannot '
      'be. list_models(pretrained=True) has the models with weights.'
    )
  weights = next(iter(MODELS[name].weights))
  log.info('%s: published weights %r', name, weights)
  return weights


def check_options(name: str, options: Mapping[str, Any]) -> None:
  """Refuses an unknown model, and options that it does not have.

  The function of an external model checks its arguments itself.

  Raises:
    ValueError: the name, an option or its dtype are unknown, or sizes of stages
      are not as many as the model has.
  """
  if importing.is_path(name):
    return
  entry = _entry(name)
  known = {field.name for field in dataclasses.fields(entry.config)}
  if unknown := sorted(options.keys() - known):
    raise ValueError(
      f'{name} has no option {", ".join(unknown)}.'
      f'{did_you_mean(unknown[0], known)} It has {", ".join(sorted(known))}.'
    )
  for option in ('depth', 'dim', 'heads', 'head_dim'):
    if option in options:
      _check_size(name, option, options[option], entry.config)
  dtype = options.get('dtype', DTYPES[0])
  if not isinstance(dtype, str) or dtype not in DTYPES:
    raise ValueError(
      f'dtype must be {" or ".join(map(repr, DTYPES))}; got {dtype!r}.'
      f'{did_you_mean(dtype, DTYPES)}'
    )
  rate = options.get('drop_path_rate', 0.0)
  if not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
    raise ValueError(
      f'drop_path_rate must be a number, 0 or more and less than 1; got '
      f'{rate!r}.'
    )
  channels = options.get('in_channels', 3)
  if not isinstance(channels, numbers.Integral) or channels < 2:
    raise ValueError(
      'in_channels must be 3 for RGB, 2 L for L fields of optical flow, or 3 + '
      f'2 L for both; got {channels!r}.'
    )
  remat = options.get('remat', False)
  if not isinstance(remat, bool):
    raise ValueError(f'remat must be True or False; got {remat!r}.')


def _check_size(name: str, option: str, value: Any, config: Any) -> None:
  """Refuses sizes that are not whole numbers, as many as the model has stages.

  A model whose depths are the only sizes by stage may have fewer stages.
  """
  least = 0 if option == 'depth' else 1
  given = value if isinstance(value, list | tuple) else (value,)
  known = getattr(config, option)
  wanted = 'a whole number'
  fits = given is not value
  if isinstance(known, tuple):
    sizes = [getattr(config, x, None) for x in ('depth', 'dim', 'heads')]
    fewer = sum(isinstance(size, tuple) for size in sizes) == 1
    wanted = f'{"up to " * fewer}{len(known)} whole numbers'
    count = len(given) if given is value else 0
    fits = 0 < count <= len(known) if fewer else count == len(known)
  if not fits or not all(
    isinstance(x, numbers.Integral) and x >= least for x in given
  ):
    raise ValueError(
      f'{option} of {name} must be {wanted}, {least} or more, as {known}; got '
      f'{value!r}.'
    )


def takes_size(options: Mapping[str, Any], height: int, width: int) -> bool:
  """Returns whether a model takes images of a size.

  Args:
    options: 'name', and options of the model. A model of another package takes
      any size as far as is known.
    height: in pixels.
    width: in pixels.
  """
  options = dict(options)
  name, _ = options.pop('name'), options.pop('pretrained', None)
  if importing.is_path(name):
    return True
  config = dataclasses.replace(_entry(name).config, **options)
  return MODELS[name].module.takes_size(config, height, width)


def check_weights(name: str, weights: str | bool) -> None:
  """Refuses weights that are not a file, a URL or published.

  Raises:
    ValueError: lists the published weights of the model; or it is of another
      package, whose names of tensors are not known.
  """
  if importing.is_path(name):
    raise ValueError(
      f'pretrained={weights!r} cannot be loaded into {name}, a model of '
      'another package: expected a model of list_models(), or, in training, '
      'the workdir of a run. Load the weights in the function that builds it.'
    )
  published = MODELS[name].weights if name in MODELS else {}
  if isinstance(weights, str | os.PathLike):
    known = weights in published or download.is_url(str(weights))
    if known or file_formats.holds_weights(weights):
      return
    if paths.expand(weights).is_dir():
      raise ValueError(
        f'{weights} is a folder without checkpoints and weights. Expected the '
        'workdir of a run, a file, or a folder of an exported model.'
      )
  there = ', '.join(map(repr, published)) or 'there are none'
  raise ValueError(
    f'pretrained={weights!r} is neither a file, nor a URL, nor one of the '
    f'published weights for {name}: {there}.{did_you_mean(weights, published)}'
  )


def load_pretrained(
  model: nnx.Module, name: str, weights: str
) -> conversion.LoadReport:
  """Loads published weights, or those of a file, as a start for training.

  Every difference that `load_torch` can allow is allowed, and logged.

  Args:
    model: changed in place.
    name: of the model, to find its published weights.
    weights: the training set of published weights, a URL, or a path.

  Returns:
    As `load_torch`.

  Raises:
    ValueError: the weights are unknown, or do not fit.
  """
  check_weights(name, weights)
  path = paths.expand(weights)
  if not file_formats.holds_weights(path):
    published = MODELS[name].weights if name in MODELS else {}
    url = published[weights].url if weights in published else weights
    path = download.fetch(url)
  report = conversion.load_torch(model, path, allow=matching.ALLOWANCES)
  differs = report.resized or report.left_at_init or report.dropped
  write = log.warning if differs else log.info
  write('%s from %s: %s', name, path, report)
  return report
