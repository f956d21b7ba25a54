# SPDX-License-Identifier: Apache-2.0
"""Every model by name: its class, sizes, input and published weights."""

from collections.abc import Callable, Mapping
import dataclasses
import logging
import pathlib
from typing import Any

from flax import nnx

from flatten_jax import importing
from flatten_jax.models import (
  external,
  resnet,
  swin_v2,
  uniformer,
  uniformer3d,
  uniformer_light,
)
from flatten_jax.models.classifier import Classifier
from flatten_jax.models.input_specs import (
  IMAGENET_MEAN,
  IMAGENET_STD,
  InputSpec,
)
from flatten_jax.models.weights import conversion, download, matching
from flatten_jax.models.weights.download import drive_url

log = logging.getLogger('flatten_jax')

DTYPES = ('float32', 'bfloat16', 'float16', 'float64')  # To compute in.
IMAGENET = {'mean': IMAGENET_MEAN, 'std': IMAGENET_STD}


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
  """Weights that the authors of a model published.

  Attributes:
    url: a .pth file.
    input: fields of the model's input spec in which the weights differ: the
      normalization and the clips that they were trained with.
  """

  url: str
  input: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ModelEntry:
  """A model of `MODELS`.

  Attributes:
    module: the class; called with (config, num_classes, rngs=...).
    config: sizes, a frozen dataclass.
    input: the clips that it takes, flattened or not.
    weights: training set -> published weights.
  """

  module: Callable[..., nnx.Module]
  config: Any
  input: InputSpec = dataclasses.field(default_factory=InputSpec)
  weights: Mapping[str, PublishedWeights] = dataclasses.field(
    default_factory=dict
  )


# Inputs of the image models are those of the Flatten paper's tables.
_SEGMENTS_160 = InputSpec(sampling='segment', crop=160)
_NANO = InputSpec(num_frames=9, sampling='segment', crop=32)
_SWIN_V2 = 'https://github.com/SwinTransformer/storage/releases/download/v2.0.0'
_UNIFORMER_S = drive_url('1-uepH3Q3BhTmWU6HK-sGAGQC_MpfIiPD')
# The light variant at 160 px: all parameters of the plain one but the stem.
_UNIFORMER_XXS = drive_url('1CsXCzfVFPyM2mY8BA_1fO3q_VBngnF44')

MODELS = {
  'resnet50': ModelEntry(resnet.ResNet, resnet.RESNET50),
  'resnet101': ModelEntry(
    resnet.ResNet,
    resnet.RESNET101,
    weights={
      'imagenet1k': PublishedWeights(
        'https://download.pytorch.org/models/resnet101-63fe2227.pth', IMAGENET
      )
    },
  ),
  'resnet_test': ModelEntry(resnet.ResNet, resnet.TEST),
  'swinv2_t': ModelEntry(
    swin_v2.SwinV2,
    swin_v2.TINY,
    InputSpec(crop=192),
    {  # At 256 px, with windows of 8 and 16.
      'imagenet1k': PublishedWeights(
        f'{_SWIN_V2}/swinv2_tiny_patch4_window8_256.pth', IMAGENET
      ),
      'imagenet1k_window16': PublishedWeights(
        f'{_SWIN_V2}/swinv2_tiny_patch4_window16_256.pth', IMAGENET
      ),
    },
  ),
  'swinv2_test': ModelEntry(swin_v2.SwinV2, swin_v2.TEST),
  'uniformer_s': ModelEntry(
    uniformer.UniFormer,
    uniformer.SMALL,
    weights={'imagenet1k': PublishedWeights(_UNIFORMER_S, IMAGENET)},
  ),
  'uniformer_xxs': ModelEntry(
    uniformer.UniFormer,
    uniformer.XXS,
    _SEGMENTS_160,
    {'imagenet1k': PublishedWeights(_UNIFORMER_XXS, IMAGENET)},
  ),
  'uniformer_nano': ModelEntry(uniformer.UniFormer, uniformer.NANO, _NANO),
  'uniformer_test': ModelEntry(uniformer.UniFormer, uniformer.TEST),
  'uniformer_xxs_light': ModelEntry(
    uniformer_light.UniFormerLight, uniformer_light.XXS, _SEGMENTS_160
  ),
  'uniformer_light_test': ModelEntry(
    uniformer_light.UniFormerLight, uniformer_light.TEST
  ),
  'uniformer3d_s': ModelEntry(
    uniformer3d.UniFormer3D,
    uniformer3d.SMALL,
    InputSpec(),
    {
      'kinetics400': PublishedWeights(
        drive_url('1-jGZIIuTM5IYIpqkNTojhGhfMc7Gu9Kt')
      ),
      'kinetics400_8x8': PublishedWeights(
        drive_url('1-kitVTkWErHXI_x-sLItvK9-sOmb53j6'),
        {'num_frames': 8, 'stride': 8},
      ),
      'ssv2': PublishedWeights(
        drive_url('1-Wq22024HB7tT8kPX6eSMn2GUNMI-_gY'), {'sampling': 'segment'}
      ),
      'hmdb51': PublishedWeights(
        drive_url('1Es4xtcEvQSomnbp6Eo7TC3JejIwHf5yS')
      ),
      # Inflated. UniFormer's authors train them on with .45 and .225.
      'imagenet1k': PublishedWeights(_UNIFORMER_S),
    },
  ),
  'uniformer3d_nano': ModelEntry(
    uniformer3d.UniFormer3D, uniformer3d.NANO, _NANO
  ),
  'uniformer3d_test': ModelEntry(uniformer3d.UniFormer3D, uniformer3d.TEST),
  'uniformer3d_xxs': ModelEntry(
    uniformer_light.UniFormerLight3D,
    uniformer_light.XXS_3D,
    _SEGMENTS_160,
    {
      'kinetics400': PublishedWeights(
        drive_url('1DxqrNHb4h1ZKnEFaqbkKJAXQsyIFeD7b')
      ),
      'kinetics400_8f': PublishedWeights(
        drive_url('1Dxq82X8mBsfVOzij0HSeb1g4sdez71FM'), {'num_frames': 8}
      ),
      'imagenet1k': PublishedWeights(_UNIFORMER_XXS),  # As above.
    },
  ),
  'uniformer3d_light_test': ModelEntry(
    uniformer_light.UniFormerLight3D, uniformer_light.TEST_3D
  ),
}


def list_models() -> list[str]:
  """Returns the names that `create_model` knows, sorted."""
  return sorted(MODELS)


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
  elif _is_file(pretrained) and not takes_clips(name):
    changes = IMAGENET
  return dataclasses.replace(entry.input, **changes)


def _entry(name: str) -> ModelEntry:
  if name not in MODELS:
    raise ValueError(
      f'There is no model {name!r}; choose from {list_models()}, or '
      "name a function that builds one, 'package.module:function'."
    )
  return MODELS[name]


def _is_file(pretrained: str) -> bool:
  """Returns whether weights come from a file or a URL, not from a workdir."""
  suffixes = ('.pth', '.pt', '.safetensors')
  return download.is_url(pretrained) or pretrained.endswith(suffixes)


def create_model(
  name: str,
  num_classes: int = 400,
  pretrained: str | None = None,
  rngs: nnx.Rngs | None = None,
  **options,
) -> Classifier:
  """Builds a model: `model(images) -> logits`.

  Args:
    name: one of `list_models()`, or 'package.module:function' for an external
      model, see `models/external.py`.
    num_classes: size of the logits.
    pretrained: the training set of published weights, e.g. 'imagenet1k', or the
      path or URL of a .pth or .safetensors file; a head for another number of
      classes stays at its initial values.
    rngs: for the initial values; `nnx.Rngs(0)` by default.
    **options: fields of the model's configuration, e.g. `drop_path_rate=0.1`;
      arguments of the function for an external model.

  Returns:
    The model, an `nnx.Module`; an external one may have no more than
    `__call__`.

  Raises:
    ValueError: the name, an option, or the weights are unknown.
  """
  rngs = rngs or nnx.Rngs(0)
  if importing.is_path(name):
    return external.build(name, num_classes, rngs, **options)
  entry = _entry(name)
  known = {field.name for field in dataclasses.fields(entry.config)}
  if unknown := sorted(options.keys() - known):
    raise ValueError(
      f'{name} has no option {", ".join(unknown)}; it has {sorted(known)}.'
    )
  if options.get('dtype', DTYPES[0]) not in DTYPES:
    raise ValueError(
      f'dtype is {" or ".join(map(repr, DTYPES))}, not {options["dtype"]!r}.'
    )
  config = dataclasses.replace(entry.config, **options)
  model = entry.module(config, num_classes, rngs=rngs)
  if pretrained:
    load_pretrained(model, name, pretrained)
  return model


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
  path = pathlib.Path(weights).expanduser()
  published = MODELS[name].weights if name in MODELS else {}
  if not path.is_file():
    if weights in published:
      path = download.fetch(published[weights].url)
    elif download.is_url(weights):
      path = download.fetch(weights)
    else:
      raise ValueError(
        f'{weights!r} is neither a file, nor a URL, nor one of the published '
        f'weights for {name}: {list(published) or "there are none"}.'
      )
  report = conversion.load_torch(model, path, allow=matching.ALLOWANCES)
  differs = report.resized or report.left_at_init or report.dropped
  write = log.warning if differs else log.info
  write('%s from %s: %s', name, path, report)
  return report
