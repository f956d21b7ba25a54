# SPDX-License-Identifier: Apache-2.0
"""What a command shows of an error: what is wrong, not where it was noticed."""

from collections.abc import Callable
import logging
import sys

from absl import app, flags

DEBUG = flags.DEFINE_bool(
  'debug', False, 'Show where in the program an error was raised.'
)
# What is raised for bad input, full disks, diverging runs: the message is meant
# for users. Anything else is a mistake of ours, and shown in full.
EXPECTED = (ValueError, OSError, RuntimeError, FloatingPointError, flags.Error)


def run(main: Callable[[list[str]], None]) -> None:
  """Like `app.run`; an expected error is one message, and exit status 1.

  Where in the program it was raised is written to the workdir's log.txt, once
  there is one, and shown with --debug.
  """
  try:
    app.run(main, flags_parser=flags.FLAGS)
  except app.UsageError:
    raise
  except Exception as error:
    # absl may not have read its flags: a config is refused while it does.
    debug = {'--debug', '--debug=True', '--debug=true'} & set(sys.argv)
    if debug or not is_expected(error):
      raise
    logging.getLogger('flatten_jax').debug('Stopped by:', exc_info=True)
    print(f'\n{type(error).__name__}: {plain(error)}', file=sys.stderr)
    sys.exit(1)


def log_to_stderr() -> None:
  """For commands whose output, on stdout, is for other programs too."""
  log = logging.getLogger('flatten_jax')
  console = logging.StreamHandler(sys.stderr)
  console.setFormatter(logging.Formatter('%(message)s'))
  log.addHandler(console)
  log.setLevel(logging.INFO)
  log.propagate = False


def is_expected(error: Exception) -> bool:
  """Whether its message alone will do."""
  return isinstance(error, EXPECTED) or unknown_key(error) is not None


def unknown_key(error: Exception) -> str | None:
  """What ml_collections says of a key that a config does not have."""
  cause = error.args[0] if error.args else None
  if isinstance(error, AttributeError) and isinstance(cause, KeyError):
    return str(cause.args[0])
  return None


def plain(error: Exception) -> str:
  """The message, without the traceback that config_flags puts into its own."""
  key = unknown_key(error)
  if key is not None:
    return f'The config has no {key}'
  text = str(error).strip()
  if 'Traceback (most recent call last)' not in text:
    return text
  lines = text.splitlines()
  last = max(i for i, line in enumerate(lines) if line.startswith('  '))
  return '\n'.join([lines[0], *lines[last + 1 :]])
