# SPDX-License-Identifier: Apache-2.0
"""A model that takes frame numbers, tested on longer clips than trained on."""

import json
import pathlib

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_model
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import pipeline
from flatten_jax.runtime import context, preprocess
from flatten_jax.runtime.configuration import config as configs


@pytest.fixture
def vtn_config(config):
  """Three steps of VTN's twin with VTN's frames: 4 to train, 40 to test on."""
  del config.model.depth
  config.model.name, config.model.temporal_depth = 'vtn_test', 1
  config.model.drop_path_rate = 0.0
  config.data.sampling, config.data.stride = 'vtn', 8
  config.data.test_frames = 40
  config.data.crop, config.data.short_side = 32, 32
  config.batch_size, config.epochs, config.warmup_epochs = 8, 1.0, 0.3
  config.eval_every, config.save_every = 0.0, 0.3
  return configs.fill_and_check(config)


def test_a_model_of_frame_numbers_is_trained_and_tested(vtn_config, tmp_path):
  config, whole = vtn_config, tmp_path
  config.epochs, config.warmup_epochs, config.save_every = 0.4, 0.0, 0.0
  fj.train_and_evaluate(config, whole)
  results = json.loads((whole / 'results.json').read_text())
  assert results['test']['views'] == '32x40x1x1'
  model = load_model(whole)
  cost = fj.cost(model.module, 40, 32).gflops
  assert results['test']['gflops_per_view'] == round(cost, 4)
  log = (whole / 'log.txt').read_text()
  assert 'vtn_test on 4 frames' in log and 'Test views: 40 frames' in log
  assert 'val: top-1' in log

  first = Predictions.load(whole / 'predictions_test.npz').logits
  videos = context.open_videos(config)['test']
  data = model.views.apply(config.data)
  with pipeline.eval_batches(videos, data, batch_size=12) as batches:
    batch = next(batches)
  # The videos have 24 frames.
  expected = np.linspace(0, 24, 40).astype(int).clip(max=23)
  np.testing.assert_array_equal(batch['positions'], [expected] * 12)
  images = preprocess.eval_inputs(batch, model.config)['images']
  network = jax.jit(model.module)
  told, untold = (
    np.abs(network(images, positions=numbers) - first).max()
    for numbers in (batch['positions'], np.tile(np.arange(40), (12, 1)))
  )
  assert 10 * told < untold

  video = next(pathlib.Path(config.data.root).glob('test/*/*.mp4'))
  (found,) = fj.predict(whole, video, timeline=True)
  assert found.timeline.window == 'windows of 10 s, 40 frames each'
  assert found.timeline.whole == '40 frames over 2.0 s'
  (found,) = fj.predict(whole, video, num_frames=6, timeline=True)
  assert found.timeline.whole == '6 frames over 2.0 s'
