# SPDX-License-Identifier: Apache-2.0
"""Each mode of the command line as one function, and the table of all."""

from collections.abc import Callable
import dataclasses
import json
import logging
import pathlib
import sys

import flatten_jax as fj
from flatten_jax.command_line import options
from flatten_jax.command_line.arguments import UsageError
from flatten_jax.text import did_you_mean

FLAGS = options.FLAGS


def train(workdir):
  """Trains and evaluates; resumes where the workdir stopped."""
  fj.train_and_evaluate(FLAGS.config, workdir)


def evaluate(workdir):
  """Evaluates a checkpoint again, by default under its own config."""
  fj.evaluate(FLAGS.config, workdir, FLAGS.views, FLAGS.split)


def cross_validate(workdir):
  """Trains and evaluates every fold or published split; gives the mean."""
  fj.cross_validate(FLAGS.config, workdir, seeds=FLAGS.seeds)


def evaluate_folds(workdir):
  """Evaluates the runs of a cross-validation again."""
  fj.evaluate_folds(FLAGS.config, workdir, FLAGS.views, FLAGS.split)


def fuse(workdir):
  """Fuses the predictions of finished runs for the same videos."""
  if not FLAGS.runs:
    raise UsageError('--mode=fuse needs --runs=WORKDIR,WORKDIR.')
  fj.fuse(FLAGS.runs, workdir, method=FLAGS.method, weights=FLAGS.weights)


def ablate(workdir):
  """Trains every variant with every seed; tables, curves, order tests."""
  fj.ablate(
    FLAGS.config,
    workdir,
    variants=FLAGS.variants,
    seeds=FLAGS.seeds,
    folds=FLAGS.folds,
  )


def predict(workdir):
  """Classifies any video with the checkpoint of the workdir."""
  if not FLAGS.video:
    raise UsageError('--mode=predict needs --video=FILE, FOLDER or -.')
  log_to_stderr()  # Answers go to stdout.
  limit = FLAGS.time_limit
  found = fj.predict(
    workdir,
    [sys.stdin.buffer if video == '-' else video for video in FLAGS.video],
    views=FLAGS.views,
    timeline=FLAGS.timeline,
    every=FLAGS.every,
    window=FLAGS.window,
    out=FLAGS.out or pathlib.Path(workdir) / 'predictions',
    show=True,
    **({} if limit is None else {'time_limit': limit}),
  )
  if all(prediction.error for prediction in found):
    sys.exit(1)


def explain(workdir):
  """Draws Grad-CAM, feature maps and attention of videos."""
  videos = FLAGS.videos
  if len(videos) == 1 and videos[0].lstrip('-').isdigit():
    videos = int(videos[0])
  fj.explain(
    workdir,
    config=FLAGS.config,
    videos=videos,
    files=FLAGS.video,
    against=FLAGS.against,
    stage=FLAGS.stage,
  )


def curves(workdir):
  """Draws the training curves of several runs in one picture."""
  print(fj.draw_runs(FLAGS.run, workdir))


def report(workdir):
  """Writes a page about a run, for a browser."""
  log_to_stderr()
  print(fj.report(workdir))


def score(workdir):
  """Computes the metrics again from the predictions file alone."""
  print(json.dumps(fj.score_workdir(workdir), indent=2))


def inspect(workdir):
  """Draws training clips as the model will see them."""
  fj.inspect_inputs(FLAGS.config, workdir)


def index(workdir):
  """Checks every video once and lists those that cannot be read."""
  fj.index_videos(FLAGS.config, workdir, full=FLAGS.index_all)


def export(workdir):
  """Writes the model as StableHLO, ONNX and safetensors, and tries them."""
  fj.export(workdir, FLAGS.out, FLAGS.formats)


def profile(workdir):
  """Trains some steps and reports where their time goes, with a trace."""
  fj.profile(FLAGS.config, workdir)


def batch_size(workdir):
  """Finds the largest batch that fits, and the learning rate for it."""
  fj.find_batch_size(FLAGS.config, workdir, limit=FLAGS.limit)


def cost(workdir):
  """Prints the cost of the paper's models, and of a config."""
  del workdir
  print(fj.cost_table(FLAGS.config))


@dataclasses.dataclass(frozen=True)
class Mode:
  """A mode: its function, the flags it reads, and whether it needs a config."""

  function: Callable[[str | pathlib.Path | None], None]
  flags: tuple[str, ...] = ()
  needs_config: bool = False


MODES = {
  'train': Mode(train, ('config',), True),
  'evaluate': Mode(evaluate, ('config', 'views', 'split')),
  'cross_validate': Mode(cross_validate, ('config', 'seeds'), True),
  'evaluate_folds': Mode(evaluate_folds, ('config', 'views', 'split')),
  'fuse': Mode(fuse, ('runs', 'method', 'weights')),
  'ablate': Mode(ablate, ('config', 'seeds', 'variants', 'folds'), True),
  'predict': Mode(
    predict,
    ('views', 'video', 'out', 'timeline', 'every', 'window', 'time_limit'),
  ),
  'explain': Mode(explain, ('config', 'video', 'videos', 'against', 'stage')),
  'curves': Mode(curves, ('run',)),
  'report': Mode(report),
  'score': Mode(score),
  'inspect': Mode(inspect, ('config',), True),
  'index': Mode(index, ('config', 'index_all'), True),
  'export': Mode(export, ('out', 'formats')),
  'profile': Mode(profile, ('config',), True),
  'batch_size': Mode(batch_size, ('config', 'limit'), True),
  'cost': Mode(cost, ('config',)),
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
  """Refuses flags that the mode does not read, and a missing config."""
  if name not in MODES:
    plain = OTHER_MODES.get(name.lower(), name)
    raise UsageError(
      f'There is no --mode={name}.{did_you_mean(plain, MODES)} Modes are '
      f'{", ".join(MODES)}.'
    )
  for flag in sorted(given):
    modes = [mode for mode, entry in MODES.items() if flag in entry.flags]
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
