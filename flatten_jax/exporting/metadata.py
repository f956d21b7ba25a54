# SPDX-License-Identifier: Apache-2.0
"""What has to be known to use a model's logits, and where it came from."""

import importlib.metadata
from typing import Any

import jax

from flatten_jax import flattening
from flatten_jax.exporting.program import Program
from flatten_jax.inputs import views
from flatten_jax.runtime import preprocess

PACKAGES = ('flatten-jax', 'jax', 'flax', 'numpy')
# Which frames make a test clip, for programs that read videos themselves.
FRAMES = {
  'dense': 'num_frames frames, stride apart, from the middle of the video',
  'segment': 'the middle frame of each of num_frames equal parts of the video',
}


def describe(program: Program) -> dict[str, Any]:
  """Plain values for JSON: input, output, class names, clips, layout, config.

  What stands under 'inside' the program has done to the clips already; weights
  by themselves, in safetensors, leave it to the reader.
  """
  config, data = program.config, program.config.data
  class_names = list(program.run.class_names)
  test_views = views.of_config(data)
  return {
    'model': config.model.name,
    'class_names': class_names,
    'input': {
      'name': 'clips',
      'dtype': 'uint8',
      'shape': ['b', *program.clip_shape],
      'axes': 'clip, time, height, width, RGB from 0 to 255',
    },
    'output': {
      'name': 'logits',
      'dtype': 'float32',
      'shape': ['b', len(class_names)],
    },
    'clip': {
      'num_frames': data.num_frames,
      'sampling': data.sampling,
      'stride': data.stride if data.sampling == 'dense' else None,
      'frames': FRAMES[data.sampling],
      'short_side': data.crop,
      'crop': data.crop,
      'pixels': 'short side scaled to short_side, then the middle square',
    },
    'inside': {
      'mean': list(config.mean),
      'std': list(config.std),
      'pixels': '(value / 255 - mean) / std',
      **_layout(program),
    },
    'test_views': {
      'clips': test_views.clips,
      'crops': test_views.crops,
      'logits': 'summed over the views of a video',
    },
    'parameters': sum(x.size for x in jax.tree.leaves(program.params)),
    'step': program.step,
    'config': config.to_dict(),
    'versions': {name: _version(name) for name in PACKAGES},
  }


def _layout(program: Program) -> dict[str, Any]:
  """Which frame sits in which cell, row by row; nothing for a video model."""
  config, num_frames = program.config, program.config.data.num_frames
  if preprocess.takes_clips(config):
    return {'layout': None, 'grid': None, 'frame_order': None}
  grid, order = tuple(config.grid) or None, program.order
  if order is None:
    order = flattening.frame_order(config.flatten, num_frames, grid=grid)
  grid = flattening.grid_shape(num_frames, grid)
  return {
    'layout': config.flatten,
    'grid': list(grid),
    'frame_order': order.tolist(),
  }


def _version(name: str) -> str | None:
  """None for a package that is used from a checkout."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None
