# SPDX-License-Identifier: Apache-2.0
"""Says in one line what is wrong with a command, and what to write."""

from collections.abc import Collection, Sequence
import os
import re

from absl import flags

from flatten_jax.command_line.arguments import UsageError
from flatten_jax.runtime.configuration import config_keys
from flatten_jax.text import nearest

# Raised for bad input, full disks and diverging runs, with a message for users.
# Anything else is a bug, and shown in full.
EXPECTED = (ValueError, OSError, RuntimeError, FloatingPointError, flags.Error)


def is_expected(error: Exception) -> bool:
  """Returns True if the message of an error is enough for a user."""
  return isinstance(error, EXPECTED) or unknown_key(error) is not None


def unknown_key(error: Exception) -> str | None:
  """Returns ml_collections' message about a key that a config lacks."""
  cause = error.args[0] if error.args else None
  if isinstance(error, AttributeError) and isinstance(cause, KeyError):
    return str(cause.args[0])
  return None


def message_of(error: Exception, own_flags: Collection[str] = ()) -> str:
  """Returns the message for a user: without a class name and a traceback.

  Args:
    error: an expected one.
    own_flags: names of the flags that a typo may mean.
  """
  if isinstance(error, UsageError):
    return f'{error} (--help lists modes and flags.)'
  if isinstance(error, flags.UnrecognizedFlagError):
    return unknown_flag(error.flagname, own_flags)
  if (key := unknown_key(error)) is not None:
    # A config file sets it; flags were checked before.
    name, meant = key.split("'")[1], key.partition('"')[2].partition('"')[0]
    hint = f' Did you mean {meant}?' if meant else ''
    return f'The config has no {name}.{hint}'
  if isinstance(error, OSError) and error.strerror and error.filename:
    return f'{error.filename}: {error.strerror}'
  text = str(error).strip()
  if isinstance(error, flags.IllegalFlagValueError):
    return wrong_value(text)
  if 'Traceback (most recent call last)' not in text:
    return text
  lines = text.splitlines()
  last = max(i for i, line in enumerate(lines) if line.startswith('  '))
  return '\n'.join([lines[0], *lines[last + 1 :]])


def unknown_flag(name: str, own: Collection[str]) -> str:
  """Returns the message about a flag that does not exist.

  Args:
    name: of the flag.
    own: names of the flags that there are.
  """
  if name.startswith(('config.', 'noconfig.')):
    return (
      f'--{name} changes a value of a config: give --config=FILE as well, of '
      'the same run.'
    )
  key = name.replace('-', '_')
  names = {known.rpartition('.')[2] for known in config_keys.known_keys()}
  is_key = key in names.union(config_keys.known_keys(), config_keys.OTHER_NAMES)
  flag, config_key = nearest(name, own), config_keys.nearest_key(key)
  meant = flag and f'--{flag}'
  if config_key and (is_key or not flag):
    meant = f'--config.{config_key}'
  hint = f'Did you mean {meant}?' if meant else '--help lists all.'
  return f'There is no flag --{name}. {hint}'


def _wanted(name: str) -> str:
  """Returns what the value of a flag must be."""
  flag = flags.FLAGS[name]
  kind = _KINDS.get(flag.flag_type(), 'another value')
  lower = getattr(flag.parser, 'lower_bound', None)
  upper = getattr(flag.parser, 'upper_bound', None)
  if lower is None:
    return kind
  if upper is None:
    return f'{kind}, {lower} or more'
  return f'{kind}, from {lower} to {upper}'


_KINDS = {'bool': 'True or False', 'float': 'a number', 'int': 'a whole number'}


def wrong_value(text: str) -> str:
  """Returns absl's message about a flag's value in the form of ours."""
  match = re.match(r'flag --([\w.]+)=(.*?): (.*)', text, re.DOTALL)
  if match is None:
    return text
  name, value, reason = match.groups()
  if name == 'config':  # Other errors of a config file need their traceback.
    return reason.rpartition('\nValueError: ')[2]
  if name.startswith('config.'):
    from flatten_jax.runtime.configuration import config_rules  # It needs jax.

    if (key := name.removeprefix('config.')) in config_rules.RULES:
      return config_rules.message(key, value)
    return f'{name} must be another value; got {value!r}.'
  return f'--{name} must be {_wanted(name)}; got {value!r}.'


def unknown_words(
  words: Sequence[str], modes: Sequence[str], workdir: str | None = None
) -> str:
  """Returns the message about words that belong to no flag.

  Args:
    words: of the command.
    modes: that there are.
    workdir: of the command, if it has one.
  """
  word = words[0]
  if word in modes:
    hint = f'Write --mode={word} --workdir=FOLDER.'
  elif os.path.isfile(word) or (os.path.isdir(word) and not workdir):
    flag = 'workdir' if os.path.isdir(word) else 'video'
    hint = f'Write --{flag}={word}'
  elif re.match(r'[\w.]+=', word):
    hint = f'Write --{word}'
  else:
    hint = 'Write --flag=value; several values as --flag=a,b without blanks.'
  return f'{word!r} belongs to no flag. {hint}'
