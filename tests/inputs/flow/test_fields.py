# SPDX-License-Identifier: Apache-2.0
"""Bytes of optical flow: quantized, mirrored, resized, drawn."""

import json

import numpy as np
import pytest

from flatten_jax.inputs.augment import flips
from flatten_jax.inputs.flow import fields


def test_flow_is_quantized_as_published(parity_folder):
  file = parity_folder / 'data_facts_tdn_msnet_two_stream.json'
  facts = json.loads(file.read_text())
  flow, levels = np.float32(facts['flow_to_byte_bound20']).T
  np.testing.assert_array_equal(fields.to_bytes(flow), levels)
  levels, flow = np.array(facts['byte_to_flow_bound20']).T
  found = fields.to_flow(levels.astype(np.uint8))
  np.testing.assert_allclose(found, flow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('data', 'count'),
  [
    ({'input': 'rgb', 'flow_frames': 0}, 3),
    ({'input': '', 'flow_frames': 0}, 3),
    ({'input': 'flow', 'flow_frames': 10}, 20),
    ({'input': 'rgb+flow', 'flow_frames': 5}, 13),
  ],
)
def test_a_frame_has_rgb_and_two_channels_for_each_field(data, count):
  assert fields.num_channels(data) == count


@pytest.mark.parametrize('rgb', [0, 3])
@pytest.mark.parametrize('count', [1, 2, 5])
def test_a_mirror_turns_x_around_and_keeps_y(rgb, count):
  shape = 2, 4, 6, rgb + 2 * count
  clip = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  expected = clip[:, :, ::-1].copy()
  for channel in range(rgb, shape[-1], 2):
    expected[..., channel] = 255 - expected[..., channel]
  np.testing.assert_array_equal(flips.mirror(clip), expected)
  again = flips.mirror(flips.mirror(clip))
  np.testing.assert_array_equal(again, clip)


def test_a_resized_field_has_longer_or_shorter_flow():
  field = np.full((10, 20, 2), (144, 112), np.uint8)  # 2.6 px, -2.4 px
  found = fields.to_flow(fields.resize(field, (20, 30)))
  assert found.shape == (20, 30, 2)
  x, y = fields.to_flow(np.array([144, 112]))
  np.testing.assert_allclose(found[..., 0], 1.5 * x, atol=0.08)
  np.testing.assert_allclose(found[..., 1], 2 * y, atol=0.08)
  assert fields.resize(field, (10, 20)) is field


def test_directions_have_colors_and_no_motion_is_white():
  flow = np.zeros((40, 40, 4), np.float32)
  flow[:, 20:, [0, 2]] = 5  # To the right
  found = fields.picture(fields.to_bytes(flow))
  np.testing.assert_allclose(found[0, 0], 255, atol=1)
  np.testing.assert_allclose(found[0, 30], (255, 0, 0), atol=10)


def test_a_picture_of_rgb_is_rgb():
  clip = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 7), np.uint8)
  np.testing.assert_array_equal(fields.picture(clip), clip[..., :3])
  np.testing.assert_array_equal(fields.picture(clip[..., :3]), clip[..., :3])
