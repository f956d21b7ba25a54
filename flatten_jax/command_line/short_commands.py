# SPDX-License-Identifier: Apache-2.0
"""Reads `flatten-jax predict runs/mine clip.mp4` as the flags that it means.

The first word is a mode; its `Words` say what the words after it are.
"""

from collections.abc import Iterator, Sequence
import os
import pathlib
import re

from flatten_jax import hub, paths
from flatten_jax.command_line.arguments import (
  UsageError,
  config_files,
  find_config,
)
from flatten_jax.command_line.modes import MODES, OTHER_MODES, Words
from flatten_jax.text import did_you_mean, nearest

OWN_VIDEOS = 'folder'  # The config of a folder, or of a list, of videos.
_OF_ONE_RUN = (
  Words.RUN,
  Words.RUN_AND_VIDEOS,
  Words.RUN_AND_PLACE,
  Words.RUN_OR_EXPORT,
)


def expand(argv: Sequence[str]) -> list[str]:
  """Returns a command whose words without dashes have become flags.

  Args:
    argv: from `arguments.read`: the program, then `--flag=value` or words.

  Raises:
    UsageError: a word is not what the mode takes.
  """
  return _with_config_of_run(_without_words(argv))


def _without_words(argv: Sequence[str]) -> list[str]:
  """Returns a command of flags only."""
  program, *rest = argv
  words = [word for word in rest if not _is_flag(word)]
  given = [word for word in rest if _is_flag(word)]
  if not words or any(flag.startswith('--mode=') for flag in given):
    return list(argv)
  name = OTHER_MODES.get(words[0].lower(), words[0])
  if name not in MODES:
    if not os.path.exists(name) and nearest(name, MODES, cutoff=0.7):
      raise UsageError(
        f'There is no mode {words[0]!r}.{did_you_mean(name, MODES)}'
      )
    return list(argv)  # Refused with what such a word may mean.
  found = _MEANING[MODES[name].words](name, words[1:], given)
  meant = [f'--mode={name}', *found, *given]
  meant.sort(key=lambda word: not word.startswith('--config='))
  return [program, *meant]


def _with_config_of_run(argv: list[str]) -> list[str]:
  """Returns a command with the config of its run, if it changes keys of it."""
  program, *given = argv
  workdir = _value('workdir', given)
  name = _value('mode', given) or 'train'
  mode = MODES.get(name)
  keys = [flag for flag in given if re.match(r'--(no)?config\.', flag)]
  new = mode and mode.words is Words.NEW_CONFIG
  if not keys or not workdir or new or _value('config', given):
    return list(argv)
  if not is_run(workdir) and not _is_model(workdir):
    if not mode or mode.words not in _OF_ONE_RUN:
      return list(argv)
    from flatten_jax.checkpoints import published  # It needs the models.

    if not published.is_name(workdir):
      raise UsageError(f'{workdir} is not a run, which {name} needs.')
    workdir = str(published.workdir(workdir))
  if mode and 'config' not in mode.flags:
    key = keys[0].partition('=')[0]
    raise UsageError(f'{name} takes no keys of a config; got {key}.')
  return [program, _config_of(workdir), *given]  # config_flags wants it first.


def _is_flag(word: str) -> bool:
  """Returns whether a word is a flag; - and -- are not."""
  return word.startswith('-') and word not in ('-', '--')


def _config_or_data(
  mode: str, words: Sequence[str], given: Sequence[str]
) -> Iterator[str]:
  """Yields the flags for a config, for videos, and for a run.

  A run is resumed, or brings its config to the workdir of another.
  """
  workdir = _value('workdir', given)
  runs, configs, videos = [], _flags('config', given), []
  for word in words:
    if is_run(word) and MODES[mode].words is Words.CONFIG:
      runs.append(word)
      new = workdir and paths.expand(workdir) != paths.expand(word)
      if new:
        configs.append(word)
      yield _config_of(word) if new else f'--workdir={word}'
    elif _is_config(word):
      name, colon, values = word.partition(':')
      configs.append(word)
      yield f'--config={find_config(name)}{colon}{values}'
    elif os.path.exists(paths.expand(word)):
      videos.append(word)
      yield f'--config.data.root={word}'
    else:
      raise UsageError(
        f'{word!r} is not a folder or a list of videos, a config or a run.'
        f'{did_you_mean(word, config_files())} `{mode} --help` shows what '
        'follows.'
      )
  _check_one(mode, 'run', runs)
  _check_one(mode, 'config', configs)
  roots = _flags('config.data.root', given) if videos else []
  _check_one(mode, 'folder or list of videos', [*videos, *roots])
  if videos and not configs and not runs:
    yield f'--config={find_config(OWN_VIDEOS)}'


def _value(name: str, words: Sequence[str]) -> str:
  """Returns the value of a flag; '' if it is not given."""
  flag = f'--{name}='
  given = [word.removeprefix(flag) for word in words if word.startswith(flag)]
  return given[-1] if given else ''


def _flags(name: str, words: Sequence[str]) -> list[str]:
  """Returns a flag with its value, as a list of one; [] if it is not given."""
  value = _value(name, words)
  return [f'--{name}={value}'] if value else []


def _check_one(mode: str, kind: str, given: Sequence[str]) -> None:
  """Refuses several words and flags that give what a mode takes once."""
  if len(given) > 1:
    raise UsageError(f'{mode} takes one {kind}; got {" ".join(given)}.')


def _config_of(workdir: str) -> str:
  """Returns the flag of a run's config."""
  package = pathlib.Path(__file__).parents[1]
  file = package / 'runtime' / 'configuration' / 'run_config.py'
  return f'--config={file}:{workdir}'


def is_run(word: str) -> bool:
  """Returns whether a word is the workdir of a run."""
  if paths.is_remote(word):
    return not hub.is_address(word)
  path = pathlib.Path(paths.expand(word))
  return (path / 'checkpoints').is_dir() or (path / 'run.json').is_file()


def _is_model(word: str) -> bool:
  """Returns whether a word is a model that was pushed, with its config."""
  folder = pathlib.Path(paths.expand(word))
  return hub.is_address(word) or (folder / hub.CONFIG).is_file()


def _is_config(word: str) -> bool:
  name = word.partition(':')[0]
  plain = name.removeprefix('configs/').removesuffix('.py')
  return plain in config_files() or (
    name.endswith('.py') and os.path.isfile(paths.expand(name))
  )


def _run(name: str, words: Sequence[str], given: Sequence[str]) -> list[str]:
  """Returns the flags for one run."""
  workdir = _flags('workdir', given) if words else []
  _check_one(name, 'run', [*words, *workdir])
  return [f'--workdir={word}' for word in words]


def _run_and_videos(
  name: str, words: Sequence[str], given: Sequence[str]
) -> list[str]:
  """Returns the flags for one run and the videos after it."""
  first = words[0] if words else ''
  if workdir := _value('workdir', given):
    from flatten_jax.checkpoints import published  # It needs the models.

    if is_run(first) or published.is_name(first):
      raise UsageError(
        f'{name} takes one run; got {first} and --workdir={workdir}.'
      )
    return [f'--video={word}' for word in words]
  is_video = first == '-' or first.lower().startswith(('http', 'rtsp', '/dev/'))
  if is_video or os.path.isfile(paths.expand(first)):
    from flatten_jax.inputs.streams.sources import public_name  # It needs av.

    first = public_name(first)
    raise UsageError(
      f'{first} is not a run, which comes first: {name} RUN {first}'
    )
  return [f'--workdir={word}' for word in words[:1]] + [
    f'--video={word}' for word in words[1:]
  ]


def _run_and_place(
  name: str, words: Sequence[str], given: Sequence[str]
) -> list[str]:
  """Returns the flags for one run, and where its model goes."""
  flags = ('workdir', 'to')
  open_flags = [flag for flag in flags if not _value(flag, given)]
  if len(words) > len(open_flags):
    raise UsageError(f'{name} takes a run and a place; got {" ".join(words)}.')
  return [
    f'--{flag}={word}' for flag, word in zip(open_flags, words, strict=False)
  ]


def _several_runs(
  name: str, words: Sequence[str], given: Sequence[str]
) -> list[str]:
  """Returns the flags for runs that are shown together or fused."""
  if not words:
    return []
  if name == 'fuse':
    if several := _flags('runs', given):
      raise UsageError(
        f'{name} takes runs as words or as --runs; got {" ".join(words)} and '
        f'{several[0]}.'
      )
    return [f'--runs={",".join(words)}']
  return [f'--run={word}' for word in words]


def _pattern(
  name: str, words: Sequence[str], given: Sequence[str]
) -> list[str]:
  """Returns the flags for a pattern of names."""
  several = [*words, *_flags('pattern', given)] if words else []
  if len(several) > 1:
    raise UsageError(
      f"{name} takes one pattern; got {' '.join(several)}. In quotes, '*' is "
      'not replaced by the shell.'
    )
  return [f'--pattern={word}' for word in words]


def _none(name: str, words: Sequence[str], given: Sequence[str]) -> list[str]:
  """Refuses words."""
  del given
  if words:
    raise UsageError(f'{name} stands alone; got {" ".join(words)}.')
  return []


_MEANING = {
  Words.CONFIG: _config_or_data,
  Words.NEW_CONFIG: _config_or_data,
  Words.RUN: _run,
  Words.RUN_AND_VIDEOS: _run_and_videos,
  Words.RUN_AND_PLACE: _run_and_place,
  Words.RUN_OR_EXPORT: _run,
  Words.RUNS: _several_runs,
  Words.PATTERN: _pattern,
  Words.NONE: _none,
}
