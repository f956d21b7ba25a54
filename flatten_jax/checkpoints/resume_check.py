# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint is of this experiment, and what changed since."""

import json
import logging
from typing import Any

from flax import traverse_util

from flatten_jax.checkpoints.checkpoints import RunInfo

log = logging.getLogger('flatten_jax')

# What may change when a run goes on, because the numbers stay the same.
RESUME_MUTABLE_KEYS = (
  'log_every',
  'eval_every',
  'save_every',
  'keep_last',
  'test_checkpoint',
  'eval_frame_order',
  'compile_cache',
  'eval_views',
  'mesh.data',
  'mesh.model',
  'sharding',
  'fsdp_min_size',
  'distributed',
  'coordinator',
  'num_processes',
  'process_id',
  'join_timeout',
  'data.root',
  'data.train',
  'data.val',
  'data.test',
  'data.prefix',
  'data.split_dir',
  'data.images',
  'data.views',
  'data.num_clips',
  'data.num_crops',
  'data.val_clips',
  'data.val_crops',
  'data.index',
  'data.time_limit',
  'data.frame_cache_gib',
  'data.workers',
  'data.threads',
  'model.pretrained',
)
# Of these, what may be at another place, but not come or go.
RELOCATABLE_KEYS = ('data.images', 'data.split_dir')

# What was done before there was a key; a config without it means this.
BEFORE = {
  'model.dtype': 'float32',
  'model.remat': False,
  'grad_accum_steps': 1,
  'layer_decay': 1.0,
  'ema': 0.0,
  'mix_stage': 'before_flatten',
  'data.randaugment': '',
  'data.random_erasing': 0.0,
  'data.repeated_aug': 1,
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


def check_resumable(saved: RunInfo, ours: RunInfo) -> None:
  """Refuses to go on with a checkpoint of another experiment.

  Args:
    saved: what the checkpoint says of its run.
    ours: the same of the run that would go on with it.

  Raises:
    ValueError: classes differ, or the number of videos, or values of the config
      that are not in RESUME_MUTABLE_KEYS; the differences are listed.
  """
  if saved.class_names != ours.class_names:
    raise ValueError(
      'The checkpoint was trained on other classes: '
      f'{_first(saved.class_names)}; the data has {_first(ours.class_names)}. '
      'Use a new --workdir.'
    )
  if lines := refused_changes(saved.config, ours.config):
    raise ValueError(
      f'This workdir holds a run of another config:\n{lines}\n'
      'Use a new --workdir, or the values that it was started with.'
    )
  if saved.videos and saved.videos != ours.videos:
    raise ValueError(
      f'This run began with {saved.videos} training videos, and there are '
      f'{ours.videos} now: it cannot go on as if nothing had happened. Use a '
      'new --workdir; --config.model.pretrained=<this workdir> starts from its '
      'weights.'
    )
  for key, (old, new) in differences(saved.config, ours.config).items():
    log.info('Going on with another %s: was %r, is %r', key, old, new)


def refused_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
  """A line for each value that may not change, and did; else ''."""
  return '\n'.join(
    f'  {key}: was {before!r}, is {now!r}'
    for key, (before, now) in differences(old, new).items()
    if key not in RESUME_MUTABLE_KEYS
    or (key in RELOCATABLE_KEYS and bool(before) != bool(now))
  )


def _first(names: tuple[str, ...]) -> str:
  more = ', ...' if len(names) > 10 else ''
  return f'{", ".join(names[:10])}{more} ({len(names)})'


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple]:
  """{'data.crop': (160, 224)}: where two resolved configs disagree.

  Args:
    old: of a checkpoint.
    new: of the run that would go on with it.
  """
  old, new = _flat(old), _flat(new)
  old = {key: BEFORE[key] for key in new.keys() & BEFORE.keys()} | old
  return {
    key: (old.get(key), new.get(key))
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  }


def _flat(values: dict[str, Any]) -> dict[str, Any]:
  values = json.loads(json.dumps(values))  # Tuples come back as lists.
  return traverse_util.flatten_dict(values, sep='.')
