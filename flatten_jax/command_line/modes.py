# SPDX-License-Identifier: Apache-2.0
"""The table of modes: what each does, and the words and flags that it takes."""

from collections.abc import Callable
import dataclasses
import enum
import pathlib

from flatten_jax.command_line import commands
from flatten_jax.command_line.arguments import UsageError
from flatten_jax.text import did_you_mean


class Words(enum.Enum):
  """Kinds of words that follow a mode, as the help shows them."""

  CONFIG = 'VIDEOS | CONFIG | RUN'
  NEW_CONFIG = 'VIDEOS | CONFIG'
  RUN = 'RUN'
  RUN_AND_VIDEOS = 'RUN VIDEO ...'
  RUN_AND_PLACE = 'RUN user/name|FOLDER'
  RUN_OR_EXPORT = '[RUN | EXPORT]'
  RUNS = 'RUN RUN ...'
  PATTERN = '[PATTERN]'
  NONE = ''


@dataclasses.dataclass(frozen=True)
class Mode:
  """A mode of the command line.

  Attributes:
    function: called with the workdir.
    words: what the words after its name are.
    flags: that it reads.
    needs_config: whether it needs a config, or a run that has one.
    workdir: 'new' is made if none is given, 'run' has to be given, '' is not
      used.
    then: modes to go on with, as the words after their names.
  """

  function: Callable[[str | pathlib.Path | None], None]
  words: Words = Words.RUN
  flags: tuple[str, ...] = ()
  needs_config: bool = False
  workdir: str = 'run'
  then: tuple[str, ...] = ()


# In the order in which they are used; those of `GROUPS` for the help.
MODES = {
  'train': Mode(
    commands.train,
    Words.CONFIG,
    ('config',),
    True,
    workdir='new',
    then=('report {run}', 'predict {run} VIDEO'),
  ),
  'cross_validate': Mode(
    commands.cross_validate, Words.NEW_CONFIG, ('config', 'seeds'), True, 'new'
  ),
  'ablate': Mode(
    commands.ablate,
    Words.NEW_CONFIG,
    ('config', 'seeds', 'variants', 'folds'),
    True,
    'new',
  ),
  'compare': Mode(
    commands.compare,
    Words.NEW_CONFIG,
    ('config', 'seeds', 'systems', 'folds'),
    True,
    'new',
  ),
  'inspect': Mode(commands.inspect, Words.CONFIG, ('config',), True, 'new'),
  'index': Mode(
    commands.index, Words.CONFIG, ('config', 'index_all'), True, 'new'
  ),
  'batch_size': Mode(
    commands.batch_size, Words.CONFIG, ('config', 'limit'), True, 'new'
  ),
  'lr_range': Mode(
    commands.lr_range, Words.CONFIG, ('config', 'steps'), True, 'new'
  ),
  'profile': Mode(commands.profile, Words.CONFIG, ('config',), True, 'new'),
  'compile': Mode(
    commands.compile_for,
    Words.CONFIG,
    (
      'config',
      'topology',
      'list_topologies',
      'largest_batch',
      'machine_code',
    ),
    True,
    'new',
  ),
  'evaluate': Mode(
    commands.evaluate,
    Words.RUN,
    ('config', 'views', 'split'),
    then=('report {run}',),
  ),
  'score': Mode(commands.score),
  'evaluate_folds': Mode(
    commands.evaluate_folds, Words.RUN, ('config', 'views', 'split')
  ),
  'fuse': Mode(
    commands.fuse, Words.RUNS, ('runs', 'method', 'weights'), workdir='new'
  ),
  'predict': Mode(
    commands.predict,
    Words.RUN_AND_VIDEOS,
    (
      'views',
      'video',
      'out',
      'timeline',
      'every',
      'window',
      'annotate',
      'time_limit',
    ),
  ),
  'stream': Mode(
    commands.stream,
    Words.RUN_AND_VIDEOS,
    (
      'views',
      'video',
      'every',
      'window',
      'json',
      'live',
      'timeout',
      'reconnects',
    ),
  ),
  'report': Mode(commands.report, then=('explain {run}',)),
  'explain': Mode(
    commands.explain,
    Words.RUN_AND_VIDEOS,
    ('config', 'video', 'videos', 'against', 'stage'),
  ),
  'curves': Mode(commands.curves, Words.RUNS, ('run',), workdir='new'),
  'export': Mode(commands.export, Words.RUN, ('out', 'formats')),
  'push': Mode(
    commands.push, Words.RUN_AND_PLACE, ('to', 'license', 'dataset', 'private')
  ),
  'demo': Mode(
    commands.demo, Words.RUN_OR_EXPORT, ('host', 'port'), workdir=''
  ),
  'models': Mode(commands.models, Words.PATTERN, ('pattern',), workdir=''),
  'data_sets': Mode(commands.data_sets, Words.NONE, workdir=''),
  'config': Mode(commands.config, Words.CONFIG, ('config',), workdir=''),
  'cost': Mode(commands.cost, Words.CONFIG, ('config',), workdir=''),
}
GROUPS = {  # The first mode of each, for the help.
  'train': 'Train',
  'evaluate': 'Measure',
  'predict': 'Use and look',
  'models': 'What there is',
}
OTHER_MODES = {  # Names of other projects.
  'eval': 'evaluate',
  'fit': 'train',
  'infer': 'predict',
  'inference': 'predict',
  'test': 'evaluate',
  'val': 'evaluate',
}


def mode_flags() -> set[str]:
  """Returns the flags that are for some modes only."""
  return {flag for mode in MODES.values() for flag in mode.flags}


def check_flags(name: str, given: set[str]) -> None:
  """Refuses flags that the mode does not read, and a missing config.

  Args:
    name: of the mode.
    given: names of the flags of the command, of those of the modes and
      'workdir'.
  """
  if name not in MODES:
    plain = OTHER_MODES.get(name.lower(), name)
    raise UsageError(
      f'There is no --mode={name}.{did_you_mean(plain, MODES)} Modes are '
      f'{", ".join(MODES)}.'
    )
  for flag in sorted(given - {'workdir'}):
    modes = [mode for mode, entry in MODES.items() if flag in entry.flags]
    if name not in modes:
      raise UsageError(
        f'--{flag} is for --mode={", ".join(modes)}; --mode={name} does not '
        'take it.'
      )
  for flag in sorted(given & {'every', 'window'}):
    if name == 'predict' and 'timeline' not in given:
      raise UsageError(f'--{flag} is for --timeline: give both.')
  if {'video', 'videos'} <= given:
    raise UsageError(
      '--video names files, --videos selects videos of the data: give one of '
      'them.'
    )
  mode = MODES[name]
  of_run = mode.words is Words.CONFIG and 'workdir' in given
  lists = 'list_topologies' in given
  if mode.needs_config and not (of_run or lists) and 'config' not in given:
    raise UsageError(
      f'{name} needs videos or a config: {name} VIDEOS, or --mode={name} '
      '--config=FILE.'
    )
