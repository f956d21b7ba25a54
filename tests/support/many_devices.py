# SPDX-License-Identifier: Apache-2.0
"""Twenty steps and an evaluation, on any number of devices and processes.

As a script, it is one of two processes with four devices each.
"""

import json
import os
import pathlib
import signal
import sys

STEPS, SAVED = 20, 8  # A checkpoint of step 8 is saved.
RULES = {'replicated': 1, 'fsdp': 1, 'tensor': 2}  # mesh.model of each


def configure(root, rule='replicated'):
  """Returns a small config; each batch is 16 of 24 videos."""
  from tests.support.small_run import small_config

  config = small_config(root)
  config.batch_size = 16
  config.epochs, config.warmup_epochs = 20 * 16 / 24, 1.0
  config.eval_views = 1
  config.ema = 0.9
  config.adam_eps = 1e-4  # Else rounding decides if a gradient is nearly 0.
  config.sharding, config.mesh.model = rule, RULES[rule]
  config.fsdp_min_size = 64
  return config


def train(config, *, devices=None, resume=None, save=None):
  """Returns losses [steps], videos [steps b], the experiment and its state."""
  from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
  from flatten_jax.inputs.sources import dataset
  from flatten_jax.runtime.experiment import Experiment
  from flatten_jax.training import optimizer, schedules, setup

  videos = dataset.open_splits(config.data)['train']
  run = Experiment.create(config, videos.class_names, devices)
  tx = optimizer.make(config)
  each = len(videos) / config.batch_size
  rate = schedules.on_host(schedules.make(config, each))
  state, first, losses, seen = None, 0, [], []
  if resume:
    with Checkpoints(resume, create=False) as checkpoints:
      wanted, first = setup.abstract_state(run, tx), SAVED
      state = checkpoints.restore(wanted, SAVED)
  state = state or setup.initial_state(run, tx)
  update = setup.make_train_step(run, tx)
  with setup.training_batches(videos, config, start=first) as batches:
    for step in range(first + 1, STEPS + 1):
      batch = next(batches)
      lr = run.to_all_devices(rate(step - 1))
      state, metrics = update(state, run.to_devices(batch), lr)
      losses.append(float(metrics['loss']))
      seen.append(batch['index'].tolist())
      if save and step == SAVED:
        with Checkpoints(save) as checkpoints:
          info = RunInfo(run.class_names, config.to_dict(), step)
          checkpoints.save(state, info, None)
  return losses, seen, run, state


def score(config, workdir, run, state):
  """Returns the logits of the twelve test videos, [N K]."""
  from flatten_jax.evaluation import evaluate
  from flatten_jax.evaluation.failed_videos import FailedVideos
  from flatten_jax.inputs.sources import dataset
  from flatten_jax.runtime.loaded_model import LoadedModel

  videos = dataset.open_splits(config.data)['test']
  model = LoadedModel(run, *state.weights)
  found = evaluate.predict(model, videos, model.views, FailedVideos(workdir))
  assert found.scored.all()
  return found.logits.tolist()


def measure(root, workdir, rule):
  """Returns the results of one sharding rule."""
  from flatten_jax.runtime.devices import sharding

  config = configure(root, rule)
  save = workdir if rule == 'fsdp' else None
  losses, seen, run, state = train(config, save=save)
  return {
    'losses': losses,
    'seen': seen,
    'logits': score(config, workdir, run, state),
    'bytes': sharding.bytes_per_device(state),
  }


def interrupt(number):
  """Sends process 1 a SIGTERM before its third batch."""
  from flatten_jax.inputs import pipeline
  from flatten_jax.training import setup

  original = setup.training_batches

  def training_batches(train, config, start):
    batches = original(train, config, start)

    def stream():
      for count, batch in enumerate(batches):
        if (count, number) == (2, 1):
          os.kill(os.getpid(), signal.SIGTERM)
        yield batch

    return pipeline.Batches(stream(), batches.close)

  setup.training_batches = training_batches


def whole_run(root, workdir, number):
  """Stops a run by a signal and evaluates it: exit status and scores."""
  import flatten_jax as fj

  interrupt(number)
  config = configure(root)
  config.distributed = config.order_report = True
  config.epochs, config.save_every, config.eval_every = 1000.0, 0.0, 0.0
  try:
    fj.train_and_evaluate(config, workdir)
  except SystemExit as stop:
    return stop.code, fj.evaluate(config, workdir)


def cache_in_every_process():
  """Lets process 1 write its programs to the compilation cache, too.

  JAX writes those of process 0 alone, but the keys of both differ: process 1
  would compile every program again in each session.
  """
  from jax._src import compiler, distributed

  write = getattr(compiler, '_cache_write', None)
  state = distributed.global_state

  def write_as_first(*args, **options):
    number, state.process_id = state.process_id, 0
    try:
      write(*args, **options)
    finally:
      state.process_id = number

  if write:  # Else this version of JAX has another cache.
    compiler._cache_write = write_as_first


def main(number, port, root, folder):
  import jax

  from flatten_jax.runtime.configuration import default_config
  from flatten_jax.runtime.devices import multihost

  config = default_config.base()
  config.distributed, config.coordinator = True, f'localhost:{port}'
  config.num_processes, config.process_id = 2, number
  multihost.initialize(config)
  cache_in_every_process()
  folder = pathlib.Path(folder)
  found = {rule: measure(root, folder / 'saved', rule) for rule in RULES}
  one_each = [
    next(d for d in jax.devices() if d.process_index == i) for i in range(2)
  ]
  losses, seen, *_ = train(
    configure(root, 'fsdp'), devices=one_each, resume=folder / 'saved'
  )
  found['two devices'] = {'losses': losses, 'seen': seen}
  found['gathered'] = multihost.gather([f'from {number}'] * (number + 1))
  found['stopped'], scores = whole_run(root, folder / 'run', number)
  found |= {'top1': scores['top1'], 'order': scores['order']['rows']}
  (folder / f'{number}.json').write_text(json.dumps(found))


if __name__ == '__main__':
  main(int(sys.argv[1]), *sys.argv[2:])
