# SPDX-License-Identifier: Apache-2.0
"""Pixels of people, in RGB, become those that a model takes, and back."""

import jax
import numpy as np
import pytest

from configs import common
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.configuration import config as configs

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)


def config_of(channels):
  config = common.base()
  config.model.name = 'uniformer_test'
  config.data.num_frames, config.data.crop = 4, 16
  config.mean, config.std, config.channels = MEAN, STD, channels
  return configs.fill_and_check(config)


@pytest.mark.parametrize(
  ('channels', 'expected'),
  [('rgb', (1.8, -0.8, -0.5)), ('bgr', (0.2, -0.8, 3.5))],
)
def test_mean_and_deviation_are_in_the_models_order(channels, expected):
  pixel = np.array([255, 0, 51], np.uint8).reshape(1, 1, 1, 3)
  found = preprocess.normalize(pixel, config_of(channels))
  np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize('channels', ['rgb', 'bgr'])
def test_pictures_for_people_are_rgb_again(channels):
  config = config_of(channels)
  clips = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  images = np.asarray(preprocess.normalize(clips, config))
  np.testing.assert_array_equal(preprocess.pixels(images, config), clips)
  color = np.rint(255 * np.array(preprocess.mean_color(config)))
  zero = preprocess.normalize(color.astype(np.uint8), config)
  np.testing.assert_allclose(zero, 0, atol=0.5 / 255 / min(STD) + 1e-6)


@pytest.mark.parametrize('std', [1 / 255, 0.25])
def test_flow_without_motion_is_0_and_its_deviation_is_that_of_rgb(std):
  config = config_of('bgr')
  config.std = (std,) * 3
  flow = np.array([128, 0, 128, 255], np.uint8).reshape(1, 1, 1, 4)
  rgb = np.array([255, 0, 51], np.uint8).reshape(1, 1, 1, 3)
  found = preprocess.normalize(np.append(rgb, flow, axis=-1), config).ravel()
  expected = np.array([0, -128, 0, 127]) / 255 / std
  np.testing.assert_allclose(found[3:], expected, rtol=1e-5)
  np.testing.assert_allclose(
    found[:3], preprocess.normalize(rgb, config).ravel()
  )
  config.mean = (128 / 255,) * 3
  found = preprocess.normalize(flow, config).ravel()
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('layout', ['row_major', 'random', 'none'])
def test_a_bgr_model_sees_what_an_rgb_model_sees_of_reversed_channels(layout):
  rgb, bgr = config_of('rgb'), config_of('bgr')
  rgb.flatten = bgr.flatten = layout
  clips = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  rest = {'index': np.zeros(2, np.int32), 'view': np.zeros(2, np.int32)}
  np.testing.assert_array_equal(
    preprocess.eval_inputs({'clip': clips, **rest}, bgr)['images'],
    preprocess.eval_inputs({'clip': clips[..., ::-1], **rest}, rgb)['images'],
  )


def motion_in_numpy(clip):
  gray = clip.astype(np.float64).mean(-1) / 255
  gray = (gray - gray.mean()) / (gray.std() + 0.0225)
  motion = gray - gray.mean(0)
  change = np.append(gray[1:] - gray[:-1], 0 * gray[:1], axis=0)
  scale = motion.std() + 0.05
  return np.stack([gray / 2, motion / scale, change / scale], -1)


def test_motion_channels_are_gray_values_and_their_changes():
  clips = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  found = preprocess.normalize(clips, config_of('motion'))
  expected = np.stack([motion_in_numpy(clip) for clip in clips])
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_motion_channels_do_not_depend_on_light_and_a_resting_background():
  rng = np.random.default_rng(0)
  clip = rng.integers(20, 110, (1, 4, 16, 16, 3), np.uint8)
  config = config_of('motion')
  found, brighter = (
    np.asarray(preprocess.normalize(x, config)) for x in (clip, 2 * clip + 10)
  )
  axes = 0, 1, 2, 3
  np.testing.assert_allclose(
    found / found.std(axes), brighter / brighter.std(axes), atol=1e-4
  )
  still = np.repeat(clip[:, :1], 4, axis=1)
  found = np.asarray(preprocess.normalize(still, config))
  np.testing.assert_allclose(found[..., 1:], 0, atol=1e-5)
  assert 0.3 < found[..., 0].std() < 0.5
  single = np.asarray(preprocess.normalize(clip[:, :1], config))
  np.testing.assert_allclose(single[..., 1:], 0, atol=1e-5)


def test_pictures_of_motion_channels_are_gray_frames():
  clip = np.random.default_rng(0).integers(0, 256, (1, 4, 16, 16, 3), np.uint8)
  config = config_of('motion')
  images = np.asarray(preprocess.normalize(clip, config))
  pictures = preprocess.pixels(images, config)
  assert pictures.shape == clip.shape
  assert (pictures == pictures[..., :1]).all()
  similar = np.corrcoef(clip.mean(-1).ravel(), pictures[..., 0].ravel())[0, 1]
  assert similar > 0.95


def test_random_order_hides_the_change_to_the_next_frame():
  # Frames of a slow ramp: in order, each change is the same.
  levels = np.arange(4, dtype=np.uint8)[:, None, None, None] * 40
  clips = np.broadcast_to(levels, (8, 4, 16, 16, 3))
  config = config_of('motion')
  in_order = np.asarray(preprocess.normalize(clips, config))
  for layout in ('row_major', 'random'):
    config.flatten = layout
    batch = {'clip': clips, 'index': np.arange(8), 'view': np.zeros(8, int)}
    in_test = preprocess.normalize(
      preprocess.reorder_frames(batch, config), config
    )
    rng = jax.random.key(0)
    in_training = preprocess.training_clips(clips, config, rng)
    for found in map(np.asarray, (in_test, in_training)):
      gray, change = found[..., 0], found[:, :-1, ..., 2]
      assert (np.diff(gray, axis=1) > 0).all() == (layout == 'row_major')
      assert (np.ptp(change) < 1e-5) == (layout == 'row_major')
      np.testing.assert_allclose(
        np.sort(gray, axis=1), np.sort(in_order[..., 0], axis=1), atol=1e-6
      )


def test_channel_dropout_shows_some_clips_gray_and_some_as_motion_alone():
  rng = np.random.default_rng(0)
  clips = rng.integers(0, 256, (400, 2, 4, 4, 3), dtype=np.uint8)
  config, key = config_of('motion'), jax.random.key(3)
  whole = np.asarray(preprocess.training_clips(clips, config, key))
  np.testing.assert_array_equal(whole, preprocess.normalize(clips, config))
  config.channel_dropout = 0.3
  found = np.asarray(preprocess.training_clips(clips, config, key))
  seen = found.any(axis=(1, 2, 3))
  kinds = {(True, False, False): 120, (False, True, True): 120}
  kinds[True, True, True] = 160
  for kind, expected in kinds.items():
    clips_of_kind = (seen == kind).all(axis=1)
    assert abs(clips_of_kind.sum() - expected) < 30
    np.testing.assert_array_equal(
      found[clips_of_kind], whole[clips_of_kind] * kind
    )


def test_channel_dropout_is_of_motion_channels():
  config = config_of('rgb')
  config.channel_dropout = 0.3
  with pytest.raises(ValueError, match='channel_dropout is for'):
    configs.fill_and_check(config)


def test_motion_channels_of_flow_are_refused():
  config = config_of('motion')
  config.data.input = 'flow'
  with pytest.raises(ValueError, match='is made of RGB'):
    configs.fill_and_check(config)
