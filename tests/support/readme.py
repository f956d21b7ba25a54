# SPDX-License-Identifier: Apache-2.0
"""The commands and code of the README and docs/, made small for tests."""

import contextlib
import pathlib
import re
import shlex

from flatten_jax.command_line import short_commands
from flatten_jax.command_line.arguments import UsageError, read
from flatten_jax.command_line.modes import MODES

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The README comes first: the other pages use what its commands make. results.md
# is made, and its commands are those of the runs that it shows.
PAGES = (
  'README.md',
  *sorted(
    f'docs/{page.name}'
    for page in ROOT.glob('docs/*.md')
    if page.name != 'results.md'
  ),
)
# Settings that turn a command of hours into one of seconds.
SMALL = {
  '--config.model.name': 'uniformer_test',
  '--config.model.depth': '(1,0,1,0)',  # A block of each kind: compiles faster.
  '--config.model.pretrained': '',
  '--config.data.num_frames': '4',
  '--config.data.crop': '16',
  '--config.data.short_side': '20',
  '--config.batch_size': '8',
  '--config.epochs': '1',
  '--config.warmup_epochs': '0.5',
  '--config.order_report': 'False',
  '--config.refit': 'False',
  '--config.compile_cache': '',  # The tests' own is in the environment.
}
# The same for modes that train, or compile, several times; these win over the
# README's.
FEWER = {
  'cross_validate': {'--seeds': '1'},
  'batch_size': {'--limit': '2'},
  'lr_range': {'--steps': '10'},
  'compile': {'--topology': 'cpu:1', '--config.model.name': 'uniformer_test'},
  'ablate': {
    '--seeds': '1',
    '--variants': 'nested',
    '--config.epochs': '1',
    '--config.data.num_frames': '16',
    '--config.data.crop': '8',
  },
  'compare': {
    '--seeds': '1',
    '--systems': 'resnet_nano',
    '--config.compare.learning_rates': '(1e-3,)',
  },
}


def commands(pages=PAGES) -> list[str]:
  """Returns every `python ...` of the pages once, continued lines joined.

  A cell of a table that begins with `--mode=` is a command of main.py.
  """
  found = []
  for page in pages:
    text = (ROOT / page).read_text().replace('\\\n', ' ')
    text = re.sub(
      r'^\|.*?\| `(--mode=[^`]+)` \|',
      r'    python main.py \1\n',
      text,
      flags=re.M,
    )
    lines = re.findall(
      r'^ {4}(python (?:main\.py|my_\w+\.py|-m data\.prepare) [-/\w].*)$',
      text,
      re.MULTILINE,
    )
    found += [re.sub(r'\s+', ' ', line).partition(' #')[0] for line in lines]
  return [line for line in dict.fromkeys(found) if not line.endswith('...')]


def snippets() -> dict[str, str]:
  """Returns the pages' Python files, by the name in their first line."""
  text = '\n'.join((ROOT / page).read_text() for page in PAGES)
  blocks = re.findall(r'^```python\n# (\w+\.py)\n(.*?)^```', text, re.S | re.M)
  return dict(blocks)


def group(command: str) -> str:
  """Returns the group of a command: what it uses is made in the same group."""
  if re.search('cross_validate|evaluate_folds|ablate|mode=compare', command):
    return 'experiments'
  return 'quickstart' if 'quickstart' in command else 'videos'


def meaning(command: str) -> frozenset[str]:
  """Returns the flags of a command, the same for its long and short form."""
  words = shlex.split(command)[1:]
  if words[0] == 'main.py':
    # A word may be a folder of videos, which does not exist here.
    with contextlib.suppress(UsageError):
      words = short_commands.expand(read(words))
  return frozenset(words)


def _groups() -> dict[str, list[str]]:
  """Returns the commands by their group, without those that mean the same."""
  different, found = {}, {}
  for line in commands():
    different.setdefault(meaning(line), line)
  for line in different.values():
    found.setdefault(group(line), []).append(line)
  return found


GROUPS = _groups()


def made_small(command: str, files: pathlib.Path) -> list[str]:
  """Returns the arguments of `python ...`, on `files` and with little to do.

  Of several equal flags, the last one counts.
  """
  arguments = [stand_in(a, files) for a in shlex.split(command)[1:]]
  mode = mode_of(command)
  if mode == 'predict':  # Of the videos, a quarter will do.
    arguments = [a.replace('/embedded', '/embedded/test') for a in arguments]
  if 'main.py' in command and not command_has_mode_flag(command):
    return arguments + _of_a_new_run(command, mode, files)
  if '--config=' not in command or mode == 'config':
    return arguments
  if mode == 'cost':
    arguments[0] = 'tests/support/short_cost_table.py'
    return [*arguments, '--config.model.name=uniformer_test']
  given = {argument.partition('=')[0] for argument in arguments}
  small = {k: v for k, v in SMALL.items() if k not in given}
  if '--config.model.name' in given or mode == 'compare':  # Not a UniFormer.
    del small['--config.model.depth']
  if re.search(r'configs/(quickstart|compare)\.py', command):
    small['--config.data.root'] = f'{files}/embedded'
  if 'motions=several' in command:
    small['--config.data.root'] = f'{files}/several_set'
    small['--config.data.motion_clips'] = '24'
    small['--config.model.pretrained'] = ''
  if 'configs/motions.py' in command:
    small['--config.data.root'] = f'{files}/motion_clips'
  small |= FEWER.get(mode, {})
  return arguments + [f'{key}={value}' for key, value in small.items()]


def mode_of(command: str) -> str:
  """Returns the mode of a command of main.py."""
  match = re.search(r'--mode=(\w+)|main\.py (\w+)', command)
  return (match[1] or match[2]) if match else 'train'


def command_has_mode_flag(command: str) -> bool:
  """Returns whether a command is in the long form, all flags."""
  return re.search(r'main\.py --', command) is not None


def _of_a_new_run(command: str, mode: str, files: pathlib.Path) -> list[str]:
  """Returns the flags that make a short command small, in a folder of files."""
  if MODES[mode].workdir != 'new' or 'runs/' in command:
    return []
  small = SMALL | FEWER.get(mode, {})
  if 'quickstart' in command:
    small |= {'--config.data.root': f'{files}/embedded'}
  given = set(re.findall(r'--([\w.]+)', command))
  values = [
    f'{key}={value}'
    for key, value in small.items()
    if not given & {key[2:], key.rpartition('.')[2]}
  ]
  return [*values, f'--workdir={files}/1']


def stand_in(argument: str, files: pathlib.Path) -> str:
  """Returns an argument with the README's paths replaced by those of tests."""
  if argument == 'quickstart':
    return 'quickstart:clips=24'
  for name in ('quickstart.py', 'motions.py', 'compare.py'):
    argument = argument.replace(f'{name}:', f'{name}:clips=24,')
    if argument.endswith(name):
      argument += ':clips=24'
  for path, ours in {
    'my_list.py': f'{files}/my_list.py',
    'my_loop.py': f'{files}/my_loop.py',
    'runs/': f'{files}/',
    'rtsp://camera/1': f'{files}/camera.mp4',
    'clip.mp4': f'{files}/camera.mp4',
    '/ckpt/k400_uniformer_s': f'{files}/k400',
    '/lists/': f'{files}/',
    '/videos/clips.csv': f'{files}/clips.csv',
    '/videos': f'{files}/embedded',
    '/k400/': f'{files}/published/',
    '/hmdb51/': f'{files}/hmdb51/',
    '/prepared/ssv2': f'{files}/prepared/kinetics400',
    '/prepared/': f'{files}/prepared/',
  }.items():
    key, equals, value = argument.rpartition('=')
    if value.startswith(path):
      value = value[len(path) :].replace(f',{path}', f',{ours}')
      return f'{key}{equals}{ours}{value}'
  return argument
