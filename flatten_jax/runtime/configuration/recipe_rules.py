# SPDX-License-Identifier: Apache-2.0
"""Refuses keys of the optimizer and devices that contradict each other."""

from collections.abc import Mapping
import math

import ml_collections

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime.configuration import default_config
from flatten_jax.runtime.configuration.config_keys import value_of
from flatten_jax.runtime.devices import sharding

LEAST_STEPS = 10  # Of a training; fewer are warned of.

# Keys that act only if another key has one of certain values.
ACTS_WITH = {
  'flatten': ('clip_model', 'flatten'),
  'grid': ('clip_model', 'flatten'),
  'mix_stage': ('clip_model', 'flatten'),
  'lr_steps': ('schedule', 'steps'),
  'lr_step_factor': ('schedule', 'steps'),
  'momentum': ('optimizer', 'sgd'),
  'nesterov': ('optimizer', 'sgd'),
  'beta1': ('optimizer', 'adamw'),
  'beta2': ('optimizer', 'adamw'),
  'adam_eps': ('optimizer', 'adamw'),
  'precise_batch_norm': ('batch_norm_frozen', 'none', 'all_but_first'),
  'data.crop_area': ('data.crop_method', 'area'),
  'data.crop_aspect': ('data.crop_method', 'area'),
  'data.crop_scale': (
    'data.crop_method',
    'scale',
    'inverse_scale',
    'scale_each_axis',
  ),
  'data.crop_sizes': ('data.crop_method', 'multi_scale'),
  'data.crop_positions': ('data.crop_method', 'multi_scale'),
  'data.flow_frames': ('data.input', 'flow', 'rgb+flow'),
  'data.flow_method': ('data.input', 'flow', 'rgb+flow'),
  'data.flip_pairs': ('data.flip', True),
  'data.flip_except': ('data.flip', True),
}


def check(
  config: ml_collections.ConfigDict,
  trusted: ml_collections.ConfigDict | None = None,
) -> None:
  """Refuses optimizer keys that make no sense together.

  Args:
    config: complete; every value is one that its key can take.
    trusted: config of a checkpoint, whose learning rates and keys without
      effect are not checked.

  Raises:
    ValueError: two keys contradict each other; the message names both.
  """
  default = default_config.base()
  for key, (owner, *wanted) in ACTS_WITH.items():
    given, found = value_of(config, key), value_of(config, owner)
    if trusted and (given, found) == (
      value_of(trusted, key),
      value_of(trusted, owner),
    ):
      continue
    if given != value_of(default, key) and found not in wanted:
      words = ' or '.join(map(repr, wanted))
      raise ValueError(
        f'config.{key} acts with config.{owner}={words} only; got {given!r} '
        f'with {found!r}. Set both, or neither: its default is '
        f'{value_of(default, key)!r}.'
      )
  if config.nesterov and not config.momentum:
    raise ValueError('config.nesterov needs config.momentum; got 0, e.g. 0.9.')
  if config.grad_clip_groups != 1 and not config.grad_clip_norm:
    raise ValueError(
      'config.grad_clip_groups must be 1 without clipping; got '
      f'{config.grad_clip_groups} with grad_clip_norm=0.'
    )
  _check_refit(config)
  texts = [text for text, *_ in config.param_groups]
  if len(set(texts)) < len(texts):
    raise ValueError(
      f'config.param_groups must have each text once; got {texts}.'
    )
  _check_rates(config, trusted)
  check_steps(config)


def _check_refit(config: ml_collections.ConfigDict) -> None:
  """Refuses keys that a refit makes meaningless, or that it cannot follow."""
  keys = 'patience', 'data.weighted', 'data.multi_label'
  for key in keys if config.refit else ():
    if found := value_of(config, key):
      raise ValueError(
        f'config.refit=True acts without config.{key} only; got {found!r}. '
        'Set one of them.'
      )


def _check_rates(
  config: ml_collections.ConfigDict,
  trusted: ml_collections.ConfigDict | None,
) -> None:
  """Refuses learning rates that do not fit each other or the optimizer."""
  keys = ('lr', 'min_lr', 'warmup_lr', 'optimizer', 'schedule')
  if trusted and all(config[key] == trusted[key] for key in keys):
    return
  if config.optimizer == 'adamw' and config.lr > 1:
    raise ValueError(
      'config.lr must be at most 1 with AdamW, which moves every weight by '
      f'about lr in a step; got {config.lr:g}. SGD takes more.'
    )
  for key in ('min_lr', 'warmup_lr'):
    acts = key == 'warmup_lr' or config.schedule != 'steps'
    if acts and config[key] > config.lr:
      raise ValueError(
        f'config.{key} must be at most config.lr={config.lr:g}; got '
        f'{config[key]:g}.'
      )


def check_steps(config: ml_collections.ConfigDict) -> None:
  """Refuses `lr_steps` that are absent or do not come before the end."""
  if config.schedule != 'steps':
    return
  if not config.lr_steps:
    raise ValueError(
      "config.schedule='steps' needs the epochs of its steps, e.g. "
      '--config.lr_steps="(11, 14)"; got none.'
    )
  if 0 < config.epochs <= max(config.lr_steps):
    last = max(config.lr_steps)
    share = 0.9 * config.epochs / last
    fitting = [float(f'{share * epoch:.3g}') for epoch in config.lr_steps]
    raise ValueError(
      f'config.lr_steps must come before the end of {config.epochs:g} epochs; '
      f'got {last:g}. Set those of a shorter run too, e.g. --config.lr_steps="('
      f'{", ".join(map(str, fitting))},)".'
    )


def check_validation(
  config: ml_collections.ConfigDict, splits: Mapping[str, Videos]
) -> None:
  """Refuses keys that act on validations, if there are none.

  Args:
    config: of the run.
    splits: of the data.
  """
  has_val = 'val' in splits
  for split in ('val', 'test') if config.refit else ():
    if split not in splits or not splits[split].usable():
      raise ValueError(
        'config.refit=True trains on the val split too, before a test on the '
        f'test split; the data has no {split} split with labels. Use False.'
      )
  if config.refit and config.test_checkpoint == 'best':
    raise ValueError(
      'config.refit=True trains on all videos in the end and tests that; '
      "test_checkpoint='best' would test the validated training. Set one of "
      'them.'
    )
  if config.test_checkpoint == 'best' and not has_val:
    raise ValueError(
      "test_checkpoint='best' needs a val split to tell which one is best; "
      "there is none. Use 'last', or --config.data.val_holdout=0.2."
    )
  if config.patience and not has_val:
    raise ValueError(
      f'config.patience={config.patience:g} needs a val split to tell when '
      'nothing gets better; there is none. Use 0, or '
      '--config.data.val_holdout=0.2.'
    )
  if config.patience and not config.eval_every:
    raise ValueError(
      f'config.patience={config.patience:g} needs validations during training; '
      'config.eval_every=0 validates at the end. Use --config.eval_every=1.'
    )


def few_steps(config: ml_collections.ConfigDict, num_videos: int) -> str:
  """Returns a sentence about a schedule of fewer than ten steps, or ''.

  Args:
    config: resolved.
    num_videos: of the training.
  """
  batch, epochs = config.batch_size, config.epochs
  steps = max(1, round(epochs * num_videos / batch))
  # Steps for `data.images` come on top.
  if epochs < 0 or steps >= LEAST_STEPS or config.data.images:
    return ''
  devices = sharding.batch_parts(config)
  fitting = [n for n in range(devices, num_videos // 8 + 1, devices) if n >= 4]
  least = devices * math.ceil(4 / devices)
  smaller = min(batch, max([least, *fitting]))
  longer = max(epochs, math.ceil(10 * LEAST_STEPS * smaller / num_videos))
  flags = f'--config.batch_size={smaller} ' * (smaller < batch)
  flags += f'--config.epochs={longer:g} ' * (longer > epochs)
  count = round(longer * num_videos / smaller)
  return (
    f'{steps} {"step" if steps == 1 else "steps"} only, of {num_videos} videos '
    f'x {epochs:g} {"epoch" if epochs == 1 else "epochs"} in batches of '
    f'{batch}: next to nothing can be learned. Write {flags.rstrip()}, say, '
    f'which is {count} steps.'
  )


def choose_clip_groups(config: ml_collections.ConfigDict) -> None:
  """Replaces `grad_clip_groups=0`, in place, by the number of devices.

  Raises:
    ValueError: the clips of a step do not divide into the groups.
  """
  groups = config.grad_clip_groups or sharding.batch_parts(config)
  config.grad_clip_groups = groups
  parts = config.grad_accum_steps
  clips, rest = divmod(config.batch_size * config.data.repeated_aug, parts)
  if rest or clips % groups:
    fitting = [n for n in range(1, clips + 1) if clips % n == 0]
    raise ValueError(
      f'config.grad_clip_groups must divide the {clips} clips of a step'
      f'{f" in {parts} parts" if parts > 1 else ""}: one of '
      f'{", ".join(map(str, fitting))}; got {groups}.'
    )


def check_batch_size(config: ml_collections.ConfigDict) -> None:
  """Refuses a batch that does not divide over devices and accumulations."""
  devices = sharding.batch_parts(config)
  batch, parts = config.batch_size, config.grad_accum_steps
  if batch % devices:
    raise ValueError(
      f'config.batch_size must be a multiple of {devices}, the number of '
      f'devices; got {batch}.'
    )
  clips = batch * config.data.repeated_aug
  if clips % (devices * parts):
    each = clips // devices
    fitting = [n for n in range(1, each + 1) if each % n == 0]
    raise ValueError(
      'config.grad_accum_steps must divide the clips of a device, here '
      f'{each}: one of {", ".join(map(str, fitting))}; got {parts}.'
    )
