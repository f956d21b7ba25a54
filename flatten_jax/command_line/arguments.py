# SPDX-License-Identifier: Apache-2.0
"""Reads the words of a command as they are meant, or says what to write.

Names of configs become files, and config keys of earlier versions today's. What
web pages and word processors do to dashes and quotes is undone.
"""

import collections
from collections.abc import Iterator, Sequence
import os
import pathlib
import re
import sys

from absl import flags

from flatten_jax.runtime.configuration import config_keys, default_config
from flatten_jax.text import did_you_mean


class UsageError(ValueError):
  """A command that cannot be meant; the message says what to write."""


_DASHES = '\u2010-\u2015\u2212-'  # Hyphens, dashes, and the minus sign.
_QUOTES = '"\'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb`'


def read(argv: Sequence[str]) -> list[str]:
  """Returns a command in the words that absl and config_flags understand.

  Raises:
    UsageError: a flag has no value, or a config or its key does not exist.
  """
  rewritten = [argv[0]]
  words = collections.deque(map(_plain, argv[1:]))
  after_mode = len(argv) > 1 and not argv[1].startswith('-')
  while words:
    word = words.popleft()
    given, equals, value = word.lstrip('-').partition('=')
    name = _full_name(given) if after_mode else given
    if word in ('-', '--') or not word.startswith('-'):
      rewritten.append(word)
      continue
    if not equals:
      following = words[0] if words else '--'
      if _takes_value(name):
        if following.startswith('--'):
          raise UsageError(_no_value(given))
      elif not _is_bool(name) or following.lower() not in ('true', 'false'):
        rewritten.append(f'--{name}')
        continue
      value = words.popleft()
    rewritten += _rewrite(name, value)
  _check_one_frame(rewritten)
  # config_flags wants the config before its keys.
  return [argv[0], *sorted(rewritten[1:], key=_follows_config)]


def _full_name(name: str) -> str:
  """Returns 'config.data.crop' for 'crop', unless it is a flag by itself.

  'noflip' is 'noconfig.data.flip'.
  """
  plain = name.replace('-', '_')
  if plain in flags.FLAGS:
    return plain
  names = {key.rpartition('.')[2]: key for key in config_keys.known_keys()}
  key = config_keys.OTHER_NAMES.get(plain) or names.get(plain)
  if key is None and plain in config_keys.known_keys():
    key = plain
  if key:
    return f'config.{key}'
  positive = _full_name(plain[2:]) if plain.startswith('no') else ''
  is_key = positive.startswith('config.') and _is_bool(positive)
  return f'no{positive}' if is_key else name


def _no_value(name: str) -> str:
  return f'--{name} has no value. Write --{name}=VALUE, without blanks.'


def _follows_config(word: str) -> bool:
  return not word.startswith('--config=')


def _check_one_frame(words: Sequence[str]) -> None:
  """Refuses several frames next to `clip_model=one_frame`."""
  values = dict(word[2:].split('=', 1) for word in words if '=' in word)
  frames = values.get('config.data.num_frames', '0')
  if values.get('config.clip_model') == 'one_frame' and frames not in '01':
    raise UsageError(
      '--config.clip_model=one_frame takes 1 frame of a video; got '
      f'--config.data.num_frames={frames}. Leave it out.'
    )


def _plain(word: str) -> str:
  """Undoes typographic dashes, and quotes that the shell did not remove."""
  word = re.sub(f'^[{_DASHES}]+(?=[A-Za-z])', '--', word)
  name, _, value = word.partition('=')
  ends = {*value[:1], *value[-1:]}
  quoted = len(value) > 1 and ends <= {*_QUOTES} and not ends & {*value[1:-1]}
  return f'{name}={value[1:-1]}' if quoted and word.startswith('-') else word


def _takes_value(name: str) -> bool:
  """Returns whether the value of a flag is the next word, without a '='."""
  is_known = name in flags.FLAGS or name.startswith('config.')
  return is_known and not _is_bool(name)


def _is_bool(name: str) -> bool:
  """Returns whether a flag, or a key of a config, is True or False."""
  if name in flags.FLAGS:
    return flags.FLAGS[name].boolean
  group, _, key = name.partition('.')
  default = default_config.base().to_dict()
  for part in config_keys.RENAMED.get(key, key).split('.'):
    default = default.get(part, '') if isinstance(default, dict) else ''
  return group == 'config' and isinstance(default, bool)


def _rewrite(name: str, value: str) -> Iterator[str]:
  """Yields a flag with its value, as it is understood."""
  is_key = re.fullmatch(r'(no)?config\.(.*)', name)
  # '' is the default of --views, as "$VIEWS" may be.
  if not value and name in flags.FLAGS and name != 'views':
    raise UsageError(_no_value(name))
  if name == 'config':
    path, colon, arguments = value.partition(':')
    yield f'--config={find_config(path)}{colon}{arguments}'
  elif is_key:
    prefix, old = is_key[1] or '', is_key[2]
    key = config_keys.RENAMED.get(old, old)
    for notice in config_keys.notices([old]):
      print(notice, file=sys.stderr)
    config_keys.check(key)
    if key == 'loggers' and ',' in value and value[0] not in '([':
      # As other flags take several, perhaps each in quotes.
      value = repr(tuple(x.strip(f'{_QUOTES} ') for x in value.split(',')))
    values = config_keys.RENAMED_VALUES.get(key, {})
    yield f'--{prefix}config.{key}={values.get(value, value)}'
  else:
    yield f'--{name}={value}'


def find_config(name: str) -> str:
  """Returns the file of a config, which may be given by name, 'quickstart'.

  Looks into configs/ of the working directory, of the checkout and of the
  installed package.

  Raises:
    UsageError: there is no such file, or it is not a config.
  """
  name = os.path.expanduser(name)
  if pathlib.Path(name, 'checkpoints').exists():
    raise UsageError(f'{name} is a workdir, not a config: --workdir={name}')
  if pathlib.Path(name).is_file():
    if not name.endswith('.py') or 'get_config' not in _text(name):
      raise UsageError(
        f'{name} is not a config: a Python file with get_config(arg). '
        f'There are {", ".join(config_files())}.'
      )
    return name
  files = config_files()
  match = re.fullmatch(r'(?:configs[/\\])?(\w+)(?:\.py)?', name)
  if match and match[1] in files:
    return files[match[1]]
  plain = re.split(r'[/\\.,]', name.removeprefix('configs/'))[0]
  close = did_you_mean(plain, files)
  if ',' in name:
    close += ' Arguments follow a colon: --config=FILE:name=value,name=value.'
  raise UsageError(
    f'There is no config {name!r}.{close} There are {", ".join(files)}, or '
    'give a file.'
  )


def config_files() -> dict[str, str]:
  """Returns the files of all configs by name."""
  package = pathlib.Path(__file__).parents[1]
  found = {}
  for folder in (package, package.parent, pathlib.Path('.')):
    for path in sorted((folder / 'configs').glob('*.py')):
      if path.stem not in ('__init__', 'common'):
        found[path.stem] = str(path)
  return found


def _text(path: str) -> str:
  return pathlib.Path(path).read_text(encoding='utf-8', errors='replace')
