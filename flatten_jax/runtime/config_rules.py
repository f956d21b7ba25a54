# SPDX-License-Identifier: Apache-2.0
"""The values that each config key can take, as one table of rules."""

from collections.abc import Callable, Sequence
import dataclasses
import math
import numbers
from typing import Any

from flatten_jax import models
from flatten_jax.inputs.sampling import rules as sampling_rules
from flatten_jax.runtime import default_config
from flatten_jax.runtime.devices import batch_norm, sharding
from flatten_jax.text import did_you_mean

MAX_SEED = 2**32 - 1  # Larger ones would wrap around in JAX's keys.


@dataclasses.dataclass(frozen=True)
class Rule:
  """The values of a key.

  Attributes:
    wanted: the values in words, after "must be".
    takes: returns whether a value is one of them.
  """

  wanted: str
  takes: Callable[[Any], bool]


def real(
  low: float | None = None,
  high: float | None = None,
  *,
  above: float | None = None,
  below: float | None = None,
  also: float | None = None,
) -> Rule:
  """Takes finite numbers: `low` and `high` allowed, `above` and `below` not."""

  def takes(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      return False
    return value == also or (
      math.isfinite(value)
      and (low is None or low <= value)
      and (high is None or value <= high)
      and (above is None or above < value)
      and (below is None or value < below)
    )

  lower = f'{low:g} or more' if above is None else f'more than {above:g}'
  upper = f' and at most {high:g}' if high is not None else ''
  upper = f' and less than {below:g}' if below is not None else upper
  words = f'from {low:g} to {high:g}' if None not in (low, high) else ''
  words = f'a number, {words or lower + upper}'
  return Rule(words + ('' if also is None else f', or {also:g}'), takes)


def whole(low: int, high: int | None = None, also: int | None = None) -> Rule:
  """Takes whole numbers from `low` to `high`."""
  number = real(low, high, also=also)
  words = f'{low} or more' if high is None else f'from {low} to {high}'
  words += '' if also is None else f', or {also}'
  return Rule(
    f'a whole number, {words}',
    lambda value: isinstance(value, numbers.Integral) and number.takes(value),
  )


def one_of(*choices: str) -> Rule:
  """Takes one of a few words."""
  return Rule(
    ' or '.join(map(repr, choices)),
    lambda value: isinstance(value, str) and value in choices,
  )


def several(length: int, each: Rule, *, empty: bool = False) -> Rule:
  """Takes `length` values of one rule, or () if `empty`."""

  def takes(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
      return False
    fits = len(value) == length or (empty and not value)
    return fits and all(map(each.takes, value))

  return Rule(f'{length} values, each {each.wanted}', takes)


def limits(each: Rule) -> Rule:
  """Takes a pair of the lowest and the highest value."""
  pair = several(2, each)
  return Rule(
    f'(lowest, highest), each {each.wanted}',
    lambda value: pair.takes(value) and value[0] <= value[1],
  )


def instance(kind: type, wanted: str) -> Rule:
  """Takes values of one type."""
  return Rule(wanted, lambda value: isinstance(value, kind))


def ascending(each: Rule) -> Rule:
  """Takes any number of values, each larger than the one before."""

  def takes(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
      return False
    return all(map(each.takes, value)) and list(value) == sorted(set(value))

  return Rule(f'values in ascending order, each {each.wanted}', takes)


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
  'channels': ('rgb', 'bgr', ''),
  'data.crop_method': ('area', 'scale', 'inverse_scale', 'scale_each_axis'),
  'data.erasing_fill': ('noise', 'mean'),
  'optimizer': ('adamw', 'sgd'),
  'schedule': ('cosine', 'cosine_by_epoch', 'steps'),
  'batch_norm': batch_norm.CHOICES,
  'data.sampling': (*sampling_rules.RULES, ''),
  'eval_average': ('logits', 'probs', ''),
  'eval_frame_order': ('forward', 'reversed', 'shuffled'),
  'mix_stage': ('before_flatten', 'after_flatten'),
  'model.dtype': models.DTYPES,
  'sharding': sharding.SHARDINGS,
  'test_checkpoint': ('last', 'best'),
}
# Before the model fills in what is left to it: 0, '' and () are allowed there.
RULES: dict[str, Rule] = {
  'adam_eps': _POSITIVE,
  'batch_norm_groups': _COUNT_OR_0,
  'batch_size': _COUNT,
  'beta1': _BELOW_ONE,
  'beta2': _BELOW_ONE,
  'compile_cache': _TEXT,
  'coordinator': _TEXT,
  'cutmix': _NOT_NEGATIVE,
  'data.class_names': _TEXT,
  'data.color_jitter': _NOT_NEGATIVE,
  'data.color_jitter_share': _SHARE,
  'data.crop': _COUNT_OR_0,
  'data.crop_area': limits(real(above=0, high=1)),
  'data.crop_aspect': limits(_POSITIVE),
  'data.crop_scale': limits(_POSITIVE),
  'data.flip': _SWITCH,
  'data.fold': whole(0, also=-1),
  'data.folds': whole(2),
  'data.frame_cache_gib': _NOT_NEGATIVE,
  'data.grayscale_share': _SHARE,
  'data.holdout': _SHARE,
  'data.image_crop': _COUNT_OR_0,
  'data.image_share': _BELOW_ONE,
  'data.images': _TEXT,
  'data.index': _TEXT,
  'data.motion_clips': whole(12, also=0),
  'data.num_clips': _COUNT_OR_0,
  'data.num_crops': _COUNT_OR_0,
  'data.num_frames': _COUNT_OR_0,
  'data.prefix': _TEXT,
  'data.randaugment': _TEXT,
  'data.random_erasing': _SHARE,
  'data.repeat_frame': _SWITCH,
  'data.repeated_aug': _COUNT,
  'data.root': _TEXT,
  'data.short_side': _COUNT_OR_0,
  'data.split_dir': _TEXT,
  'data.stride': _COUNT_OR_0,
  'data.test': _TEXT,
  'data.test_frames': _COUNT_OR_0,
  'data.test_short_side': _COUNT_OR_0,
  'data.threads': _COUNT_OR_0,
  'data.time_limit': _NOT_NEGATIVE,
  'data.train': _TEXT,
  'data.val': _TEXT,
  'data.val_clips': _COUNT,
  'data.val_crops': _COUNT,
  'data.views': _TEXT,
  'data.workers': _COUNT_OR_0,
  'decay_all': _SWITCH,
  'distributed': _SWITCH,
  'ema': _BELOW_ONE,
  'epochs': _NOT_NEGATIVE,
  'eval_every': _NOT_NEGATIVE,
  'eval_views': _COUNT,
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
  'lr': real(0, 10),
  'lr_step_factor': _SHARE,
  'lr_steps': ascending(_NOT_NEGATIVE),
  'mean': several(3, _SHARE, empty=True),
  'mesh.data': whole(1, also=-1),
  'mesh.model': _COUNT,
  'min_lr': _SHARE,
  'mixup': _NOT_NEGATIVE,
  'model.drop_path_rate': _BELOW_ONE,
  'model.name': _TEXT,
  'model.pretrained': _TEXT,
  'model.remat': _SWITCH,
  'momentum': _BELOW_ONE,
  'nesterov': _SWITCH,
  'num_processes': _COUNT_OR_0,
  'param_groups': PARAM_GROUPS,
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
  'data.motion_clips': 'there are 12 classes',
  'data.time_limit': '0 is no limit',
  'epochs': '0 chooses it from the number of videos',
  'grad_clip_norm': '0 turns clipping off',
  'grid': '() for a square number of frames',
  'lr': 'AdamW takes up to 1',
  'mean': 'of pixels in [0, 1], so divide by 255',
  'std': 'of pixels in [0, 1], so divide by 255',
  'warmup_epochs': '-1 is a tenth of the epochs',
}


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
  default = default_config.base().to_dict()
  for part in key.split('.'):
    default = default[part]
  advice = ADVICE.get(key, f'the default is {default!r}')
  close = did_you_mean(value, CHOICES.get(key, ()))
  return (
    f'config.{key} must be {RULES[key].wanted}; got {value!r}; {advice}.{close}'
  )
