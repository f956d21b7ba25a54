# SPDX-License-Identifier: Apache-2.0
"""Where two configs disagree, one of which may be older than some keys."""

import json
from typing import Any

from flax import traverse_util

# What was done before there was a key; a config without it means this.
BEFORE = {
  'model.dtype': 'float32',
  'model.remat': False,
  'accumulate': 1,
  'layer_decay': 1.0,
  'ema': 0.0,
  'mix': 'clips',
  'data.randaugment': '',
  'data.erase': 0.0,
  'data.repeated': 1,
  'data.images': '',
  'data.image_share': 0.5,
  'data.image_crop': 0,
  'batch_norm': 'global',
  'batch_norm_groups': 1,
  'mesh.data': -1,
  'mesh.model': 1,
  'sharding': 'replicated',
  'fsdp_min_size': 2**14,
  'coordinator': '',
  'num_processes': 0,
  'process_id': -1,
  'join_timeout': 300,
}


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple]:
  """{'data.crop': (160, 224)}: where two resolved configs disagree.

  Args:
    old: of a checkpoint, from JSON.
    new: of the run that would go on with it.
  """
  old, new = _flat(old), _flat(json.loads(json.dumps(new)))
  old = {key: BEFORE[key] for key in new.keys() & BEFORE.keys()} | old
  return {
    key: (old.get(key), new.get(key))
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  }


def _flat(values: dict[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(values, sep='.')
