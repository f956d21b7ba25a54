# SPDX-License-Identifier: Apache-2.0
"""Runs one command from its words to its exit status."""

import _thread
from collections.abc import Sequence
import logging
import os
import signal
import sys
import threading
import types

from absl import app

from flatten_jax.command_line import arguments, help_page, messages, modes
from flatten_jax.command_line.options import FLAGS
from flatten_jax.runtime.workdir import gcs_workdir

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
    sys.argv[:] = arguments.read(sys.argv)  # config_flags reads it too.
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
  name, workdir = FLAGS.mode, FLAGS.workdir
  modes.check_flags(
    name, {flag for flag in modes.mode_flags() if FLAGS[flag].present}
  )
  if not workdir and name != 'cost':
    raise arguments.UsageError(f'--mode={name} needs --workdir=FOLDER.')
  run_log = _import_jax()
  run_log.quiet()
  modes.log_to_stderr(logging.WARNING)  # Until a run opens its log.
  with gcs_workdir.mirrored_workdir(workdir) as folder:
    modes.MODES[name].function(folder)


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
