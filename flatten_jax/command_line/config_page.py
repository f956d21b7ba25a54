# SPDX-License-Identifier: Apache-2.0
"""The page of `--mode=config`: every key with its value and its comment."""

import ast
from collections.abc import Iterator
import inspect
import pathlib
import re
import textwrap
from typing import Any

import ml_collections

from flatten_jax.command_line.arguments import config_files
from flatten_jax.inputs.sources.published_sets import WITH_CONFIGS
from flatten_jax.runtime.configuration import default_config
from flatten_jax.runtime.configuration.config_keys import value_of
from flatten_jax.text import sanitize

_ASSIGNMENT = re.compile(r'(?:config|data)\.([\w.]+) = .*?(  # .*)?$')
_DATA_SETS = {prefix: made.title for prefix, made in WITH_CONFIGS.items()}
_OTHERS = 'Other videos'


def page(config: ml_collections.ConfigDict | None) -> str:
  """Returns the keys of a config as text; all configs for None.

  The comments are those of `runtime/configuration/default_config.py`. A value
  that differs from the default is followed by the default. What a recipe
  chooses is chosen if the config has videos, and else named.
  """
  if config is None:
    return _all_configs()
  from flatten_jax.runtime import context  # It needs jax.

  values, is_open = context.settled(config)
  defaults = default_config.base().to_dict()
  lines = [*_lines('', default_config.base, values, is_open, defaults)]
  return '\n'.join(lines)


def _lines(
  group: str, function: Any, values: dict, is_open: list[str], defaults: dict
) -> Iterator[str]:
  """Yields the lines of a function of `default_config`, with other values."""
  source = inspect.getsource(function)
  body = source.partition('"""\n')[2]  # After the docstring.
  for line in textwrap.dedent(body).splitlines()[1:]:
    match = _ASSIGNMENT.match(line)
    if not match:
      if not line.startswith('return'):
        yield line
      continue
    key = f'{group}{match[1]}'
    value, default = (value_of(x, key) for x in (values, defaults))
    if key == 'data':
      yield from _lines('data.', default_config.data, values, is_open, defaults)
    elif isinstance(value, dict):
      yield from _options(key, value, default)
    elif key in is_open:
      yield f'{key}: chosen by the videos and the device'
    else:
      comment = match[2] or ''
      if value != default:
        comment = f'  # Default: {default!r}.{comment.replace("  #", "")}'
      yield f'{key} = {value!r}{comment}'


def _options(key: str, value: dict, default: dict) -> Iterator[str]:
  """Yields the options of a group that have no line in the source."""
  for name in sorted(value.keys() - default.keys()):
    yield f'{key}.{name} = {value[name]!r}'


def _all_configs() -> str:
  """Returns the configs by data set, each with the first line of its text."""
  groups: dict[str, list[str]] = {}
  for name, file in config_files().items():
    data_set = _DATA_SETS.get(name.partition('_')[0], _OTHERS)
    text = ast.get_docstring(ast.parse(pathlib.Path(file).read_text())) or ''
    about = sanitize(text.partition('\n')[0])
    groups.setdefault(data_set, []).append(f'  {name:<30}  {about}'.rstrip())
  titles = [_OTHERS, *_DATA_SETS.values()]
  parts = [
    '\n'.join([title, *groups[title]]) for title in titles if title in groups
  ]
  return '\n\n'.join(parts)
