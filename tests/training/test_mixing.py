# SPDX-License-Identifier: Apache-2.0
"""Mixup and CutMix against their definitions."""

import json
import re

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

from flatten_jax.training import mixing


def test_label_smoothing_spreads_over_all_classes():
  target = np.asarray(mixing.soft_targets(jnp.array([7]), 400, 0.1))[0]
  np.testing.assert_allclose(target[7], 0.90025, rtol=1e-6)
  np.testing.assert_allclose(target[0], 0.00025, rtol=1e-6)


def test_targets_are_mixed_as_in_the_recipe():
  """Labels 3, 0, 2 of 5, own share .3, smoothing .1; partner = reversed."""
  targets = mixing.soft_targets(jnp.array([3, 0, 2]), 5, 0.1)
  mixed = 0.3 * targets + 0.7 * targets[::-1]
  expected = [
    [0.02, 0.02, 0.65, 0.29, 0.02],
    [0.92, 0.02, 0.02, 0.02, 0.02],
    [0.02, 0.02, 0.29, 0.65, 0.02],
  ]
  np.testing.assert_allclose(mixed, expected, atol=1e-6)


def test_targets_equal_the_published_ones(parity_folder):
  facts = json.loads((parity_folder / 'data_facts.json').read_text())
  fact = facts['mixup_target']
  targets = mixing.soft_targets(
    jnp.array(fact['labels']), fact['num_classes'], fact['smoothing']
  )
  mixed = fact['lam'] * targets + (1 - fact['lam']) * targets[::-1]
  np.testing.assert_allclose(mixed, fact['target'], atol=1e-6)
  fact = facts['label_smooth_val']
  target = mixing.soft_targets(jnp.array([3]), fact['num_classes'], 0.1)[0]
  np.testing.assert_allclose(target[3], fact['on'], rtol=1e-6)
  np.testing.assert_allclose(target[4], fact['off'], rtol=1e-6)


@pytest.mark.parametrize('alphas', [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
@pytest.mark.parametrize('seed', range(5))
def test_pixels_and_targets_are_mixed_by_the_same_share(alphas, seed):
  """If pixels equal the targets, they stay equal on average."""
  targets = jnp.eye(4)
  clips = jnp.broadcast_to(targets[:, None, None, None, :], (4, 3, 8, 10, 4))
  mixup, cutmix = alphas
  key = jax.random.key(seed)
  mixed, soft = mixing.mix(clips, targets, key, mixup=mixup, cutmix=cutmix)
  np.testing.assert_allclose(mixed.mean((1, 2, 3)), soft, atol=1e-5)
  np.testing.assert_allclose(soft.sum(-1), 1, atol=1e-6)


def test_cutmix_pastes_the_same_box_in_all_frames():
  clips = jnp.stack([jnp.zeros((3, 8, 8, 1)), jnp.ones((3, 8, 8, 1))])
  targets = jnp.eye(2)
  key = jax.random.key(1)
  mixed, soft = mixing.mix(clips, targets, key, mixup=0.0, cutmix=1.0)
  assert set(np.unique(mixed)) == {0.0, 1.0}
  np.testing.assert_array_equal(mixed[:, 0], mixed[:, 2])
  assert 0 < soft[0, 1] < 1


def test_images_are_mixed_like_clips_of_one_frame():
  clips = jax.random.normal(jax.random.key(0), (4, 1, 8, 8, 3))
  for seed in range(4):
    key = jax.random.key(seed)
    mixed, soft = mixing.mix(clips, jnp.eye(4), key)
    images, same = mixing.mix(clips[:, 0], jnp.eye(4), key)
    np.testing.assert_array_equal(mixed[:, 0], images)
    np.testing.assert_array_equal(soft, same)


def test_mixup_blends_all_pixels_equally():
  clips = jnp.stack([jnp.zeros((2, 4, 4, 1)), jnp.ones((2, 4, 4, 1))])
  key = jax.random.key(0)
  mixed, soft = mixing.mix(clips, jnp.eye(2), key, mixup=0.8, cutmix=0.0)
  np.testing.assert_allclose(mixed[0], soft[0, 1], atol=1e-6)


def test_nothing_is_mixed_if_both_are_disabled():
  clips, targets = jnp.ones((2, 1, 4, 4, 3)), jnp.eye(2)
  mixed = mixing.mix(clips, targets, jax.random.key(0), mixup=0, cutmix=0)
  assert mixed[0] is clips
  assert mixed[1] is targets


@pytest.mark.parametrize(
  ('size', 'group', 'expected'),
  [
    (4, 1, [1, 0, 3, 2]),
    (3, 1, [1, 0, 2]),
    (8, 2, [2, 3, 0, 1, 6, 7, 4, 5]),  # Two clips of each of four videos.
    (6, 2, [2, 3, 0, 1, 5, 4]),
    (1, 1, [0]),
  ],
)
def test_partners_are_neighbors_of_other_videos(size, group, expected):
  found = mixing.neighbors(jnp.arange(size), group)
  np.testing.assert_array_equal(found, expected)


def test_no_clip_is_mixed_with_another_one_of_its_video():
  videos = jnp.repeat(jnp.eye(4), 2, axis=0)
  _, soft = mixing.mix(
    jnp.ones((8, 1, 4, 4, 3)), videos, jax.random.key(0), repeated=2
  )
  assert (soft.max(-1) < 1).all()


@pytest.mark.parametrize('group', [1, 2])
def test_no_clip_is_moved_between_devices(group):
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  place = NamedSharding(mesh, PartitionSpec('data'))
  clips = jax.ShapeDtypeStruct((16 * group, 2, 8, 8, 3), jnp.float32)
  exchange = jax.jit(
    lambda x: mixing.neighbors(x, group),
    in_shardings=place,
    out_shardings=place,
  )
  text = exchange.lower(clips).compile().as_text()
  assert not re.search('all-|collective|reduce', text)


def test_reversed_partners_are_those_of_earlier_runs():
  targets = jnp.eye(4)
  _, soft = mixing.mix(
    jnp.ones((4, 1, 4, 4, 3)),
    targets,
    jax.random.key(0),
    cutmix=0.0,
    partners='reversed',
  )
  np.testing.assert_array_equal(soft > 0, targets + targets[::-1] > 0)
