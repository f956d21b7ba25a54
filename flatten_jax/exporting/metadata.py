# SPDX-License-Identifier: Apache-2.0
"""metadata.json of an export: how to use a model, and its origin."""

from collections.abc import Mapping
import importlib.metadata
import inspect
import json
import pathlib
from typing import Any

import jax
import ml_collections

from flatten_jax import flattening
from flatten_jax.evaluation import multi_label
from flatten_jax.exporting import program
from flatten_jax.inputs.augment.transforms import test_short_side
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.loaded_model import LoadedModel

PACKAGES = ('flatten-jax', 'jax', 'flax', 'numpy')


def describe(model: LoadedModel) -> dict[str, Any]:
  """Returns JSON values: input, output, class names, clips, layout, config.

  Programs apply the steps under 'inside' themselves; users of the safetensors
  file have to apply them.
  """
  config, views = model.config, model.views
  class_names = list(model.class_names)
  return {
    'model': config.model.name,
    'class_names': class_names,
    'input': {
      'name': 'clips',
      'dtype': 'uint8',
      'shape': ['b', *program.clip_shape(model)],
      'axes': f'clip, time, height, width, {_channels(config.data)}',
    },
    'output': {
      'name': 'logits',
      'dtype': 'float32',
      'shape': ['b', len(class_names)],
      **_of_labels(model),
    },
    'clip': _clip(model),
    'inside': {
      'channels': config.channels,  # In that order are mean and std.
      **_normalization(config),
      **_layout(model),
    },
    'computed_in': {'stablehlo': config.model.dtype, 'onnx': 'float32'},
    'test_views': {
      'clips': views.clips,
      'crops': views.crops,
      config.eval_average: 'averaged over the views of a video',
    },
    'parameters': sum(x.size for x in jax.tree.leaves(model.params)),
    'step': model.step,
    'config': config.to_dict(),
    'versions': {name: _version(name) for name in PACKAGES},
  }


def is_of_export(path: pathlib.Path) -> bool:
  """Returns whether a file is the metadata.json of an export."""
  try:
    described = json.loads(path.read_text())
    return PACKAGES[0] in described['versions']
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _clip(model: LoadedModel) -> dict[str, Any]:
  """Describes how a clip is taken from a video."""
  data, views = model.config.data, model.views
  if data.resize:
    pixels = (
      'scaled to (height, width) in proportion to resize, whatever the '
      'aspect, with a short side of short_side, then the middle square'
    )
  else:
    pixels = 'short side scaled to short_side, then the middle square'
  return {
    'num_frames': views.frames,
    'sampling': data.sampling,
    'stride': views.stride,
    # For programs that read videos themselves.
    'frames': rules.of_data(data).frames,
    'short_side': test_short_side(data),
    'crop': views.resolution,
    **({'resize': list(data.resize)} if data.resize else {}),
    'pixels': pixels,
  }


def _layout(model: LoadedModel) -> dict[str, Any]:
  """Describes where the frames of a clip are in the input of the network."""
  config = model.config
  layout = dict.fromkeys(('layout', 'grid', 'frame_order'))
  layout['clip_model'] = config.clip_model
  order = program.frame_order(model)
  if order is not None:
    grid = flattening.grid_shape(len(order), tuple(config.grid) or None)
    layout |= {
      'layout': config.flatten,
      'grid': list(grid),
      'frame_order': order.tolist(),
    }
  if getattr(model.module, 'takes_positions', False):
    layout['positions'] = 'frames have the numbers 0, 1, 2, ...'
  return layout


def _of_labels(model: LoadedModel) -> dict[str, Any]:
  """Describes what logits mean of a model that gives several labels."""
  if not model.config.data.multi_label:
    return {}
  default = [multi_label.DEFAULT] * len(model.class_names)
  return {
    'probabilities': 'sigmoid of each logit: a video may have several labels',
    'thresholds': list(model.thresholds or default),
  }


def _normalization(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Describes how pixels are normalized."""
  if config.channels == 'motion':
    return {'pixels': inspect.getdoc(preprocess.motion_channels)}
  channels = fields.num_channels(config.data)
  mean, std = preprocess.statistics(channels, config)
  return {
    'mean': mean.tolist(),
    'std': std.tolist(),
    'pixels': '(value / 255 - mean) / std',
  }


def _channels(data: Mapping) -> str:
  """Describes the channels of a frame in words."""
  flow = (
    f'x and y of {data["flow_frames"]} consecutive fields of optical flow by '
    f'{data["flow_method"]!r}, oldest first, '
    f'round(255 (v + {fields.BOUND:g}) / {2 * fields.BOUND:g})'
  )
  return {
    'rgb': 'RGB from 0 to 255',
    'flow': flow,
    'rgb+flow': f'RGB from 0 to 255, then {flow}',
  }[data['input']]


def _version(name: str) -> str | None:
  """Returns the version of a package; None if it is not installed."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None
