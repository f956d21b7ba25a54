# SPDX-License-Identifier: Apache-2.0
"""Test protocols: the views, videos, step and frame order behind a score.

Scores of several protocols of one run stand side by side in results.json; a
score replaces that of its own protocol only.
"""

import hashlib
import pathlib
import re
from typing import Any

import ml_collections

from flatten_jax import paths
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.inputs.augment.transforms import test_crop, test_short_side
from flatten_jax.text import shorten_bytes

Protocol = dict[str, Any]


def describe(
  config: ml_collections.ConfigDict,
  split: str,
  step: int,
  predictions: Predictions,
) -> Protocol:
  """Returns all that tells one test of a run, of this config, from others."""
  data = config.data
  place = f'motion_clips_{data.motion_clips}'
  if path := data.root or data[split]:
    place = str(paths.expand(path).resolve())
  ids, labels = predictions.ids.tolist(), predictions.labels.tolist()
  digest = hashlib.sha256(repr((ids, labels)).encode()).hexdigest()
  large = test_short_side(data) > test_crop(data)
  return {
    'views': str(views.of_config(data)),
    'step': step,
    'data': place,
    'fold': data.fold,
    'frame_order': config.eval_frame_order,
    'sampling': data.sampling,
    'stride': data.stride,
    'repeat_frame': data.repeat_frame,
    'short_side': data.short_side,
    **({'test_short_side': data.test_short_side} if large else {}),
    **({'resize': list(data.resize)} if data.resize else {}),
    **({'flow': data.flow_method} if 'flow' in data.input else {}),
    'videos': len(ids),
    'videos_sha256': digest[:16],
  }


def differences(protocol: Protocol, own: Protocol) -> Protocol:
  """Returns the entries of `protocol` that `own` has otherwise.

  It is 'none' where only `own` has an entry.
  """
  return {
    key: protocol.get(key, 'none')
    for key in protocol | own
    if protocol.get(key) != own.get(key)
  }


def short_name(protocol: Protocol, own: Protocol) -> str:
  """Names a protocol by its differences to the run's own: '3x4', 'step_450'.

  The name is part of file names, and is lower case: disks may ignore case.
  """
  parts = []
  for key, value in differences(protocol, own).items():
    if key == 'views':
      ours, others = own[key].split('x'), value.split('x')
      # Without resolution and frames if they are the run's own.
      parts.append('x'.join(others[2 * (ours[:2] == others[:2]) :]))
    elif key == 'data':
      parts.append(pathlib.PurePath(value).stem)
    elif not key.startswith('videos'):
      named = value if isinstance(value, str) else f'{key}_{value}'
      parts.append(named if key in protocol else f'no_{key}')
  parts = parts or [f'{protocol["videos"]}_videos']
  name = re.sub(r'[^\w.-]+', '_', '_'.join(parts)).lower()
  return shorten_bytes(name[:80], 160)
