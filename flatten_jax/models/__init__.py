# SPDX-License-Identifier: Apache-2.0
"""Image classifiers by name: `create_model('uniformer_xxs', num_classes=10)`.

Every model takes images [B H W 3] and has `features` and `classify`. Those of
which `takes_clips` is true, the baselines in 3D, take clips [B T H W 3].
"""

import dataclasses

from flax import nnx

from flatten_jax.models import (
  external,
  resnet,
  swin_v2,
  uniformer,
  uniformer3d,
  uniformer_light,
)
from flatten_jax.models.weights import published as pretrained_lib
from flatten_jax.models.weights.conversion import export_torch, load_torch

__all__ = [
  'MODELS',
  'create_model',
  'export_torch',
  'list_models',
  'load_torch',
]

DTYPES = ('float32', 'bfloat16', 'float16', 'float64')  # To compute in.
# Name -> (class, its configuration); a new model is one line here.
MODELS = {
  'resnet50': (resnet.ResNet, resnet.RESNET50),
  'resnet101': (resnet.ResNet, resnet.RESNET101),
  'resnet_test': (resnet.ResNet, resnet.TEST),
  'swinv2_t': (swin_v2.SwinV2, swin_v2.TINY),
  'swinv2_test': (swin_v2.SwinV2, swin_v2.TEST),
  'uniformer_s': (uniformer.UniFormer, uniformer.SMALL),
  'uniformer_xxs': (uniformer.UniFormer, uniformer.XXS),
  'uniformer_nano': (uniformer.UniFormer, uniformer.NANO),
  'uniformer_test': (uniformer.UniFormer, uniformer.TEST),
  'uniformer_xxs_light': (uniformer_light.UniFormerLight, uniformer_light.XXS),
  'uniformer_light_test': (
    uniformer_light.UniFormerLight,
    uniformer_light.TEST,
  ),
  'uniformer3d_s': (uniformer3d.UniFormer3D, uniformer3d.SMALL),
  'uniformer3d_nano': (uniformer3d.UniFormer3D, uniformer3d.NANO),
  'uniformer3d_test': (uniformer3d.UniFormer3D, uniformer3d.TEST),
  'uniformer3d_xxs': (
    uniformer_light.UniFormerLight3D,
    uniformer_light.XXS_3D,
  ),
  'uniformer3d_light_test': (
    uniformer_light.UniFormerLight3D,
    uniformer_light.TEST_3D,
  ),
}


def list_models() -> list[str]:
  """The names that `create_model` knows."""
  return sorted(MODELS)


def create_model(
  name: str,
  num_classes: int = 400,
  pretrained: str | None = None,
  rngs: nnx.Rngs | None = None,
  **options,
) -> nnx.Module:
  """Builds a model: `model(images) -> logits`.

  Args:
    name: one of `list_models()`, or 'package.module:function' for a model of
      another origin, see `models/foreign.py`.
    num_classes: size of the logits.
    pretrained: the training set of published weights, 'imagenet1k' say, or the
      path or URL of a .pth or .safetensors file; a head for another number of
      classes stays at its initial values.
    rngs: for the initial values; `nnx.Rngs(0)` by default.
    **options: fields of the model's configuration, `drop_path_rate=0.1` say;
      for other models what their function takes.

  Returns:
    The model, an `nnx.Module`.
  """
  rngs = rngs or nnx.Rngs(0)
  if external.is_path(name):
    return external.build(name, num_classes, rngs, **options)
  if name not in MODELS:
    raise ValueError(
      f'There is no model {name!r}; choose from {list_models()}, or '
      "name a function that builds one, 'package.module:function'."
    )
  module, config = MODELS[name]
  known = {field.name for field in dataclasses.fields(config)}
  if unknown := sorted(options.keys() - known):
    raise ValueError(
      f'{name} has no option {", ".join(unknown)}; it has {sorted(known)}.'
    )
  if options.get('dtype', DTYPES[0]) not in DTYPES:
    raise ValueError(
      f'dtype is {" or ".join(map(repr, DTYPES))}, not {options["dtype"]!r}.'
    )
  config = dataclasses.replace(config, **options)
  model = module(config, num_classes, rngs=rngs)
  if pretrained:
    pretrained_lib.load_pretrained(model, name, pretrained)
  return model
