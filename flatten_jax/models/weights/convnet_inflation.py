# SPDX-License-Identifier: Apache-2.0
"""Starts networks of clips as ResNets, BN-Inception or GoogLeNet."""

import re

import numpy as np

from flatten_jax.models import (
  i3d,
  i3d_inception,
  motion_squeeze,
  slowfast,
  tdn,
  tsn,
)
from flatten_jax.models.weights.matching import Match

# Model -> those of its tensors that no image network has.
_OWN = {
  i3d.I3D: r'\.non_local\.',
  i3d_inception.I3DInception: r'^$',
  slowfast.SlowFast: r'^fusions\.|\.fast\.|\.non_local\.',
  motion_squeeze.MotionSqueezeNet: r'^motion\.',
  # ResNets have no biases.
  tdn.TDN: r'\.(long_term|shift|near_norm)\.|(conv\d?|shortcut)\.bias$',
  tsn.TSNResNet: r'^$',
  tsn.TSNBNInception: r'^$',
}


def start_as_image(match: Match) -> bool:
  """Completes the tensors of an image network; False for another model.

  Kernels are repeated along time and divided (PySlowFast's
  CHECKPOINT_INFLATE); the first of TDN's differences has the mean over red,
  green and blue in all channels. Kernels of SlowFast that see the fast path
  keep their values.
  """
  own = [x for kind, x in _OWN.items() if isinstance(match.model, kind)]
  if not own:
    return False
  found, narrow = {}, set()
  for name, shape in match.shapes.items():
    source = _of_middle_frames(name) if match.image else name
    value = match.theirs.get(source)
    if value is None:
      continue
    if value.ndim == 4 and value.ndim < len(shape):
      value = np.stack([value / shape[0]] * shape[0])
    if name == 'embeds.0.near_conv.kernel':
      value = value.mean(axis=-2, keepdims=True).repeat(shape[-2], axis=-2)
    sizes = zip(value.shape, shape, strict=False)
    if '.slow.' in name and [a == b for a, b in sizes][-2:] == [False, True]:
      narrow.add(name)
    elif name not in match.theirs or value.shape != match.theirs[name].shape:
      found[name] = value
  if (match.image or found) and match.allows('inflate'):
    match.resize(found)
    match.leave_head()
    lacking = match.shapes.keys() - match.theirs.keys()
    match.leave(narrow | {name for name in lacking if re.search(own[0], name)})
  return True


def _of_middle_frames(name: str) -> str:
  """Returns the tensor that one of TDN's stem for differences starts as."""
  name = name.replace('embeds.0.near_conv.', 'embeds.0.conv.')
  return name.replace('embeds.0.near.', 'stages.0.')
