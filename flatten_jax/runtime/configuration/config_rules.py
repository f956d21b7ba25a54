# SPDX-License-Identifier: Apache-2.0
"""The values that each config key can take, as one table of rules."""

from collections.abc import Collection, Sequence
import re
from typing import Any

import ml_collections

from flatten_jax import importing, models
from flatten_jax.inputs.sampling import rules as sampling_rules
from flatten_jax.runtime.configuration import config_keys
from flatten_jax.runtime.configuration.value_rules import (
  Rule,
  ascending,
  instance,
  limits,
  one_of,
  real,
  several,
  whole,
)
from flatten_jax.runtime.devices import batch_norm, sharding
from flatten_jax.runtime.workdir.loggers import by_name as loggers
from flatten_jax.text import did_you_mean

MAX_SEED = 2**32 - 1  # Larger ones would wrap around in JAX's keys.


def _are_param_groups(value: Any) -> bool:
  """Returns whether a value is a tuple of (text, number, number)."""
  if isinstance(value, str) or not isinstance(value, Sequence):
    return False
  return all(
    isinstance(group, Sequence)
    and len(group) == 3
    and isinstance(group[0], str)
    and all(map(real(0).takes, group[1:]))
    for group in value
  )


def _are_names(value: Any) -> bool:
  """Returns whether a value is a tuple of texts."""
  return isinstance(value, tuple | list) and all(
    isinstance(name, str) and name for name in value
  )


def _are_pairs(value: Any) -> bool:
  """Returns whether a value is a tuple of pairs of texts."""
  return isinstance(value, tuple | list) and all(
    _are_names(pair) and len(pair) == 2 for pair in value
  )


NAMES = Rule("names of classes like ('Turning the camera left',)", _are_names)
PAIRS = Rule("pairs of names of classes like (('left', 'right'),)", _are_pairs)
LOGGERS = Rule(
  f"names like ('tensorboard', 'csv'), of {', '.join(loggers.NAMES)} and "
  "'my_module:my_class'",
  lambda value: (
    _are_names(value)
    and all(x in loggers.NAMES or importing.is_path(x) for x in value)
  ),
)
FREEZE = Rule(
  "'backbone', or a stage like 'stage2', which freezes what comes before too",
  lambda value: (
    isinstance(value, str)
    and bool(re.fullmatch('|backbone|stage[1-9][0-9]*', value))
  ),
)
PARAM_GROUPS = Rule(
  "groups like (('head', 10.0, 1.0), ...): a text in names of parameters, and "
  'the factors of their learning rate and of their weight decay',
  _are_param_groups,
)
_SWITCH = instance(bool, 'True or False')
_TEXT = instance(str, 'text')
_SHARE = real(0, 1)
_BELOW_ONE = real(0, below=1)
_POSITIVE = real(above=0)
_NOT_NEGATIVE = real(0)
_COUNT = whole(1)
_COUNT_OR_0 = whole(0)

CHOICES = {
  'channels': ('rgb', 'bgr', 'motion', ''),
  'clip_model': ('flatten', 'average', 'one_frame'),
  'data.crop_method': (
    'area',
    'scale',
    'inverse_scale',
    'scale_each_axis',
    'multi_scale',
  ),
  'data.flow_method': ('dis', 'farneback', 'tvl1'),
  'data.motions': ('twelve', 'many', 'several'),
  'data.input': ('rgb', 'flow', 'rgb+flow', ''),
  'data.erasing_fill': ('noise', 'mean'),
  'optimizer': ('adamw', 'sgd'),
  'recipe': ('', 'few_videos'),
  'schedule': ('cosine', 'cosine_by_epoch', 'cosine_from_start', 'steps'),
  'batch_norm': batch_norm.CHOICES,
  'batch_norm_frozen': batch_norm.FROZEN,
  'data.sampling': (*sampling_rules.RULES, ''),
  'eval_average': ('logits', 'probs', ''),
  'eval_frame_order': ('forward', 'reversed', 'shuffled'),
  'mix_partners': ('', 'neighbors', 'reversed'),
  'mix_stage': ('before_flatten', 'after_flatten'),
  'model.dtype': models.DTYPES,
  'sharding': sharding.SHARDINGS,
  'save_best_by': ('top1', 'loss', 'top5', 'mean_class', 'map'),
  'test_checkpoint': ('last', 'best'),
}


def _of_types() -> dict[str, Rule]:
  """Returns the rules of keys of which nothing is known but their type."""
  rules = {bool: _SWITCH, str: _TEXT}
  return {
    key: rules[type(value)]
    for key, value in config_keys.defaults().items()
    if type(value) in rules and key != 'flatten'  # Or a function.
  }


# Before the model fills in what is left to it: 0, '' and () are allowed there.
RULES = _of_types() | {
  'adam_eps': _POSITIVE,
  'batch_norm_groups': _COUNT_OR_0,
  'batch_size': _COUNT,
  'beta1': _BELOW_ONE,
  'beta2': _BELOW_ONE,
  'channel_dropout': real(0, high=0.5),
  'cutmix': _NOT_NEGATIVE,
  'data.color_jitter': _NOT_NEGATIVE,
  'data.color_jitter_share': _SHARE,
  'data.crop': _COUNT_OR_0,
  'data.crop_area': limits(real(above=0, high=1)),
  'data.crop_aspect': limits(_POSITIVE),
  'data.crop_positions': Rule('5 or 13', lambda value: value in (5, 13)),
  'data.crop_scale': limits(_POSITIVE),
  'data.crop_sizes': ascending(real(above=0, high=1)),
  'data.flip_except': NAMES,
  'data.flip_pairs': PAIRS,
  'data.flow_frames': _COUNT_OR_0,
  'data.fold': whole(0, also=-1),
  'data.folds': whole(2),
  'data.frame_cache_gib': _NOT_NEGATIVE,
  'data.grayscale_share': _SHARE,
  'data.holdout': real(above=0, below=1),
  'data.image_crop': _COUNT_OR_0,
  'data.image_share': _BELOW_ONE,
  'data.motion_clips': whole(12, also=0),
  'data.num_clips': _COUNT_OR_0,
  'data.num_crops': _COUNT_OR_0,
  'data.num_frames': _COUNT_OR_0,
  'data.random_erasing': _SHARE,
  'data.repeated_aug': _COUNT,
  'data.resize': several(2, _COUNT, empty=True),
  'data.rotation': real(0, high=180),
  'data.short_side': _COUNT_OR_0,
  'data.stride': _COUNT_OR_0,
  'data.test_crop': _COUNT_OR_0,
  'data.test_frames': _COUNT_OR_0,
  'data.test_short_side': _COUNT_OR_0,
  'data.threads': _COUNT_OR_0,
  'data.time_crop': limits(real(above=0, high=1)),
  'data.time_limit': _NOT_NEGATIVE,
  'data.val_clips': _COUNT,
  'data.val_crops': _COUNT,
  'data.val_holdout': _BELOW_ONE,
  'data.workers': _COUNT_OR_0,
  'ema': _BELOW_ONE,
  'epochs': real(above=0, also=-1),
  'eval_every': _NOT_NEGATIVE,
  'eval_views': _COUNT,
  'freeze': FREEZE,
  'freeze_epochs': _NOT_NEGATIVE,
  'fsdp_min_size': _COUNT_OR_0,
  'grad_accum_steps': _COUNT,
  'grad_clip_groups': _COUNT_OR_0,
  'grad_clip_norm': _NOT_NEGATIVE,
  'grid': several(2, _COUNT, empty=True),
  'join_timeout': _COUNT,
  'keep_last': _COUNT,
  'label_smoothing': _BELOW_ONE,
  'layer_decay': real(above=0, high=1),
  'log_every': _COUNT,
  'loggers': LOGGERS,
  'lr': real(0, 10),
  'lr_step_factor': _SHARE,
  'lr_steps': ascending(_NOT_NEGATIVE),
  'mean': several(3, _SHARE, empty=True),
  'mesh.data': whole(1, also=-1),
  'mesh.model': _COUNT,
  'min_lr': _SHARE,
  'mixup': _NOT_NEGATIVE,
  'model.drop_path_rate': _BELOW_ONE,
  'momentum': _BELOW_ONE,
  'num_processes': _COUNT_OR_0,
  'param_groups': PARAM_GROUPS,
  'patience': _NOT_NEGATIVE,
  'precise_batch_norm': _COUNT_OR_0,
  'process_id': whole(0, also=-1),
  'save_every': _NOT_NEGATIVE,
  'seed': whole(0, MAX_SEED),
  'std': several(3, real(above=0, high=1), empty=True),
  'warmup_epochs': real(0, also=-1),
  'warmup_lr': _SHARE,
  'weight_decay': _NOT_NEGATIVE,
}
RULES |= {key: one_of(*words) for key, words in CHOICES.items()}
# Advice after the rule.
ADVICE = {
  'data.motion_clips': 'there are 12 classes, or 119 of many motions',
  'data.time_limit': '0 is no limit',
  'epochs': '-1 chooses it from the number of videos',
  'freeze': "'' trains everything",
  'grad_clip_norm': '0 turns clipping off',
  'grid': '() for a square number of frames',
  'lr': 'AdamW takes up to 1',
  'mean': 'of pixels in [0, 1], so divide by 255',
  'std': 'of pixels in [0, 1], so divide by 255',
  'warmup_epochs': '-1 is a tenth of the epochs',
}


def is_free_text(key: str) -> bool:
  """Returns whether a key takes any text: a path, a name, an address."""
  return RULES.get(key) is _TEXT


def check_all(
  config: ml_collections.ConfigDict,
  trusted: ml_collections.ConfigDict | None = None,
  open_keys: Collection[str] = (),
) -> None:
  """Refuses values that break a rule of `RULES`.

  Args:
    config: from `complete`.
    trusted: config of a checkpoint; values that are equal there are not
      checked, so that runs from before a rule can still be used.
    open_keys: that a recipe is going to choose, which are not checked.

  Raises:
    ValueError: a value is wrong; the message lists the right ones.
  """
  for key in RULES:
    if key in open_keys:
      continue
    value = config_keys.value_of(config, key)
    if trusted is None or value != config_keys.value_of(trusted, key):
      check(key, value)


def check(key: str, value: Any) -> None:
  """Refuses a value of a key; the message has one form for all keys.

  Raises:
    ValueError: the key's rule does not take it.
  """
  rule = RULES.get(key)
  if rule is None or rule.takes(value):  # An option of a model has none.
    return
  raise ValueError(message(key, value))


def message(key: str, value: Any) -> str:
  """Returns the error about a value: what it must be, what came, advice."""
  default = config_keys.defaults()[key]
  advice = ADVICE.get(key, f'the default is {default!r}')
  if value is None:
    advice = 'only what configs/folder.py leaves open can be None'
  close = did_you_mean(value, CHOICES.get(key, ()))
  return (
    f'config.{key} must be {RULES[key].wanted}; got {value!r}; {advice}.{close}'
  )
