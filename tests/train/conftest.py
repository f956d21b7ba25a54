# SPDX-License-Identifier: Apache-2.0
"""A run small enough to repeat in every test."""

import pytest

from configs import common
from flatten_jax.inputs import motion_clips


@pytest.fixture(scope='session')
def clips_root(tmp_path_factory):
  """A miniature of the embedded set, in class folders."""
  root = tmp_path_factory.mktemp('clips') / 'motion_clips'
  return motion_clips.make(root, train=24, val=12, test=12, progress=False)


@pytest.fixture
def config(clips_root):
  """Three epochs of three steps: the tiny twin on four frames."""
  return small_config(clips_root)


@pytest.fixture(scope='session')
def shared_config(clips_root):
  """The same, for fixtures that outlive a test; not to be changed."""
  return small_config(clips_root)


def small_config(root):
  config = common.base()
  config.model.name = 'uniformer_test'
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
  return config
