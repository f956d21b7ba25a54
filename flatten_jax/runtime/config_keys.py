# SPDX-License-Identifier: Apache-2.0
"""Translates config keys of earlier versions."""

from collections.abc import Iterable, Mapping
from typing import Any

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


def translate(
  values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns flat config values, {'data.erase': 0.25}, under today's keys.

  A value under today's key wins if it is not the default.
  """
  translated = {key: v for key, v in values.items() if key not in RENAMED}
  for old in RENAMED.keys() & values.keys():
    new = RENAMED[old]
    if new not in values or values[new] == defaults[new]:
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
