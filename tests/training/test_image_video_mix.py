# SPDX-License-Identifier: Apache-2.0
"""Videos and still images train the same network."""

import functools
import json
import shutil

import cv2
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.models import create_model
from flatten_jax.reporting import inspect_inputs
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.state import TrainState, split
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import optimizer, steps


@pytest.fixture
def joint_config(config, tmp_path):
  rng = np.random.default_rng(0)
  for name in ('up', 'a_chair'):
    (tmp_path / 'images' / name).mkdir(parents=True)
    for i in range(6):
      image = rng.integers(0, 256, (40, 40, 3), np.uint8)
      cv2.imwrite(str(tmp_path / 'images' / name / f'{i}.png'), image)
  config.data.images = str(tmp_path / 'images')
  config.data.image_crop = 32
  config.epochs, config.eval_every = 1.0, 0.0
  config.warmup_epochs = 0.5
  return config


def test_a_run_learns_from_videos_and_images(
  joint_config, tmp_path, monkeypatch
):
  """An epoch has every video once, and as many batches of images."""
  shapes = []
  original = steps.inputs_and_targets

  def spy(batch, *args):
    shapes.append(batch['clip'].shape[1:3])
    return original(batch, *args)

  monkeypatch.setattr(steps, 'inputs_and_targets', spy)
  state = fj.train_and_evaluate(joint_config, tmp_path / 'run')
  assert int(state.step) == 6  # Three of videos, three of images.
  assert shapes == [(4, 16), (1, 32)]  # Each was compiled once.
  with Checkpoints(tmp_path / 'run', create=False) as checkpoints:
    names = checkpoints.info(6).class_names
  assert len(names) == 13 and names[-1] == 'a_chair'
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert results['test']['scored'] == 12
  shutil.rmtree(joint_config.data.images)
  again = fj.evaluate(None, tmp_path / 'run')  # The images are gone.
  assert again['top1'] == results['test']['top1']


def test_a_resnet_steps_on_clips_and_on_images(config):
  """Both update the same weights and running statistics."""
  config.model.name = 'resnet_test'
  model = create_model('resnet_test', 3, depth=(1,))
  graphdef, params, batch_stats = split(model)
  tx = optimizer.make(config)
  state = TrainState.create(params, batch_stats, tx)
  step = jax.jit(
    functools.partial(
      steps.train_step, graphdef=graphdef, tx=tx, config=config, num_classes=3
    )
  )
  rng = np.random.default_rng(0)
  for shape in ((4, 16, 16), (1, 32, 32)):
    clips = rng.integers(0, 256, (4, *shape, 3), np.uint8)
    before = state
    state, metrics = step(
      state, {'clip': clips, 'label': np.arange(4) % 3}, 1e-3
    )
    assert np.isfinite(metrics['loss'])
    for part in ('params', 'batch_stats'):
      old, new = (jax.tree.leaves(getattr(s, part)) for s in (before, state))
      assert all((a != b).any() for a, b in zip(old, new, strict=True))
  assert int(state.step) == 2


def test_the_inspection_sheet_shows_images_too(
  joint_config, tmp_path, monkeypatch
):
  joint_config.cutmix, joint_config.data.image_share = 0.5, 0.25
  joint_config.data.image_crop = 64
  heights, draw = [], inspect_inputs.draw

  def spy(path, sheets, side):
    heights.extend(len(image) for images, _ in sheets for image in images)
    draw(path, sheets, side)

  monkeypatch.setattr(inspect_inputs, 'draw', spy)
  path = fj.inspect_inputs(joint_config, tmp_path, num_clips=4, side=64)
  # Unmixed and mixed: 2 x 2 frames of 16 px, then images.
  assert heights == [32] * 8 + [64] * 8
  picture = cv2.imread(str(path))
  assert picture.shape[0] > 4 * 64
  for margin in (picture[-8:], picture[:, :8], picture[:, -8:]):
    assert (margin == 255).all()
  assert 'and as many images' in (tmp_path / 'log.txt').read_text()


def test_an_image_is_not_flattened(config):
  image = np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 1, 8, 8, 3)
  for config.flatten in ('row_major', 'nested', 'random'):
    config.grid = (2, 4)
    np.testing.assert_array_equal(
      preprocess.flatten_clips(image, config), image[:, 0]
    )


@pytest.fixture(autouse=True)
def quiet():
  yield
  run_log.stop()
