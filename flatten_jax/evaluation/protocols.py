# SPDX-License-Identifier: Apache-2.0
"""Protocols of a test: the views, step and videos that a score belongs to.

Scores of several protocols of one run stand side by side in results.json; a
score replaces that of its own protocol only.
"""

import pathlib
import re
from typing import Any

import ml_collections

from flatten_jax import paths
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.text import shorten_bytes

Protocol = dict[str, Any]

# What a differing key adds to the name of a result.
_NAMES = {
  'step': 'step_{}',
  'data': '{}',
  'fold': 'fold_{}',
  'frame_order': '{}',
  'seed': 'seed_{}',
  'sampling': '{}',
  'stride': 'stride_{}',
  'repeat_frame': 'repeat_frame_{}',
  'short_side': 'short_side_{}',
}


def describe(
  config: ml_collections.ConfigDict,
  split: str,
  step: int,
  predictions: Predictions,
) -> Protocol:
  """Returns all that tells one test of a run from another.

  Args:
    config: of the test.
    split: that was tested.
    step: of the checkpoint.
    predictions: of the test; give its videos.
  """
  data = config.data
  place = data.root or data[split]
  random = 'random' in (config.flatten, config.eval_frame_order)
  return {
    'views': str(views.of_config(data)),
    'step': step,
    'data': str(paths.expand(place).resolve())
    if place
    else f'motion_clips_{data.motion_clips}',
    'fold': data.fold,
    'frame_order': config.eval_frame_order,
    # Only what is drawn depends on it.
    'seed': config.seed
    if random or config.eval_frame_order == 'shuffled'
    else 0,
    'sampling': data.sampling,
    'stride': data.stride if data.sampling == 'dense' else 0,
    'repeat_frame': data.repeat_frame,
    'short_side': data.short_side,
    'videos': len(predictions.ids),
    'videos_sha256': predictions.videos_digest(),
  }


def differences(protocol: Protocol, own: Protocol) -> dict[str, Any]:
  """Returns the entries of `protocol` that `own` has otherwise."""
  return {k: value for k, value in protocol.items() if own.get(k) != value}


def same_settings(protocol: Protocol, own: Protocol) -> bool:
  """Returns True if both differ in nothing, or in the videos found only."""
  return not differences(protocol, own).keys() - {'videos', 'videos_sha256'}


def short_name(protocol: Protocol, own: Protocol) -> str:
  """Names a protocol by its differences to the run's own: '3x4', 'step_450'.

  The name is part of file names, and is lower case: disks may ignore case.
  """
  changed = differences(protocol, own)
  parts = []
  if 'views' in changed:
    parts.append(_short_views(changed['views'], own['views']))
  for key, text in _NAMES.items():
    if key in changed:
      value = changed[key]
      if key == 'data':
        value = pathlib.PurePath(value).stem
      parts.append(text.format(value))
  if not parts:
    parts.append(f'{protocol["videos"]}_videos')
  name = re.sub(r'[^\w.-]+', '_', '_'.join(parts)).lower()
  return shorten_bytes(name[:80], 160)


def _short_views(text: str, own: str) -> str:
  """Leaves frames and resolution out if they are the run's own."""
  ours, others = views.parse(own), views.parse(text)
  if (ours.resolution, ours.frames) == (others.resolution, others.frames):
    return f'{others.crops}x{others.clips}'
  return text
