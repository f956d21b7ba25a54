# SPDX-License-Identifier: Apache-2.0
"""Resolves a config: translates old keys, fills what is open, checks values.

Three steps, in this order, and the only code that writes to a config:

    config = complete(config)                  # every key, in today's names
    config = fill_and_check(config)            # the model's input; all choices
    config = resolve(config, splits)           # once the videos are counted
"""

from collections.abc import Mapping
import copy
import dataclasses
import json
import logging
import os
import pathlib
from typing import Any

from flax import traverse_util
import ml_collections
import numpy as np

from flatten_jax import hub, models, paths
from flatten_jax.inputs.augment import flips, transforms
from flatten_jax.inputs.flow import fields as flow
from flatten_jax.inputs.sources.videos import Videos, training_videos
from flatten_jax.runtime import portable
from flatten_jax.runtime.configuration import (
  clip_rules,
  config_keys,
  config_rules,
  default_config,
  multi_label_rules,
  recipe_rules,
)
from flatten_jax.runtime.configuration.config_keys import value_of
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.workdir import gcs_workdir

log = logging.getLogger('flatten_jax')

FLOW_FRAMES = 10  # Of a model of RGB that gets flow: Two-Stream's.


def complete(
  config: Mapping[str, Any] | ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Returns a copy with every key of `default_config.base()`.

  Args:
    config: of a config file, a checkpoint or a caller; keys of earlier versions
      are translated, absent keys get their defaults, and the group `compare`
      is left out.

  Raises:
    TypeError: `config` is not a config.
    ValueError: there is a key that is neither known nor a model option.
  """
  full = default_config.base()
  given = config_keys.translate(flat(config))
  with full.ignore_type():
    for key, value in given.items():
      if key.startswith('compare.'):
        continue  # Of several runs, see `experiments/compare.py`.
      config_keys.check(key)
      parent, _, name = key.rpartition('.')
      section = full[parent] if parent else full
      if isinstance(value, float) and isinstance(section.get(name), int):
        value = int(value) if value.is_integer() else value
      section[name] = _as_in_a_file(value)
  return full


def _as_in_a_file(value: Any) -> Any:
  """Returns a value from Python or JSON in the type that a config has."""
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  elif isinstance(value, os.PathLike):
    value = os.fspath(value)
  if isinstance(value, list | tuple):
    return tuple(map(_as_in_a_file, value))
  return value


def of_checkpoint(info: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Returns the complete config in the metadata of a checkpoint.

  Raises:
    ValueError: a later version of this package wrote it.
  """
  found = info.get('format', 1)
  if found > config_keys.FORMAT:
    raise ValueError(
      'A later version of flatten_jax wrote this checkpoint, in format '
      f'{found}; this version reads up to {config_keys.FORMAT}. Upgrade '
      'flatten_jax.'
    )
  try:
    return complete(config_keys.BEFORE | flat(info['config']))
  except ValueError as error:
    raise ValueError(
      f'{error} It comes from a checkpoint: if a later version of flatten_jax '
      'wrote it, upgrade.'
    ) from error


def flat(
  config: Mapping[str, Any] | ml_collections.ConfigDict,
) -> dict[str, Any]:
  """Returns a copy of a config with dotted keys, {'data.crop': 224}."""
  if not isinstance(config, Mapping | ml_collections.ConfigDict):
    raise TypeError(
      f'A config is a ConfigDict or a dict of its keys; got {config!r}. From a '
      'file: `from configs import folder; config = folder.get_config()`.'
    )
  if isinstance(config, ml_collections.ConfigDict):
    config = config.copy_and_resolve_references().to_dict()
  return traverse_util.flatten_dict(copy.deepcopy(config), sep='.')


def fill_and_check(
  config: ml_collections.ConfigDict,
  saved: ml_collections.ConfigDict | None = None,
  trusted: ml_collections.ConfigDict | None = None,
) -> ml_collections.ConfigDict:
  """Fills in the model's input spec and refuses every wrong value.

  Needs neither videos nor a model, so that a mistake is found in the first
  second.

  Args:
    config: from `complete`.
    saved: config of the checkpoint that is resumed; takes precedence over the
      model's input spec.
    trusted: as for `config_rules.check_all`.

  Raises:
    ValueError: a value is wrong; the message lists the right ones.
  """
  config_rules.check_all(config, trusted)
  config = config.copy_and_resolve_references()
  check_model(config)
  multi_label_rules.adapt(config)
  is_new = saved is None and trusted is None
  keeps_sides = is_new and has_mirrored_default(config, config.model.name)
  fill_input(config, saved)
  if keeps_sides:
    config.data.num_crops = 3
  if 0 < config.epochs <= config.warmup_epochs:
    raise ValueError(
      f'config.warmup_epochs must be less than config.epochs={config.epochs:g}'
      f'; got {config.warmup_epochs:g}. Write --config.warmup_epochs=-1 for a '
      'tenth of the epochs.'
    )
  recipe_rules.check(config, trusted)
  clip_rules.check(config, trusted)
  multi_label_rules.check(config)
  return config


def has_mirrored_default(config: ml_collections.ConfigDict, name: str) -> bool:
  """Returns whether a model's ten crops do not suit a config that has none.

  Half of them are mirrored, which is wrong where sides tell classes. Published
  weights keep those of their own test.

  Args:
    config: before the model's input was filled in.
    name: of the model, which `config` may leave open.
  """
  crops = models.input_spec(name).num_crops
  is_open = config.data.num_crops == 0 and not config.data.views
  sides = flips.told_sides(config.data)
  return is_open and crops == transforms.TEN_CROPS and bool(sides)


def check_model(config: ml_collections.ConfigDict) -> None:
  """Refuses a model, or an option of it, that does not exist."""
  options = config.model.to_dict()
  name = options.pop('name')
  del options['pretrained']
  models.check_options(name, options)


def check_initial_weights(config: ml_collections.ConfigDict) -> None:
  """Refuses initial weights that do not exist; only a new run needs them."""
  source = config.model.pretrained
  if source and not paths.expand(source).is_dir():
    models.check_weights(config.model.name, source)


def fill_input(
  config: ml_collections.ConfigDict,
  saved: ml_collections.ConfigDict | None = None,
  spec: models.InputSpec | None = None,
) -> None:
  """Fills in, in place, what `config` leaves to the model's input spec.

  Args:
    config: complete.
    saved: config of a checkpoint; takes precedence.
    spec: of a model that is not in the registry.
  """
  name, pretrained = config.model.name, config.model.pretrained
  spec = spec or models.input_spec(name, pretrained)
  if config.clip_model == 'one_frame':
    spec = dataclasses.replace(spec, num_frames=1, stride=1, test_frames=0)
  filled = {
    'mean': tuple(spec.mean),
    'std': tuple(spec.std),
    'channels': spec.channels,
    'eval_average': spec.average,
    'mix_partners': 'neighbors',
    'data.input': spec.input,
    'data.flow_frames': spec.flow_frames,
    'data.num_frames': spec.num_frames,
    'data.sampling': spec.sampling,
    'data.stride': spec.stride,
    'data.crop': spec.crop,
    'data.num_clips': spec.num_clips,
    'data.num_crops': spec.num_crops,
    'data.test_frames': spec.test_frames,
    'data.test_crop': _scaled(spec, spec.test_crop, config.data.crop),
    'data.test_short_side': _scaled(
      spec, spec.test_short_side, config.data.crop
    ),
  }
  of_weights = ('mean', 'std', 'channels')
  # A checkpoint has them, and the weights that it began with may be gone.
  is_open = saved is None and not all(value_of(config, k) for k in of_weights)
  if is_open and (source := config_of_weights(pretrained)):
    filled |= {key: value_of(source, key) or filled[key] for key in of_weights}
  _fill_flow(config, filled)
  if saved is not None:
    # A run keeps the groups that it began with, on any number of devices.
    filled |= {'batch_norm_groups': 0, 'grad_clip_groups': 0}
    filled |= {key: value_of(saved, key) or filled[key] for key in filled}
    if saved.data.group == 'none':  # Also of a run from before the key.
      filled['data.group'] = 'none'
  if {config.channels, filled['channels']} == {'rgb', 'bgr'}:
    filled |= {key: filled[key][::-1] for key in ('mean', 'std')}
  if config.clip_model == 'one_frame' and config.data.num_frames > 1:
    text = "config.clip_model='one_frame': 1 frame, not data.num_frames=%d"
    log.warning(text, config.data.num_frames)
    config.data.num_frames = 1
  for key, value in filled.items():
    if not value_of(config, key):
      config.update_from_flattened_dict({key: value})
  options = _missing_options(config, saved)
  with config.model.unlocked():
    config.model.update(options)


def _missing_options(
  config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict | None
) -> dict[str, Any]:
  """Returns the options of the network that a config leaves to its weights.

  A checkpoint has them; the weights that it began with may be gone.
  """
  name, pretrained = config.model.name, config.model.pretrained
  if saved is not None and saved.model.name == name:
    options = saved.model.to_dict()
  else:
    options = models.weights_options(name, pretrained)
  return {key: x for key, x in options.items() if key not in config.model}


def from_random_weights(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Returns a filled config of the same network without initial weights.

  Weights decide on options of the network, on its input and on a recipe, so
  they are left out only when all of these are filled in.
  """
  config = config.copy_and_resolve_references()
  config.model.pretrained = ''
  return config


def _fill_flow(
  config: ml_collections.ConfigDict, filled: dict[str, Any]
) -> None:
  """Fills in what depends on the input that was chosen, RGB or flow.

  The mean and the deviation of RGB become those of flow, and flow has ten
  fields, as Two-Stream's, if the model and its weights are of RGB.
  """
  chosen = config.data.input or filled['data.input']
  if 'flow' not in chosen:
    filled['data.flow_frames'] = 0
  elif not filled['data.flow_frames']:
    filled['data.flow_frames'] = FLOW_FRAMES
  if chosen == 'flow':
    filled['mean'] = (flow.ZERO / 255,) * 3
    filled['std'] = (float(np.mean(filled['std'])),) * 3


def _scaled(spec: models.InputSpec, side: int, crop: int) -> int:
  """Returns a side of test views in proportion to another crop."""
  return round(side * (crop or spec.crop) / spec.crop)


def saved_config_of(
  workdir: str | os.PathLike,
) -> ml_collections.ConfigDict | None:
  """Returns the config in the newest checkpoint of a workdir, if there is one.

  Reads one small file, without Orbax, before devices and processes are ready.

  Raises:
    ValueError: a later version of this package wrote the checkpoint.
  """
  if not workdir:
    return None
  root = gcs_workdir.checkpoint_root(workdir) / 'checkpoints'
  if not root.is_dir():
    return None
  steps = [path for path in root.iterdir() if path.name.isdigit()]
  for step in sorted(steps, key=lambda path: int(path.name), reverse=True):
    try:
      info = json.loads((step / 'info' / 'metadata').read_text())
      info['config'].keys()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
      continue  # Damaged; restoring it will report that.
    return of_checkpoint(info)
  return None


def config_of_weights(
  source: str | os.PathLike,
) -> ml_collections.ConfigDict | None:
  """Returns the config that weights were trained with, if they bring one.

  Args:
    source: as `config.model.pretrained`: a workdir, the folder of a model that
      was pushed, its address on the Hub, a file that was exported, or others,
      which bring none.

  Raises:
    ValueError: what the folder says is wrong, or a later version wrote it.
  """
  if not source:
    return None
  folder = hub.local(source)
  return (
    saved_config_of(source)
    or config_of_model(folder)
    or config_of_exported(folder)
  )


def config_of_model(folder: pathlib.Path) -> ml_collections.ConfigDict | None:
  """Returns the config of a model that was pushed; None of another folder.

  It may come from anybody: every value is checked, and none names a path.

  Raises:
    ValueError: a value is wrong, or a later version wrote it.
  """
  if not portable.is_model(folder):
    return None
  described = portable.read(folder)
  with portable.naming(folder / hub.CONFIG):
    return _checked(of_checkpoint(described))


def config_of_exported(
  path: pathlib.Path,
) -> ml_collections.ConfigDict | None:
  """Returns the config in a file of weights that was exported, as above."""
  described = portable.read_file(path)
  with portable.naming(path):
    return described and _checked(of_checkpoint(described))


def _checked(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Checks every value; earlier versions took keys without effect."""
  config_rules.check_all(config)
  return fill_and_check(config, trusted=config)


def config_of_run(
  workdir: str | os.PathLike,
) -> ml_collections.ConfigDict | None:
  """Returns the config that a run was started with; None if there is no run.

  It is in the newest checkpoint or, before there is one, in run.json; of a
  model that was pushed, in config.json.
  """
  if (config := config_of_weights(workdir)) is not None:
    return config
  path = gcs_workdir.checkpoint_root(workdir) / 'run.json'
  try:
    return complete(json.loads(path.read_text())['config'])
  except (OSError, ValueError, KeyError):
    return None


def resolve(
  config: ml_collections.ConfigDict, splits: Mapping[str, Videos]
) -> ml_collections.ConfigDict:
  """Fills in what depends on the videos, and checks it.

  With `epochs=-1`, about 100 000 clips are seen, in 20 to 150 epochs; with
  `warmup_epochs=-1`, it is a tenth of the epochs.

  Args:
    config: from `fill_and_check`.
    splits: of the data.

  Raises:
    ValueError: there are no training videos, the batch does not divide over the
      devices, a flip is about a class that does not exist, a key needs
      validations that there are not, or more epochs are frozen than there are.
  """
  train, config = training_videos(splits), resolve_devices(config)
  recipe_rules.check_validation(config, splits)
  if config.data.flip_pairs or config.data.flip_except:
    flips.of_data(config.data, train.class_names)
  num_videos = len(train)
  if config.epochs < 0:
    config.epochs = float(np.clip(round(100_000 / num_videos), 20, 150))
    log.info('%.0f epochs, chosen for %d videos', config.epochs, num_videos)
    recipe_rules.check_steps(config)
  if config.freeze_epochs > config.epochs:
    raise ValueError(
      f'config.freeze_epochs must be at most config.epochs={config.epochs:g}; '
      f'got {config.freeze_epochs:g}.'
    )
  if config.warmup_epochs < 0:
    config.warmup_epochs = config.epochs / 10
  if text := recipe_rules.few_steps(config, num_videos):
    log.warning('%s', text)
  return config


def resolve_devices(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Fills in what depends on the number of devices, and checks it.

  Raises:
    ValueError: the batch does not divide over them, or into its groups.
  """
  config = config.copy_and_resolve_references()
  recipe_rules.check_batch_size(config)
  recipe_rules.choose_clip_groups(config)
  return batch_norm.choose_groups(config)
