# SPDX-License-Identifier: Apache-2.0
"""Settings and class folders for the tests of inputs."""

import cv2
import numpy as np
import pytest

from tests.support.video_maker import moving_square, write_video

SETTINGS = {
  'root': '',
  'train': '',
  'val': '',
  'test': '',
  'prefix': '',
  'class_names': '',
  'motion_clips': 0,
  'split_dir': '',
  'fold': -1,
  'folds': 4,
  'holdout': 0.2,
  'val_holdout': 0.0,
  'group': '',
  'num_frames': 4,
  'test_frames': 0,
  'sampling': 'segment',
  'stride': 2,
  'input': 'rgb',
  'flow_frames': 0,
  'repeat_frame': False,
  'time_crop': (1.0, 1.0),
  'short_side': 0,
  'frame_cache_gib': 0.0,
  'time_limit': 30.0,
  'index': '',
  'views': '',
  'crop': 16,
  'resize': (),
  'test_crop': 0,
  'test_short_side': 0,
  'crop_method': 'area',
  'crop_scale': (1.0, 1.25),
  'crop_area': (0.3, 1.0),
  'crop_aspect': (3 / 4, 4 / 3),
  'crop_sizes': (0.66, 0.75, 0.875, 1.0),
  'crop_positions': 13,
  'rotation': 0.0,
  'flip': True,
  'flip_pairs': (),
  'flip_except': (),
  'color_jitter': 0.2,
  'color_jitter_share': 1.0,
  'grayscale_share': 0.0,
  'randaugment': '',
  'random_erasing': 0.0,
  'erasing_fill': 'noise',
  'repeated_aug': 1,
  'balanced': False,
  'weighted': False,
  'multi_label': False,
  'image_share': 0.5,
  'image_crop': 24,
  'num_clips': 2,
  'num_crops': 3,
}


@pytest.fixture
def settings():
  """`config.data` as a plain dict."""
  return dict(SETTINGS)


@pytest.fixture(scope='session')
def class_folder(tmp_path_factory):
  """Twelve short videos in three class folders."""
  root = tmp_path_factory.mktemp('videos')
  for label, name in enumerate(['clap', 'jump', 'wave']):
    for i in range(4):
      frames = moving_square(10 + i, 24, 32, seed=10 * label + i)
      write_video(root / name / f'{name} {i}.mp4', frames)
  return root


@pytest.fixture(scope='session')
def image_folder(tmp_path_factory):
  """Six small images in two class folders; videos have one of the classes."""
  root = tmp_path_factory.mktemp('images')
  rng = np.random.default_rng(0)
  for name in ('jump', 'a_chair'):
    (root / name).mkdir()
    for i, suffix in enumerate(['.jpg', '.png', '.JPEG']):
      image = rng.integers(0, 256, (30 + i, 40, 3), np.uint8)
      cv2.imwrite(str(root / name / f'{name} {i}{suffix}'), image)
  return root
