# SPDX-License-Identifier: Apache-2.0
"""The systems of a comparison: `config.compare`, and the config of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from flatten_jax.models import MODELS
from flatten_jax.runtime.configuration import (
  config as configs,
  default_config,
  recipes,
)
from flatten_jax.text import did_you_mean
from flatten_jax.training import schedules

BUDGETS = ('clips', 'gflops', 'minutes')


def read_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the group `compare` of a config, with every key.

  Raises:
    ValueError: it has no systems, or a value is wrong.
  """
  defaults = default_config.compare().to_dict()
  section = config.get('compare') or {}
  given = getattr(section, 'to_dict', lambda: section)()
  if unknown := given.keys() - defaults.keys():
    name = min(unknown)
    raise ValueError(
      f'There is no config.compare.{name}.{did_you_mean(name, defaults)}'
    )
  options = defaults | given
  options['systems'] = dict(options['systems'])
  if not options['systems']:
    raise ValueError(
      'There are no systems to compare: config.compare.systems has none. Use '
      '--config=configs/compare.py, or :clips=0 behind it for other videos.'
    )
  if options['budget'] not in BUDGETS:
    raise ValueError(
      f'config.compare.budget must be one of {", ".join(BUDGETS)}; got '
      f'{options["budget"]!r}.{did_you_mean(options["budget"], BUDGETS)}'
    )
  if not options['learning_rates'] or not 0 < options['trial'] <= 1:
    raise ValueError(
      'config.compare.learning_rates must have a rate or more, and '
      'config.compare.trial be a share of 1.'
    )
  return options


def choose(listed: Mapping[str, Any], systems: Sequence[str]) -> list[str]:
  """Returns the systems that are named, in the order of the list; () is all.

  Raises:
    ValueError: one is not in the list.
  """
  systems = [systems] if isinstance(systems, str) else systems
  for name in systems:
    if name not in listed:
      raise ValueError(
        f'There is no system {name!r}.{did_you_mean(name, listed)} Choose from '
        f'{", ".join(listed)}.'
      )
  return [name for name in listed if name in systems or not systems]


def system_config(
  config: ml_collections.ConfigDict, name: str, changes: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  """Returns the config of a system.

  Raises:
    ValueError: values are left open, or a change is of an unknown key.
  """
  own = {'model.name': name} if name in MODELS else {}
  own |= dict(changes) | {'order_report': False}
  found = configs.complete(configs.flat(config) | own)
  if still_open := recipes.open_keys(found):
    raise ValueError(
      f'Systems that are compared share all values; config.{still_open[0]} is '
      'left open. Give it one, or use --config=configs/compare.py.'
    )
  return found


def scaled(
  config: ml_collections.ConfigDict, factor: float
) -> ml_collections.ConfigDict:
  """Returns a config whose durations are `factor` times as long.

  Raises:
    ValueError: `config.epochs` is 0, which leaves them to the videos.
  """
  if not config.epochs:
    raise ValueError(
      'Systems are compared after a number of epochs; got config.epochs=0. '
      'Write e.g. --config.epochs=24.'
    )
  return schedules.scaled(config, factor)
