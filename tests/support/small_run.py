# SPDX-License-Identifier: Apache-2.0
"""Makes a workdir with a checkpoint in seconds, without training."""

import pathlib

import numpy as np

from configs import common
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import optimizer
from flatten_jax.training.run_summary import log_run_summary


def make(
  folder: pathlib.Path, name: str = 'run', model: str = 'uniformer_test'
) -> pathlib.Path:
  """Makes folder/clips, and folder/run with an untrained checkpoint."""
  clips = motion_clips.make(
    folder / 'clips', train=12, val=12, test=12, progress=False
  )
  config = common.base()
  config.model.name = model
  config.data.root = str(clips)
  config.data.num_frames = 4
  config.data.sampling = 'segment'
  config.data.short_side = 20
  # Clips are not flattened: each frame has to fill the model's strides.
  config.data.crop = 32 if model.startswith('uniformer3d') else 16
  config.data.threads = 2
  config.batch_size = 8
  config.compile_cache = ''
  workdir = folder / name
  workdir.mkdir()
  config = configs.fill_and_check(config)
  splits = context.open_videos(config)
  run = Experiment.create(config, splits['train'].class_names)
  tx = optimizer.make(config)
  params, batch_stats = initial_weights(run)
  # Initial weights give all videos the same class.
  rng = np.random.default_rng(0)
  kernel = params['head']['kernel']
  params['head']['kernel'] = 3 * rng.standard_normal(kernel.shape, np.float32)
  state = TrainState.create(params, batch_stats, tx)
  with Checkpoints(workdir) as checkpoints:
    info = RunInfo(run.class_names, config.to_dict())
    checkpoints.save(state, info, None)
  log_run_summary(run, splits, state, 0, workdir)
  return workdir


def small_config(root):
  """Returns a config of three epochs of three steps, on four frames."""
  config = common.base()
  config.model.name = 'uniformer_test'
  config.model.depth = (1, 0, 1, 0)  # A block of each kind: compiles faster.
  config.model.drop_path_rate = 0.1
  config.data.root = str(root)
  config.data.num_frames = 4
  config.data.sampling = 'segment'
  config.data.short_side = 20
  config.data.crop = 16
  config.data.flip = False
  config.data.threads = 2
  config.batch_size = 8
  config.epochs = 3.0
  config.warmup_epochs = 1.0
  config.lr = 1e-3
  config.log_every = 2
  config.compile_cache = ''
  return configs.fill_and_check(config)
