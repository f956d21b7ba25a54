# SPDX-License-Identifier: Apache-2.0
"""Runs one command from its words to its exit status."""

import _thread
from collections.abc import Iterator, Sequence
import contextlib
import logging
import os
import pathlib
import shlex
import signal
import sys
import threading
import types

from absl import app

import flatten_jax as fj
from flatten_jax import hub, paths
from flatten_jax.command_line import (
  arguments,
  commands,
  help_page,
  messages,
  modes,
  short_commands,
)
from flatten_jax.command_line.options import FLAGS
from flatten_jax.runtime.workdir import gcs_workdir

RUNS = 'runs'  # Folder of the runs that get no --workdir.
HELP = {'-h', '--h', '-help', '--help', '--helpshort', 'help'}


def main() -> None:
  """Parses the command line and runs one mode.

  An expected error is one message and exit status 1. Where in the program it
  was raised is in the workdir's log.txt, and shown with --debug.
  """
  sys.unraisablehook = _interrupt_again
  try:
    if HELP & set(sys.argv[1:]):
      print(help_page.page(sys.argv))
      return
    if '--version' in sys.argv[1:]:
      print(f'flatten-jax {fj.__version__}')
      return
    # config_flags reads it too.
    sys.argv[:] = short_commands.expand(arguments.read(sys.argv))
    app.run(_run_mode, flags_parser=FLAGS)
  except KeyboardInterrupt:
    print('\nInterrupted.', file=sys.stderr)
    sys.exit(130)
  except BrokenPipeError:  # Whoever reads the output has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except Exception as error:
    # The flags may not be parsed yet: loading the config can fail.
    debug = {'--debug', '--debug=True', '--debug=true'} & set(sys.argv)
    is_usage = isinstance(error, arguments.UsageError)
    if not is_usage and (debug or not messages.is_expected(error)):
      raise
    logging.getLogger('flatten_jax').debug('Stopped by:', exc_info=True)
    known = {'mode', 'workdir', *modes.mode_flags()}
    print(f'\n{messages.message_of(error, known)}', file=sys.stderr)
    sys.exit(1)


def _interrupt_again(unraisable) -> None:
  """Repeats a Ctrl-C that a callback swallowed, as jax's at garbage collection.

  For `sys.unraisablehook`.
  """
  if issubclass(unraisable.exc_type, KeyboardInterrupt):
    threading.Timer(0.1, _thread.interrupt_main).start()
  else:
    sys.__unraisablehook__(unraisable)


def _run_mode(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise arguments.UsageError(
      messages.unknown_words(argv[1:], list(modes.MODES), FLAGS.workdir)
    )
  name = FLAGS.mode
  known = {'workdir', *modes.mode_flags()}
  modes.check_flags(name, {flag for flag in known if FLAGS[flag].present})
  mode = modes.MODES[name]
  several = FLAGS.config is not None and FLAGS.config.get('distributed', False)
  workdir = FLAGS.workdir or default_workdir(name, several)
  takes_model = mode.workdir == 'run' or mode.words is modes.Words.RUN_OR_EXPORT
  if hub.is_address(workdir) and not takes_model:
    raise arguments.UsageError(
      f'{name} takes no model of the Hub; got {workdir}. A training begins '
      f'with its weights by --config.model.pretrained={workdir}'
    )
  _check_local_folders()
  run_log = _import_jax()
  run_log.quiet()
  commands.log_to_stderr(logging.WARNING)  # Until a run opens its log.
  if mode.workdir == 'run' and workdir:
    workdir = _of_published_weights(workdir)
  # demo downloads a model of the Hub itself, and writes nothing beside it.
  on_hub = hub.is_address(workdir)
  open_workdir = (
    contextlib.nullcontext if on_hub else gcs_workdir.mirrored_workdir
  )
  with open_workdir(workdir) as folder:
    if name == 'train' and not FLAGS.workdir:
      with _says_how_to_resume(str(workdir)):
        mode.function(folder)
    else:
      mode.function(folder)
  if mode.then and sys.stderr.isatty():
    for words in mode.then:
      line = words.format(run=shlex.quote(str(workdir)))
      print(f'Next: {help_page.program(sys.argv[0])} {line}', file=sys.stderr)


def _check_local_folders() -> None:
  """Refuses addresses where results go, which are written to local folders."""
  for flag in ('out', 'to'):
    place, to_hub = FLAGS[flag].value, flag == 'to'
    if paths.is_remote(place) and not (to_hub and hub.is_address(place)):
      wanted = 'a folder' + to_hub * ' or a repository, hf://user/name'
      raise arguments.UsageError(
        f'--{flag} must be {wanted}; got {place}. Write there, and copy it.'
      )


@contextlib.contextmanager
def _says_how_to_resume(workdir: str) -> Iterator[None]:
  """Names the command that resumes a run that ends early.

  Without a --workdir, the same command would start another run.
  """
  try:
    yield
  except BaseException:
    if short_commands.is_run(workdir):
      called = help_page.program(sys.argv[0])
      print(f'`{called} train {workdir}` resumes it.', file=sys.stderr)
    raise


def _of_published_weights(workdir: str) -> str:
  """Returns the workdir of 'uniformer_nano/quickstart', or any other as it is.

  It gets a folder in `RUNS`, for what the mode writes, as has 'hf://user/name'.
  """
  from flatten_jax.checkpoints import published  # It needs jax.

  if not published.is_name(workdir):
    return workdir
  folder = published.workdir(workdir, RUNS)
  print(f'The workdir is {folder}', file=sys.stderr)
  return str(folder)


def default_workdir(name: str, several: bool = False) -> str | None:
  """Returns the workdir of a command without one: the next of runs/1, ...

  Args:
    name: of the mode.
    several: True if several processes run the command, which must agree.

  Returns:
    None for a mode without a workdir.

  Raises:
    UsageError: the mode needs a run that exists, or several processes run.
  """
  mode = modes.MODES[name]
  if not mode.workdir:
    return None
  runs = [
    int(path.name)
    for path in pathlib.Path(RUNS).glob('[0-9]*')
    if path.name.isdecimal()
  ]
  if mode.workdir == 'run':
    newest = f' The newest is {RUNS}/{max(runs)}.' if runs else ''
    raise arguments.UsageError(
      f'{name} needs a run: {name} {mode.words.value}, or --mode={name} '
      f'--workdir=FOLDER.{newest}'
    )
  if several:
    raise arguments.UsageError(
      'A run of several processes needs --workdir=FOLDER, the same for each.'
    )
  return f'{RUNS}/{max(runs, default=0) + 1}'


def _import_jax() -> types.ModuleType:
  """Imports jax, which processes that decode video do not need.

  Ctrl-C ends the process meanwhile, as an import makes another error of it.
  """
  before = signal.getsignal(signal.SIGINT)
  if before is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  import jax

  signal.signal(signal.SIGINT, before)
  from flatten_jax.runtime.workdir import run_log

  jax.config.config_with_absl()
  return run_log
