# SPDX-License-Identifier: Apache-2.0
"""Many motions for pretraining: a class is a course, looks are drawn."""

import json

import numpy as np
import pytest

from flatten_jax.inputs.synthetic import (
  many_motions,
  motion_clips,
  textured_scene,
)

TIME = np.linspace(0, 1, 33)
PATHS = [
  name.removeprefix('path_')
  for name in many_motions.CLASSES
  if name.startswith('path_')
]


def test_there_are_many_classes_each_with_a_name_of_its_own():
  assert len(set(many_motions.CLASSES)) == len(many_motions.CLASSES) == 119


@pytest.mark.parametrize('name', PATHS)
def test_a_path_stays_in_view_and_no_other_class_has_it(name):
  points = many_motions.path(name, TIME)
  assert points.shape == (33, 2)
  assert abs(points).max() <= 0.61
  others = [many_motions.path(other, TIME) for other in PATHS if other != name]
  assert min(abs(points - other).max() for other in others) > 0.1


def test_mirrored_paths_are_mirror_images():
  points = many_motions.path('tick', TIME)
  mirrored = many_motions.path('tick_mirrored', TIME)
  np.testing.assert_allclose(points * (-1, 1), mirrored)
  np.testing.assert_allclose(points[0], (-0.4, 0))
  np.testing.assert_allclose(points[-1], (0.45, -0.4))


def test_values_are_passed_at_even_times():
  found = many_motions.through([(0, 1), (4, 5), (2, 2)], np.array([0, 0.5, 1]))
  np.testing.assert_allclose(found, [(0, 1), (4, 5), (2, 2)])


def test_the_course_goes_from_0_to_1():
  for seed in range(50):
    time = many_motions.course(np.random.default_rng(seed), 16)
    assert time[0] == 0
    assert time[-1] == 1
    assert 0 <= time.min() <= time.max() <= 1


@pytest.mark.parametrize('name', many_motions.CLASSES)
def test_every_class_is_rendered_and_repeats(name):
  first, second = (
    textured_scene.render(name, np.random.default_rng(3), 5, 16)
    for _ in range(2)
  )
  assert first.shape == (5, 16, 16, 3)
  assert first.dtype == np.uint8
  np.testing.assert_array_equal(first, second)
  assert first.std() > 3


def test_a_straight_path_moves_the_object_to_the_right():
  rng = np.random.default_rng(0)
  scene = textured_scene.TexturedScene('path_straight_0', rng, 8, 32)
  scene.frames = [np.zeros((32, 32, 3), np.float32) for _ in range(8)]
  scene.draw_path()
  columns = np.arange(32)
  middle = [
    (frame.mean((0, 2)) * columns).sum() / frame.mean((0, 2)).sum()
    for frame in (scene.frames[0], scene.frames[-1])
  ]
  assert middle[1] > middle[0] + 4


def test_the_set_is_made_once_and_not_mixed_with_the_twelve(tmp_path):
  sizes = {'train': 3, 'val': 0, 'test': 2, 'size': 16, 'num_frames': 3}
  options = sizes | {'processes': 1, 'progress': False}
  root = motion_clips.make(tmp_path / 'clips', motions='many', **options)
  names = sorted(path.name for path in root.rglob('*.mp4'))
  assert len(names) == 5
  assert json.loads((root / motion_clips.MARKER).read_text())['motions'] == (
    'many'
  )
  assert motion_clips.make(root, motions='many', **options) == root
  with pytest.raises(FileExistsError, match='motions many, not None'):
    motion_clips.make(root, **options)
