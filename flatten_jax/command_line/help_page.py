# SPDX-License-Identifier: Apache-2.0
"""The pages that --help prints: of all modes, or of one."""

from collections.abc import Iterable, Iterator, Sequence
import os
import textwrap

from flatten_jax.command_line.modes import GROUPS, MODES, OTHER_MODES
from flatten_jax.command_line.options import FLAGS

_WIDTH = 80
_COLUMN = 21  # Where explanations begin.


def program(file: str) -> str:
  """Returns how this program was called, from the first word of the command."""
  called = os.path.basename(file)
  if called == 'flatten-jax':
    return called
  is_module = called == '__main__.py'
  return 'python ' + ('-m flatten_jax' if is_module else 'main.py')


def page(argv: Sequence[str]) -> str:
  """Returns the help of the mode that the command names, or of all modes."""
  called = program(argv[0])
  named = [word.removeprefix('--mode=') for word in argv[1:]]
  named = [OTHER_MODES.get(word, word) for word in named]
  for name in named:
    if name in MODES:
      return '\n'.join(_one_mode(called, name))
  return '\n'.join(_all_modes(called))


def _all_modes(called: str) -> Iterator[str]:
  """Yields the lines about all modes."""
  yield f'{called} MODE ... [--flag=value ...]'
  for name in MODES:
    if name in GROUPS:
      yield f'\n{GROUPS[name]}'
    yield _row(f'  {name}', _about(name))
  yield '\nVIDEOS is a folder with one subfolder per class, or a list; CONFIG'
  yield 'the name of a config, RUN the folder of a run. For example:\n'
  for line in ('train /videos', 'predict runs/1 clip.mp4', 'config folder'):
    yield f'  {called} {line}'
  yield f'\n{called} MODE --help shows the flags of one mode.'
  yield from _flags(('workdir', 'debug'))
  yield _row('  --version', 'Prints the version.')


def _one_mode(called: str, name: str) -> Iterator[str]:
  """Yields the lines about one mode."""
  mode = MODES[name]
  words = ' '.join(filter(None, [called, name, mode.words.value]))
  yield f'{words} [--flag=value ...]\n'
  yield textwrap.fill(_about(name), _WIDTH)
  own = set(mode.flags) - {'config', *_FROM_WORDS}
  if own or mode.workdir:
    yield ''
  yield from _flags(sorted(own))
  if 'config' in mode.flags:
    yield from _flags(['config'])
    yield _row(
      '  --KEY=VALUE',
      'Another value of any key of the config, as --epochs=20; `config CONFIG` '
      'shows all keys. In full, and without a mode before it: '
      '--config.KEY=VALUE.',
    )
  if mode.workdir:
    new = ' Without it, the next of runs/1, runs/2, ...'
    yield _row(
      '  --workdir',
      FLAGS['workdir'].help + new * (mode.workdir == 'new'),
    )


# Flags that words after the mode give as well.
_FROM_WORDS = ('video', 'run', 'runs', 'pattern', 'to')


def _about(name: str) -> str:
  """Returns the line about a mode."""
  return str(MODES[name].function.__doc__).partition('\n')[0]


def _flags(names: Iterable[str]) -> Iterator[str]:
  """Yields flags with their help."""
  for name in names:
    # absl adds a line about repetition, which the help mentions.
    yield _row(f'  --{name}', FLAGS[name].help.partition(';\n')[0])


def _row(name: str, about: str) -> str:
  """Returns a name with its explanation in a column of its own."""
  return textwrap.fill(
    f'{name:<{_COLUMN}}{about}', _WIDTH, subsequent_indent=' ' * _COLUMN
  )
