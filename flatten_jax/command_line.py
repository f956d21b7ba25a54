# SPDX-License-Identifier: Apache-2.0
"""The command line: `python main.py --mode=...`, or `flatten-jax --mode=...`.

Each mode is one function, and an entry of `MODES` with the flags it reads.
"""

import _thread
from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import signal
import sys
import textwrap
import threading

from absl import app, flags
from ml_collections import config_flags

import flatten_jax as fj
from flatten_jax import arguments, messages
from flatten_jax.arguments import UsageError
from flatten_jax.runtime.workdir import gcs_workdir
from flatten_jax.text import did_you_mean

CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'A config: a Python file, or the name of a file in configs/, and perhaps '
  ':arguments.',
  lock_config=True,
)
MODE = flags.DEFINE_string('mode', 'train', 'One of the modes; see --help.')
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of checkpoints, logs and results.'
)
DEBUG = flags.DEFINE_bool(
  'debug', False, 'Shows where in the program an error was raised.'
)
VIEWS = flags.DEFINE_string(
  'views', '', 'Other test views, e.g. 3x10: crops x clips.'
)
VIDEO = flags.DEFINE_multi_string(
  'video',
  [],
  'A video file, a folder of videos or, for --mode=predict, - for stdin. May '
  'be repeated.',
)
VIDEOS = flags.DEFINE_list(
  'videos', ['6'], 'Number of test videos to explain, or ids of some.'
)
AGAINST = flags.DEFINE_string(
  'against', None, 'Workdir of another run to compare with.'
)
STAGE = flags.DEFINE_integer(
  'stage',
  None,
  'Stage whose heat is drawn, 1 to 4; by default the last that resolves a '
  'frame.',
)
RUN = flags.DEFINE_multi_string(
  'run',
  [],
  "A run's workdir, or a folder of several, whose mean is drawn. Repeat it for "
  'each curve.',
)
OUT = flags.DEFINE_string(
  'out', None, 'Output folder; workdir/predictions or workdir/export.'
)
TIMELINE = flags.DEFINE_bool(
  'timeline', False, 'Also classifies a window around every second.'
)
EVERY = flags.DEFINE_float(
  'every', 1.0, 'Seconds from one row of the timeline to the next.'
)
WINDOW = flags.DEFINE_float(
  'window',
  0.0,
  'Seconds per window of the timeline; 0: the length of a training clip, or 4 '
  'if the model was trained on whole videos.',
)
TIME_LIMIT = flags.DEFINE_float(
  'time_limit',
  None,
  'Seconds before a video is given up; 0: no limit. By default '
  "config.data.time_limit of the workdir's run.",
)
SEEDS = flags.DEFINE_integer(
  'seeds', 1, 'Runs of each fold or variant.', lower_bound=1
)
VARIANTS = flags.DEFINE_list(
  'variants',
  ['row_major', 'nested', 'random', '3d', 'one_frame'],
  'Variants to train.',
)
FOLDS = flags.DEFINE_bool('folds', False, 'One run per fold of the data.')
INDEX_ALL = flags.DEFINE_bool(
  'index_all', False, 'Decodes every frame of every video.'
)
FORMATS = flags.DEFINE_list(
  'formats',
  [],
  'Some of stablehlo, safetensors, onnx; by default all that can be written.',
)


# --- One function per mode ----------------------------------------------------


def train(workdir):
  """Trains and evaluates; resumes where the workdir stopped."""
  fj.train_and_evaluate(CONFIG.value, workdir)


def evaluate(workdir):
  """Evaluates a checkpoint again, by default under its own config."""
  fj.evaluate(CONFIG.value, workdir, VIEWS.value)


def cross_validate(workdir):
  """Trains and evaluates every fold or published split; gives the mean."""
  fj.cross_validate(CONFIG.value, workdir, seeds=SEEDS.value)


def evaluate_folds(workdir):
  """Evaluates the runs of a cross-validation again."""
  fj.evaluate_folds(CONFIG.value, workdir, VIEWS.value)


def ablate(workdir):
  """Trains every variant with every seed; tables, curves, order tests."""
  fj.ablate(
    CONFIG.value,
    workdir,
    variants=VARIANTS.value,
    seeds=SEEDS.value,
    folds=FOLDS.value,
  )


def predict(workdir):
  """Classifies any video with the checkpoint of the workdir."""
  if not VIDEO.value:
    raise UsageError('--mode=predict needs --video=FILE, FOLDER or -.')
  log_to_stderr()  # Answers go to stdout.
  limit = TIME_LIMIT.value
  found = fj.predict(
    workdir,
    [sys.stdin.buffer if video == '-' else video for video in VIDEO.value],
    views=VIEWS.value,
    timeline=TIMELINE.value,
    every=EVERY.value,
    window=WINDOW.value,
    out=OUT.value or pathlib.Path(workdir) / 'predictions',
    show=True,
    **({} if limit is None else {'time_limit': limit}),
  )
  if all(prediction.error for prediction in found):
    sys.exit(1)


def explain(workdir):
  """Draws Grad-CAM, feature maps and attention of videos."""
  videos = VIDEOS.value
  if len(videos) == 1 and videos[0].lstrip('-').isdigit():
    videos = int(videos[0])
  fj.explain(
    workdir,
    config=CONFIG.value,
    videos=videos,
    files=VIDEO.value,
    against=AGAINST.value,
    stage=STAGE.value,
  )


def curves(workdir):
  """Draws the training curves of several runs in one picture."""
  print(fj.draw_runs(RUN.value, workdir))


def report(workdir):
  """Writes a page about a run, for a browser."""
  log_to_stderr()
  print(fj.report(workdir))


def score(workdir):
  """Computes the metrics again from the predictions file alone."""
  print(json.dumps(fj.score_workdir(workdir), indent=2))


def inspect(workdir):
  """Draws training clips as the model will see them."""
  fj.inspect_inputs(CONFIG.value, workdir)


def index(workdir):
  """Checks every video once and lists those that cannot be read."""
  fj.index_videos(CONFIG.value, workdir, full=INDEX_ALL.value)


def export(workdir):
  """Writes the model as StableHLO, ONNX and safetensors, and tries them."""
  fj.export(workdir, OUT.value, FORMATS.value)


def profile(workdir):
  """Trains some steps and reports where their time goes, with a trace."""
  fj.profile(CONFIG.value, workdir)


def cost(workdir):
  """Prints the cost of the paper's models, and of a config."""
  del workdir
  print(fj.cost_table(CONFIG.value))


@dataclasses.dataclass(frozen=True)
class Mode:
  """A mode: its function, the flags it reads, and whether it needs a config."""

  function: Callable[[str | pathlib.Path | None], None]
  flags: tuple[str, ...] = ()
  needs_config: bool = False


MODES = {
  'train': Mode(train, needs_config=True),
  'evaluate': Mode(evaluate, ('config', 'views')),
  'cross_validate': Mode(cross_validate, ('seeds',), needs_config=True),
  'evaluate_folds': Mode(evaluate_folds, ('config', 'views')),
  'ablate': Mode(ablate, ('seeds', 'variants', 'folds'), needs_config=True),
  'predict': Mode(
    predict,
    ('views', 'video', 'out', 'timeline', 'every', 'window', 'time_limit'),
  ),
  'explain': Mode(explain, ('config', 'video', 'videos', 'against', 'stage')),
  'curves': Mode(curves, ('run',)),
  'report': Mode(report),
  'score': Mode(score),
  'inspect': Mode(inspect, needs_config=True),
  'index': Mode(index, ('index_all',), needs_config=True),
  'export': Mode(export, ('out', 'formats')),
  'profile': Mode(profile, needs_config=True),
  'cost': Mode(cost, ('config',)),
}
MODE.help = 'One of: ' + ' '.join(
  f'{name}: {mode.function.__doc__}' for name, mode in MODES.items()
)
OTHER_MODES = {  # Names of other projects.
  'eval': 'evaluate',
  'fit': 'train',
  'infer': 'predict',
  'inference': 'predict',
  'test': 'evaluate',
  'val': 'evaluate',
}
HELP = {'-h', '--h', '-help', '--help', '--helpshort', 'help'}


def main() -> None:
  """Parses the command line and runs one mode.

  An expected error is one message and exit status 1. Where in the program it
  was raised is in the workdir's log.txt, and shown with --debug.
  """
  sys.unraisablehook = _interrupt_again
  try:
    if HELP & set(sys.argv[1:]):
      print(help_page(sys.argv))
      return
    sys.argv[:] = arguments.read(sys.argv)  # config_flags reads it too.
    app.run(_run_mode, flags_parser=flags.FLAGS)
  except KeyboardInterrupt:
    print('\nInterrupted.', file=sys.stderr)
    sys.exit(130)
  except BrokenPipeError:  # Whoever reads the output has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except Exception as error:
    # The flags may not be parsed yet: loading the config can fail.
    debug = {'--debug', '--debug=True', '--debug=true'} & set(sys.argv)
    is_usage = isinstance(error, UsageError)
    if not is_usage and (debug or not messages.is_expected(error)):
      raise
    logging.getLogger('flatten_jax').debug('Stopped by:', exc_info=True)
    print(
      f'\n{messages.message_of(error, {"mode", "workdir", *mode_flags()})}',
      file=sys.stderr,
    )
    sys.exit(1)


def _interrupt_again(unraisable) -> None:
  """Repeats a Ctrl-C that a callback swallowed, as jax's at garbage collection.

  For `sys.unraisablehook`.
  """
  if issubclass(unraisable.exc_type, KeyboardInterrupt):
    threading.Timer(0.1, _thread.interrupt_main).start()
  else:
    sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def _killed_by_interrupts() -> Iterator[None]:
  """Lets Ctrl-C end the process, as an import makes another error of it."""
  before = signal.getsignal(signal.SIGINT)
  if before is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGINT, before)


def help_page(argv: Sequence[str]) -> str:
  """Returns modes and flags, those of one mode if the command names it."""
  named = [word.partition('=')[2] for word in argv if '--mode=' in word]
  modes = {name: MODES[name] for name in named if name in MODES} or MODES
  used = {'debug', 'workdir'}
  for mode in modes.values():
    used |= {*mode.flags, *(['config'] if mode.needs_config else [])}
  lines = ['python main.py --mode=MODE --workdir=FOLDER [--flag=value ...]']
  for name, mode in modes.items():
    lines.append(f'  {name:<15}  {mode.function.__doc__}')
  for name in sorted(used):
    # absl adds a line about repetition, which the help mentions.
    about = flags.FLAGS[name].help.partition(';\n')[0]
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


def _run_mode(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise UsageError(messages.unknown_words(argv[1:], list(MODES)))
  name, workdir = MODE.value, WORKDIR.value
  check_flags(
    name, {flag for flag in mode_flags() if flags.FLAGS[flag].present}
  )
  if not workdir and name != 'cost':
    raise UsageError(f'--mode={name} needs --workdir=FOLDER.')
  # Not above: processes that decode video import this file too.
  with _killed_by_interrupts():
    import jax

  from flatten_jax.runtime.workdir import run_log

  run_log.quiet()
  log_to_stderr(logging.WARNING)  # Until a run opens its log.
  jax.config.config_with_absl()
  with gcs_workdir.mirrored_workdir(workdir) as folder:
    MODES[name].function(folder)


def mode_flags() -> set[str]:
  """Returns the flags that are for some modes only."""
  return {'config'}.union(*(mode.flags for mode in MODES.values()))


def check_flags(name: str, given: set[str]) -> None:
  """Refuses flags that the mode does not read, and a missing config."""
  if name not in MODES:
    plain = OTHER_MODES.get(name.lower(), name)
    raise UsageError(
      f'There is no --mode={name}.{did_you_mean(plain, MODES)} Modes are '
      f'{", ".join(MODES)}.'
    )
  for flag in sorted(given):
    modes = [
      mode
      for mode, entry in MODES.items()
      if flag in entry.flags or (flag == 'config' and entry.needs_config)
    ]
    if name not in modes:
      raise UsageError(
        f'--{flag} is for --mode={", ".join(modes)}; --mode={name} does not '
        'take it.'
      )
  for flag in sorted(given & {'every', 'window'}):
    if 'timeline' not in given:
      raise UsageError(f'--{flag} is for --timeline: give both.')
  if {'video', 'videos'} <= given:
    raise UsageError(
      '--video names files, --videos selects videos of the data: give one of '
      'them.'
    )
  if MODES[name].needs_config and 'config' not in given:
    raise UsageError(f'--mode={name} needs --config=FILE and --workdir=FOLDER.')


def log_to_stderr(level: int = logging.INFO) -> None:
  """Sends the log to stderr, for modes that print results to stdout."""
  log = logging.getLogger('flatten_jax')
  console = logging.StreamHandler(sys.stderr)
  console.setFormatter(logging.Formatter('%(message)s'))
  log.handlers[:] = [console]
  log.setLevel(level)
  log.propagate = False


if __name__ == '__main__':
  main()
