# SPDX-License-Identifier: Apache-2.0
"""Image models classify clips flattened, averaged or by one frame: one flag."""

import json

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_model
from flatten_jax.explanation import attention_maps, clip_explanation
from flatten_jax.exporting import metadata
from flatten_jax.inputs import timeline_windows
from flatten_jax.inputs.sampling import rules
from flatten_jax.reporting import cost_table
from flatten_jax.runtime import callables, context, preprocess, state
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.training import mixing, steps
from tests.support import official

CNN = 'tests.support.plain_cnn:build_'


def of_model(config, name, clip_model='average', **values):
  del config.model.depth
  config.model.name, config.model.drop_path_rate = name, 0.0
  config.data.crop = config.data.short_side = 32
  config.data.test_short_side = 0
  config.clip_model = clip_model
  with config.ignore_type():
    config.update_from_flattened_dict(values)
  return configs.fill_and_check(config)


@pytest.mark.parametrize(
  ('name', 'clip_model', 'words'),
  [
    ('resnet_test', 'average', '4 frames of 32 px one by one, their logits'),
    (f'{CNN}nnx', 'one_frame', '1 frame of 32 px as it is: 32 x 32 px'),
    (f'{CNN}linen', 'average', 'one by one, their logits averaged: 32 x 32'),
  ],
)
def test_a_model_is_trained_tested_and_predicted_with(
  name, clip_model, words, config, clips_root, tmp_path
):
  config = of_model(config, name, clip_model)
  if name == 'resnet_test':
    config.model.depth = (1, 1, 1, 1)  # Compiles faster.
  config.epochs, config.warmup_epochs = 1.0, 0.5
  fj.train_and_evaluate(config, tmp_path)
  assert words in (tmp_path / 'log.txt').read_text()
  found = json.loads((tmp_path / 'results.json').read_text())['test']
  frames = config.data.num_frames
  assert (found['views'], found['scored']) == (f'32x{frames}x1x1', 12)
  video = min((clips_root / 'test' / 'left').iterdir())
  (answer,) = fj.predict(tmp_path, [video], timeline=True)
  assert answer.top(1)[0][1] >= 1 / 12 and answer.timeline
  if name != 'resnet_test':
    return
  model = load_model(tmp_path)
  assert 'stages' in model.params  # Its own names: an image model's start.
  cost = fj.cost(model.module, 1, 32)
  assert found['gflops_per_view'] == pytest.approx(4 * cost.gflops, abs=1e-4)
  of_clip = f'{4 * model.experiment.cost_of(1, 32).gflops:.3f}'
  assert of_clip in cost_table.of_config(config)
  assert metadata.describe(model)['inside']['clip_model'] == 'average'
  videos = context.open_videos(config)['test']
  look = clip_explanation.explain_clip(model, videos, 0)
  assert look.evidence[0].shape == (4, 8, 8) and look.order is None
  assert look.onto_frames(look.evidence[0]).shape == (4, 32, 32)
  assert attention_maps.frame_attention(look) == {}
  config.clip_model = 'one_frame'
  with pytest.raises(ValueError, match="clip_model: was 'average'"):
    fj.train_and_evaluate(config, tmp_path)


def twins():
  """Returns a ResNet, and TSN of the same weights and without dropout."""
  image = fj.create_model('resnet_test', 12)
  video = fj.create_model('tsn_test', 12, dropout=0.0)
  nnx.update(video, nnx.state(image))  # Names are the same.
  return image, video


def test_loss_gradients_and_statistics_are_those_of_tsn(config):
  """Batch norms see all frames; a box of CutMix is the same in each."""
  config = of_model(config, 'resnet_test')
  rng = np.random.default_rng(0)
  batch = {
    'clip': rng.integers(0, 256, (4, 3, 32, 32, 3), np.uint8),
    'label': np.arange(4, dtype=np.int32),
  }
  keys = steps.random_keys(0, 0)
  images, targets = steps.inputs_and_targets(batch, config, 12, keys)
  clips = preprocess.normalize(batch['clip'], config)
  mixed, _ = mixing.mix(clips, targets, keys['mix'], mixup=0.8, cutmix=1.0)
  np.testing.assert_array_equal(images, mixed)
  found = []
  for model, inputs in zip(
    twins(),
    (preprocess.to_inputs(images, batch, config), {'images': images}),
    strict=True,
  ):
    graphdef, params, stats = state.split(model)
    trained = jax.tree.map(lambda _: False, params)

    @jax.jit
    def step(params, *rest, graphdef=graphdef, fixed=trained):
      return steps.loss_and_gradients(graphdef, params, fixed, *rest)

    found.append(step(params, stats, inputs, targets, keys['drop']))
  for ours, tsn in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(ours, tsn, rtol=1e-4, atol=1e-6)


def test_heat_and_costs_are_those_of_tsn():
  image, video = twins()
  clips = official.images((2, 3, 3, 64, 64))
  for stage in (None, 2):
    np.testing.assert_allclose(
      fj.grad_cam(fj.Averaged(image), clips, stage=stage),
      fj.grad_cam(video, clips, stage=stage),
      atol=1e-6,
    )
  assert fj.cost(fj.Averaged(image), 3, 64) == fj.cost(video, 3, 64)
  with pytest.raises(ValueError, match='1 to 4 for a ResNet'):
    fj.grad_cam(fj.Averaged(image), clips, stage=5)


def test_an_averaged_model_brings_its_weights_and_input():
  image, _ = twins()
  loaded = callables.from_callable(
    fj.Averaged(image), settings={'data.num_frames': 5, 'data.crop': 32}
  )
  assert loaded.config.clip_model == 'average' and loaded.takes_clips
  assert 'stages' in loaded.params
  assert loaded.config.mean == image.input_spec.mean


class TakesPositions(nnx.Module):
  takes_positions = True

  def __call__(self, images, positions):
    assert positions.shape == (len(images), 1)
    return images.mean(axis=(1, 2)) + positions


def test_every_frame_has_its_own_position():
  clips, positions = np.zeros((2, 3, 4, 4, 5)), np.arange(6).reshape(2, 3)
  inputs = {'frames': clips, 'positions': positions}
  found = preprocess.call(TakesPositions(), inputs)
  np.testing.assert_array_equal(found, [[1.0] * 5, [4.0] * 5])


@pytest.mark.parametrize('sampling', ['dense', 'segment', 'mmaction2'])
def test_one_frame_is_any_in_training_and_the_middle_one_in_tests(
  sampling, config
):
  config.data.stride = 0
  config = of_model(
    config, 'resnet_test', 'one_frame', **{'data.sampling': sampling}
  )
  data = config.data.to_dict()
  part = type('Part', (), {'length': 9, 'fps': 25.0})
  data['num_clips'] = 1
  assert rules.test_clips(data, part).tolist() == [[4]]
  rng = np.random.default_rng(0)
  drawn = {int(rules.train_clip(data, part, rng)[0]) for _ in range(200)}
  assert drawn >= set(range(8)) and drawn <= set(range(9))
  for length in (1, 2, 9):  # Also of the windows of a timeline.
    middle = timeline_windows.clip_frames(data, length, 25.0)
    assert middle.tolist() == [(length - 1) // 2]


@pytest.mark.parametrize(
  ('name', 'values', 'message'),
  [
    ('uniformer3d_test', {}, "must be 'flatten', its default, for uniformer3d"),
    ('resnet_test', {'flatten': 'nested'}, "flatten acts with .*='flatten'"),
    ('resnet_test', {'grid': (2, 2)}, "grid acts with .*clip_model='flatten'"),
    ('resnet_test', {'mix_stage': 'after_flatten'}, 'mix_stage acts with'),
    (f'{CNN}nnx', {'flatten': 'none'}, "flatten acts with .*='flatten' only"),
  ],
)
def test_what_contradicts_averaging_is_refused(name, values, message, config):
  with pytest.raises(ValueError, match=message):
    of_model(config, name, 'average', **values)


def test_what_acts_on_images_only_is_named_for_a_video_model(config, caplog):
  values = {'flatten': 'nested', 'mix_stage': 'after_flatten', 'grid': (1, 4)}
  config = of_model(config, 'uniformer3d_test', 'flatten', **values)
  for key in values:
    assert f'config.{key}=' in caplog.text
  assert 'has no effect: uniformer3d_test takes clips' in caplog.text
  caplog.clear()
  configs.fill_and_check(config, trusted=config)  # Of an earlier run.
  assert not caplog.text


def test_a_longer_clip_of_the_config_becomes_one_frame(config, caplog):
  config = of_model(config, 'resnet_test', 'one_frame')
  assert config.data.num_frames == 1
  assert '1 frame, not data.num_frames=4' in caplog.text
  with pytest.raises(ValueError, match='test_frames must be 0 or'):
    config.data.test_frames = 4
    configs.fill_and_check(config)
