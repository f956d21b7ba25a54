# SPDX-License-Identifier: Apache-2.0
"""The page that --help prints."""

from collections.abc import Sequence
import textwrap

from flatten_jax.command_line import arguments
from flatten_jax.command_line.modes import MODES
from flatten_jax.command_line.options import FLAGS


def page(argv: Sequence[str]) -> str:
  """Returns modes and flags, those of one mode if the command names it."""
  named = [word.removeprefix('--mode=') for word in argv]
  modes = {name: MODES[name] for name in named if name in MODES} or MODES
  used = {'debug', 'workdir'}
  for mode in modes.values():
    used.update(mode.flags)
  lines = ['python main.py --mode=MODE --workdir=FOLDER [--flag=value ...]']
  for name, mode in modes.items():
    lines.append(f'  {name:<15}  {mode.function.__doc__}')
  for name in sorted(used):
    # absl adds a line about repetition, which the help mentions.
    about = FLAGS[name].help.partition(';\n')[0]
    lines.append(f'  --{name:<13}  {about}')
  names = ', '.join(arguments.config_files())
  lines += [
    '--config.KEY=VALUE changes a value of a config. Keys and their meaning '
    'are in flatten_jax/runtime/default_config.py.',
    f'Configs: {names}.',
  ]
  paragraphs = [
    textwrap.fill(line, 80, subsequent_indent=' ' * 19 * (line[0] == ' '))
    for line in lines
  ]
  return '\n'.join(paragraphs)
