# SPDX-License-Identifier: Apache-2.0
"""The functions of the modes, each called with a workdir."""

import json
import logging
import pathlib
import sys

import flatten_jax as fj
from flatten_jax.command_line import config_page, data_sets_page, options
from flatten_jax.command_line.arguments import UsageError

FLAGS = options.FLAGS


def train(workdir):
  """Trains and evaluates; resumes where the workdir stopped."""
  fj.train_and_evaluate(_config(workdir), workdir)


def _config(workdir):
  """Returns the config of the command, or that of the run in the workdir."""
  # It needs jax.
  from flatten_jax.runtime.configuration import config as configs

  if FLAGS.config is not None:
    return FLAGS.config
  if (config := configs.config_of_run(workdir)) is None:
    raise UsageError(
      f'{workdir} has no run, whose config could be used. A new one needs '
      f'videos or a config: {FLAGS.mode} VIDEOS, or --mode={FLAGS.mode} '
      '--config=FILE.'
    )
  return config


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


def compare(workdir):
  """Trains many systems on one budget: a table, and accuracy against cost."""
  fj.compare(
    FLAGS.config,
    workdir,
    systems=FLAGS.systems,
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
    annotate=FLAGS.annotate,
    out=FLAGS.out or pathlib.Path(workdir) / 'predictions',
    show=True,
    **({} if limit is None else {'time_limit': limit}),
  )
  if all(prediction.error for prediction in found):
    sys.exit(1)


def stream(workdir):
  """Classifies live video: of a camera, a server or a pipe."""
  from flatten_jax.prediction import stream_output  # It needs jax.

  if len(FLAGS.video) != 1:
    raise UsageError(
      '--mode=stream needs one --video=URL, /dev/video0, FILE or -.'
    )
  log_to_stderr()  # Answers go to stdout.
  [video] = FLAGS.video
  answers = fj.stream(
    workdir,
    sys.stdin.buffer if video == '-' else video,
    window=FLAGS.window,
    every=FLAGS.every,
    live=FLAGS.live,
    timeout=FLAGS.timeout,
    reconnects=FLAGS.reconnects,
    views=FLAGS.views,
  )
  if not stream_output.show(answers, FLAGS.json):
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
  fj.inspect_inputs(_config(workdir), workdir)


def index(workdir):
  """Checks every video once and lists those that cannot be read."""
  fj.index_videos(_config(workdir), workdir, full=FLAGS.index_all)


def export(workdir):
  """Writes the model as StableHLO, ONNX and safetensors, and tries them."""
  fj.export(workdir, FLAGS.out, FLAGS.formats)


def push(workdir):
  """Puts the model into a folder or on the Hugging Face Hub, with a card."""
  if not FLAGS.to:
    raise UsageError(
      'push needs a place: push RUN user/name, push RUN FOLDER, or --mode=push '
      '--workdir=RUN --to=PLACE.'
    )
  log_to_stderr()
  license, dataset = FLAGS.license, FLAGS.dataset
  print(
    fj.push(
      workdir,
      FLAGS.to,
      license=license,
      dataset=dataset,
      private=FLAGS.private,
    )
  )


def demo(workdir):
  """Shows the model at work in a browser, on one's own videos."""
  fj.launch_demo(workdir or '', host=FLAGS.host, port=FLAGS.port)


def profile(workdir):
  """Trains some steps and reports where their time goes, with a trace."""
  fj.profile(_config(workdir), workdir)


def batch_size(workdir):
  """Finds the largest batch that fits, and the learning rate for it."""
  fj.find_batch_size(_config(workdir), workdir, limit=FLAGS.limit)


def lr_range(workdir):
  """Finds a learning rate: trains while it grows, and draws the loss."""
  fj.lr_range(_config(workdir), workdir, steps=FLAGS.steps)


def compile_for(workdir):
  """Compiles a run for TPUs or GPUs that are not here: what fits, messages."""
  from flatten_jax.compiling import machines  # It needs jax.

  if FLAGS.list_topologies:
    print(machines.table())
    return
  if not FLAGS.topology:
    raise UsageError(
      '--mode=compile needs a machine, e.g. --topology=v5e:4x4; '
      '--list_topologies prints them.'
    )
  fj.compile_for(
    _config(workdir),
    workdir,
    FLAGS.topology,
    largest_batch=FLAGS.largest_batch,
    machine_code=FLAGS.machine_code,
  )


def cost(workdir):
  """Prints the cost of the paper's models, and of a config."""
  print(fj.cost_table(_config(workdir) if workdir else FLAGS.config))


def config(workdir):
  """Prints every key of a config with its value; without one, all configs."""
  print(config_page.page(_config(workdir) if workdir else FLAGS.config))


def data_sets(workdir):
  """Lists data sets: sizes, how to get them, commands and configs."""
  del workdir
  print(data_sets_page.page())


def models(workdir):
  """Lists models whose names match: input, size, cost, published weights."""
  del workdir
  print(fj.model_table(FLAGS.pattern))


def log_to_stderr(level: int = logging.INFO) -> None:
  """Sends the log to stderr, for modes that print results to stdout."""
  log = logging.getLogger('flatten_jax')
  console = logging.StreamHandler(sys.stderr)
  console.setFormatter(logging.Formatter('%(message)s'))
  log.handlers[:] = [console]
  log.setLevel(level)
  log.propagate = False
