# SPDX-License-Identifier: Apache-2.0
"""Translates config keys of earlier versions; refuses unknown ones."""

from collections.abc import Iterable, Mapping
import functools
import types
from typing import Any

import ml_collections

from flatten_jax.runtime.configuration import default_config
from flatten_jax.text import nearest

# A checkpoint says its format, so that an earlier version can refuse a later
# one. 1: without a number, up to commit 634214c. 2: keys of today, the number.
FORMAT = 2
# Values of keys that earlier checkpoints lack, where defaults differ.
BEFORE = {
  'batch_norm_groups': 1,
  'channels': 'rgb',
  'mix_partners': 'reversed',
  'data.input': 'rgb',
  'data.group': 'none',
}

RENAMED = {
  'accumulate': 'grad_accum_steps',
  'clip_norm': 'grad_clip_norm',
  'lr_end': 'min_lr',
  'lr_start': 'warmup_lr',
  'mix': 'mix_stage',
  'playback': 'eval_frame_order',
  'data.area': 'data.crop_area',
  'data.aspect': 'data.crop_aspect',
  'data.cache_gib': 'data.frame_cache_gib',
  'data.divisions': 'data.split_dir',
  'data.erase': 'data.random_erasing',
  'data.repeated': 'data.repeated_aug',
}
RENAMED_VALUES = {
  'compile_cache': {'~/.cache/flatten_jax/xla': 'auto'},
  'mix_stage': {'clips': 'before_flatten', 'mosaics': 'after_flatten'},
}
# Names that other projects have for keys.
OTHER_NAMES = {
  'batch': 'batch_size',
  'bs': 'batch_size',
  'data': 'data.root',
  'frames': 'data.num_frames',
  'img_size': 'data.crop',
  'imgsz': 'data.crop',
  'label_smooth': 'label_smoothing',
  'learning_rate': 'lr',
  'model': 'model.name',
  'precision': 'model.dtype',
  'resolution': 'data.crop',
  'size': 'data.crop',
  'wd': 'weight_decay',
}
# Groups with other keys: options of a model, and what --mode=compare reads.
OPEN_GROUPS = ('model', 'compare')


@functools.cache
def defaults() -> Mapping[str, Any]:
  """Returns every config key, dotted, with its default."""
  found = {}
  for key, value in default_config.base().to_dict().items():
    if isinstance(value, dict):
      found |= {f'{key}.{name}': inner for name, inner in value.items()}
    else:
      found[key] = value
  return types.MappingProxyType(found)


def known_keys() -> tuple[str, ...]:
  """Returns every config key, dotted."""
  return tuple(defaults())


def nearest_key(key: str) -> str:
  """Returns the key that a mistyped one means; '' if none is close.

  Groups may be missing or wrong: 'num_frames' is 'data.num_frames'.
  """
  group, _, name = key.rpartition('.')
  siblings = {k.rpartition('.')[2]: k for k in known_keys() if group in k}
  by_name = {k.rpartition('.')[2]: k for k in (*RENAMED, *known_keys())}
  if key in OTHER_NAMES:
    return OTHER_NAMES[key]
  if group in known_keys():  # It is a value, not a group.
    return group
  for names in (siblings if group else {}, by_name):
    if close := names.get(nearest(name, names)):
      return RENAMED.get(close, close)
  return ''


def check(key: str) -> None:
  """Refuses a key that a config does not have.

  Raises:
    ValueError: with the key that may be meant.
  """
  group = str(key).rpartition('.')[0]
  if key in known_keys() or group in OPEN_GROUPS:
    return
  close = nearest_key(key)
  hint = f' Did you mean config.{close}?' if close else ''
  raise ValueError(
    f'There is no config.{key}.{hint} All keys, with comments, are in '
    'flatten_jax/runtime/configuration/default_config.py.'
  )


def translate(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns flat config values, {'data.erase': 0.25}, under today's keys.

  A value under today's key wins if it is not the default.
  """
  translated = {key: v for key, v in values.items() if key not in RENAMED}
  for old in RENAMED.keys() & values.keys():
    new = RENAMED[old]
    if new not in values or values[new] == defaults()[new]:
      translated[new] = values[old]
  for key in RENAMED_VALUES.keys() & translated.keys():
    translated[key] = RENAMED_VALUES[key].get(translated[key], translated[key])
  return translated


def notices(keys: Iterable[str]) -> list[str]:
  """Returns a sentence for each key that has another name now."""
  return [
    f'config.{old} is called config.{RENAMED[old]} now.'
    for old in sorted(RENAMED.keys() & set(keys))
  ]


def value_of(config: ml_collections.ConfigDict | dict, key: str) -> Any:
  """Returns the value of a dotted key."""
  for part in key.split('.'):
    config = config[part]
  return config
