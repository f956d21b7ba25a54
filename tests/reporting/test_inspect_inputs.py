# SPDX-License-Identifier: Apache-2.0
"""What `--mode=inspect` draws for networks that see gray values and motion."""

import numpy as np
import pytest

from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.reporting import inspect_inputs, motion_maps
from flatten_jax.runtime import preprocess
from tests.support import small_run


def test_a_moving_square_is_red_and_blue_and_the_rest_white():
  clip = np.full((1, 4, 16, 16, 3), 60, np.uint8)
  for t in range(4):
    clip[0, t, 4:8, 4 * t : 4 * t + 4] = 200
  values = np.asarray(preprocess.motion_channels(clip))
  gray, mean, change = motion_maps.of_channels(values)
  assert gray.shape == mean.shape == change.shape == clip.shape
  assert gray.dtype == np.uint8 and (gray[..., 0] == gray[..., 2]).all()
  assert (mean[0, :, 12:] == 255).all() and (change[0, :, 12:] == 255).all()
  # The bright square leaves the first place, and comes to the second.
  red, blue = change[0, 0, 5, 5], change[0, 0, 5, 1]
  assert red[0] > red[2] and blue[2] > blue[0]
  assert (change[0, -1] == 255).all()  # There is no next frame.


def test_maps_are_stacked_with_a_band_above_each():
  parts = [np.full((2, 20, 30, 3), level, np.uint8) for level in (0, 50, 90)]
  sheet = motion_maps.stack(parts)
  height = sheet.shape[1] // 3
  assert sheet.shape == (2, 3 * height, 30, 3) and height > 20
  assert (sheet[:, 0] == 255).all()
  assert [int(sheet[0, (k + 1) * height - 1, 0, 0]) for k in range(3)] == [
    0,
    50,
    90,
  ]


@pytest.mark.parametrize('mixup', [0.0, 0.8])
def test_a_network_of_motion_is_shown_what_it_sees(
  tmp_path, monkeypatch, mixup
):
  clips = motion_clips.make(
    tmp_path / 'clips', train=12, val=12, test=12, progress=False
  )
  config = small_run.small_config(clips)
  config.channels, config.mixup, config.cutmix = 'motion', mixup, 0.0
  seen = {}
  draw = inspect_inputs.draw

  def spy(path, sheets, side, labels=(), title=''):
    seen.update(sheets=sheets, labels=labels, title=title, side=side)
    draw(path, sheets, side, labels, title)

  monkeypatch.setattr(inspect_inputs, 'draw', spy)
  path = inspect_inputs.inspect_inputs(config, tmp_path, num_clips=4, side=48)
  assert path.is_file() and 'no colors' in seen['title']
  assert len(seen['labels']) == 3 and seen['side'] == 3 * 48
  assert len(seen['sheets']) == 1 + bool(mixup)
  for images, names in seen['sheets']:
    assert images.shape[0] == len(names) == 4
    assert images.shape[1] > 3 * images.shape[2]  # Three, and bands.
  seen.clear()
  config.channels = 'rgb'
  inspect_inputs.inspect_inputs(config, tmp_path, num_clips=4, side=48)
  images, _ = seen['sheets'][0]
  assert seen['labels'] == () and images.shape[1] == images.shape[2] == 32
