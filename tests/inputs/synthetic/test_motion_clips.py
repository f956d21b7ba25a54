# SPDX-License-Identifier: Apache-2.0
"""The embedded set: classes that differ in motion only, files made safely."""

import dataclasses
import json
import os

import av
import numpy as np
import pytest

from flatten_jax.inputs.synthetic import motion_clips, scene
from flatten_jax.inputs.synthetic.motion import (
  CLASSES,
  DIAMETER,
  PAIRS,
  TORUS,
  draw_motion,
)
from flatten_jax.inputs.synthetic.scene import (
  SHAPES,
  TEXTURES,
  draw_scene,
  render,
)
from flatten_jax.inputs.video import encode

FRAMES = 12
SMALL = {
  'train': 24,
  'val': 12,
  'test': 14,
  'size': 32,
  'num_frames': 4,
  'processes': 1,
  'progress': False,
}
LUMINANCE = (0.299, 0.587, 0.114)


def states(motion):
  """Points of the torus on a trajectory, in turns [T K 4]."""
  low, high = DIAMETER
  return np.concatenate(
    [
      motion.position / TORUS,
      motion.orientation[..., None] / (2 * np.pi),
      np.log(motion.diameter / low)[..., None] / np.log(high / low),
    ],
    axis=-1,
  )


@pytest.fixture(scope='module')
def drawn():
  """States of 300 clips of every class [class clip T K 4]."""
  rngs = np.random.default_rng(0).spawn(len(CLASSES) * 300)
  points = [
    states(draw_motion(name, rngs.pop(), FRAMES))
    for name in CLASSES
    for _ in range(300)
  ]
  return np.reshape(points, (len(CLASSES), 300, *points[0].shape))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return motion_clips.make(tmp_path_factory.mktemp('data') / 'clips', **SMALL)


def contents(root):
  return {
    str(path.relative_to(root)): path.read_bytes()
    for path in sorted(root.rglob('*.mp4'))
  }


def read(path):
  with av.open(str(path)) as file:
    return np.stack(
      [f.to_ndarray(format='rgb24') for f in file.decode(video=0)]
    )


# --- Classes ------------------------------------------------------------------


@pytest.mark.parametrize(('forward', 'backward'), PAIRS)
def test_the_second_of_a_pair_is_the_first_played_backwards(forward, backward):
  one = draw_motion(forward, np.random.default_rng(3), FRAMES)
  other = draw_motion(backward, np.random.default_rng(3), FRAMES)
  np.testing.assert_array_equal(one.position[::-1], other.position)
  np.testing.assert_array_equal(one.orientation[::-1], other.orientation)
  np.testing.assert_array_equal(one.diameter[::-1], other.diameter)
  assert not np.array_equal(states(one), states(other))


@pytest.mark.parametrize('time', [0, FRAMES // 2, FRAMES - 1])
def test_in_one_frame_every_class_is_uniform_on_the_torus(drawn, time):
  # 8 bins: 7 degrees of freedom, and 24.3 is exceeded once in 1000 times; the
  # most extreme of 12 classes x 4 dimensions may be somewhat higher.
  for name, points in zip(CLASSES, drawn[:, :, time, 0], strict=True):
    for dimension in range(4):
      counts = np.histogram(points[:, dimension], bins=8, range=(0, 1))[0]
      expected = len(points) / 8
      chi_square = np.sum((counts - expected) ** 2) / expected
      assert chi_square < 30, (name, dimension, counts)


@pytest.mark.parametrize('time', [0, FRAMES // 2, FRAMES - 1])
def test_a_classifier_of_one_exact_state_stays_at_chance(drawn, time):
  angles = 2 * np.pi * drawn[:, :, time].reshape(len(CLASSES), 300, -1)
  features = np.concatenate(
    [np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)],
    axis=-1,
  )
  train = features[:, :200].reshape(-1, features.shape[-1])
  test = features[:, 200:].reshape(-1, features.shape[-1])
  targets = np.repeat(np.eye(len(CLASSES)), 200, axis=0)
  weights = np.linalg.lstsq(train, targets - 1 / len(CLASSES))[0]
  right = np.argmax(test @ weights, -1) == np.repeat(np.arange(12), 100)
  # 1200 clips, chance 0.083 with a standard error of 0.008.
  assert right.mean() < 0.083 + 3 * 0.008


def classify(points):
  """Returns the class from differences of frames, in turns [T K 4]."""
  steps = np.mod(np.diff(points, axis=0) + 0.5, 1.0) - 0.5
  move = steps.mean(axis=1)  # all objects move alike [T-1 4]
  speed = np.linalg.norm(move[:, :2], axis=-1)  # [T-1]
  if speed[0] < 1e-6:
    return 'starts'
  if speed[-1] < 1e-6:
    return 'stops'
  if abs(move[:, 2].mean()) > 1e-6:
    return 'clockwise' if move[:, 2].mean() > 0 else 'counter_clockwise'
  heading = np.arctan2(move[:, 1].mean(), move[:, 0].mean())
  names = [
    'right',
    'down_right',
    'down',
    'down_left',
    'left',
    'up_left',
    'up',
    'up_right',
  ]
  return names[round(heading / (np.pi / 4)) % 8]


def test_ordered_motion_determines_the_class(drawn):
  for name, clips in zip(CLASSES, drawn, strict=True):
    assert {classify(points) for points in clips} == {name}


def test_circular_paths_turn_as_their_name_says():
  # On the screen y grows downwards: clockwise is from x towards y.
  motion = draw_motion('clockwise', np.random.default_rng(0), 100)
  steps = np.diff(motion.position[:, 0], axis=0)
  steps = steps[np.abs(steps).max(axis=-1) < 0.5]  # without what wraps
  turns = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
  assert np.median(turns) > 0


def test_an_object_is_always_in_view(drawn):
  place = drawn[..., :2] * TORUS - (TORUS - 1) / 2
  in_view = np.all((place > 0) & (place < 1), axis=-1)  # [class clip T K]
  assert in_view.any(axis=-1).all()


def test_objects_wrap_out_of_view(drawn):
  place = drawn[..., :2] * TORUS - (TORUS - 1) / 2
  jump = np.abs(np.diff(place, axis=2)) > TORUS / 2
  assert jump.any()
  # The edge of the torus, where an object of any size jumps, is outside.
  assert DIAMETER[1] / 2 < (TORUS - 1) / 2


# --- Appearance ---------------------------------------------------------------


def test_objects_stand_out_from_the_background():
  least = 1.0
  for seed in range(50):
    drawn = draw_scene('left', np.random.default_rng(seed), FRAMES)
    ground = drawn.background @ LUMINANCE
    for appearance in drawn.appearances[1]:
      for colour in appearance.colours:
        assert np.all((colour > -1e-6) & (colour < 1 + 1e-6))
        least = min(least, np.abs(colour @ LUMINANCE - ground).min())
  assert least > scene.CONTRAST - 1e-6


@pytest.mark.parametrize('shape', SHAPES)
def test_shapes_fill_their_circle_and_do_not_leave_it(shape):
  y, x = np.mgrid[-1.5:1.5:301j, -1.5:1.5:301j]
  inside = SHAPES[shape](x, y) < 0
  assert 0.96 < np.hypot(x, y)[inside].max() < 1.01
  assert 0.2 < inside.sum() * 0.01**2 / np.pi <= 1.01


@pytest.mark.parametrize('texture', ['stripes', 'checks'])
def test_textures_have_two_tones_in_equal_parts(texture):
  y, x = np.mgrid[-2:2:400j, -2:2:400j]
  assert 0.4 < np.mean(TEXTURES[texture](x, y) > 0) < 0.6


def test_any_resolution_shows_the_same_scene():
  drawn = draw_scene('up', np.random.default_rng(1), 3)
  small, large = render(drawn, 32), render(drawn, 96)
  assert small.shape == (3, 32, 32, 3) and small.dtype == np.uint8
  coarse = large.reshape(3, 32, 3, 32, 3, 3).mean(axis=(2, 4))
  assert np.abs(coarse - small).mean() < 3


def test_an_object_is_drawn_where_its_trajectory_is():
  drawn = draw_scene('right', np.random.default_rng(5), 2)
  background = np.broadcast_to(drawn.background[0, 0], drawn.background.shape)
  still = dataclasses.replace(
    drawn,
    appearances=([], drawn.appearances[1]),
    background=background,
    shake=np.zeros((2, 2)),
    gain=np.ones(2),
  )
  place = drawn.objects.position[0] - (TORUS - 1) / 2
  frame = render(still, 64)[0].astype(float)
  off = np.abs(frame - background[0, 0] * 255).sum(-1) > 30
  rows, columns = np.nonzero(off)
  points = np.stack([columns + 0.5, rows + 0.5], axis=-1) / 64
  away = np.linalg.norm(points[:, None] - place, axis=-1)
  assert off.any()
  assert np.all((away < drawn.objects.diameter[0] / 2 + 0.03).any(axis=-1))


# --- Files --------------------------------------------------------------------


def test_the_folder_has_splits_classes_and_clips(folder):
  files = list(contents(folder))
  assert {f.split('/')[0] for f in files} == {'train', 'val', 'test'}
  assert {f.split('/')[1] for f in files} == set(CLASSES)
  for split in ('train', 'val', 'test'):
    assert sum(f.startswith(split) for f in files) == SMALL[split]
  per_class = [len(list((folder / 'test' / c).iterdir())) for c in CLASSES]
  assert sorted(per_class) == [1] * 10 + [2] * 2
  marker = json.loads((folder / motion_clips.MARKER).read_text())
  assert marker['seed'] == 0 and marker['train'] == 24


def test_files_are_h264_of_the_requested_size(folder):
  path = next((folder / 'train' / 'left').iterdir())
  with av.open(str(path)) as file:
    stream = file.streams.video[0]
    assert stream.codec_context.name == 'h264'
    assert (stream.width, stream.height) == (32, 32)
    assert stream.average_rate == 12
    assert stream.frames == 4
    assert len(list(file.decode(stream))) == 4


def test_the_same_seed_writes_the_same_bytes_and_another_one_others(
  folder, tmp_path
):
  again = motion_clips.make(tmp_path / 'again', **SMALL)
  other = motion_clips.make(tmp_path / 'other', **SMALL, seed=1)
  assert contents(again) == contents(folder)
  first = contents(folder)
  assert len(set(first.values())) == len(first)  # no clip is there twice
  assert not set(first.values()) & set(contents(other).values())


def test_worker_processes_write_the_same_bytes(folder, tmp_path):
  shared = motion_clips.make(tmp_path / 'shared', **SMALL | {'processes': 2})
  assert contents(shared) == contents(folder)


def test_files_contain_the_rendered_frames(folder):
  rng = np.random.default_rng([0, 0, CLASSES.index('up'), 1])
  frames = render(draw_scene('up', rng, 4), 32)
  decoded = read(folder / 'train' / 'up' / 'up_00001.mp4')
  error = np.abs(decoded.astype(int) - frames)
  assert error.mean() < 6  # colours have half the resolution


def test_compression_of_a_frame_does_not_depend_on_its_neighbours(tmp_path):
  frames = render(draw_scene('left', np.random.default_rng(0), 8), 64)
  encode.write_video(tmp_path / 'forward.mp4', frames, 12)
  encode.write_video(tmp_path / 'backward.mp4', frames[::-1], 12)
  forward, backward = (
    read(tmp_path / f'{name}.mp4') for name in ('forward', 'backward')
  )
  np.testing.assert_array_equal(forward, backward[::-1])


def test_a_finished_set_is_reused(folder):
  before = {p: p.stat().st_mtime_ns for p in folder.rglob('*')}
  assert motion_clips.make(folder, **SMALL) == folder
  assert {p: p.stat().st_mtime_ns for p in folder.rglob('*')} == before


def test_other_settings_are_refused_and_named(folder):
  with pytest.raises(FileExistsError, match='seed 0, not 7'):
    motion_clips.make(folder, **SMALL, seed=7)


def test_a_set_of_an_older_version_is_reused(folder):
  """Markers had another key, with settings that cannot be changed now."""
  marker = folder / motion_clips.MARKER
  before = marker.read_text()
  marker.write_text(json.dumps(json.loads(before) | {'difficulty': {}}))
  assert motion_clips.make(folder, **SMALL) == folder
  marker.write_text(before)


def test_a_folder_with_other_files_is_not_touched(tmp_path):
  (tmp_path / 'thesis.txt').write_text('years of work')
  with pytest.raises(FileExistsError, match='not the motion_clips data set'):
    motion_clips.make(tmp_path, **SMALL)
  assert os.listdir(tmp_path) == ['thesis.txt']


def test_an_interrupted_run_leaves_no_folder_and_can_be_repeated(
  tmp_path, monkeypatch
):
  root = tmp_path / 'clips'
  few = SMALL | {'train': 12, 'val': 0, 'test': 0}
  write, written = motion_clips.write_video, []

  def interrupted(path, frames, fps):
    if len(written) == 5:
      raise KeyboardInterrupt
    written.append(path)
    write(path, frames, fps)

  monkeypatch.setattr(motion_clips, 'write_video', interrupted)
  with pytest.raises(KeyboardInterrupt):
    motion_clips.make(root, **few)
  assert len(written) == 5 and not list(tmp_path.iterdir())
  monkeypatch.undo()
  # A killed run leaves its folder; a later run removes it after an hour.
  for name, age in (('old', 7200), ('new', 60)):
    left = tmp_path / f'.clips.unfinished-{name}'
    left.mkdir()
    os.utime(left, (left.stat().st_atime, left.stat().st_mtime - age))
  motion_clips.make(root, **few)
  assert len(contents(root)) == 12
  assert sorted(os.listdir(tmp_path)) == ['.clips.unfinished-new', 'clips']


def test_a_set_that_lost_files_is_made_again(tmp_path):
  few = SMALL | {'train': 12, 'val': 0, 'test': 0}
  root = motion_clips.make(tmp_path / 'clips', **few)
  whole = contents(root)
  next((root / 'train' / 'up').iterdir()).unlink()
  motion_clips.make(root, **few)
  assert contents(root) == whole


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    ({'size': 33}, 'even size'),
    ({'num_frames': 1}, 'at least 2 frames'),
    ({'seed': -1}, '0 or more'),
    ({'train': -1}, '0 or more'),
  ],
)
def test_invalid_settings_are_refused(tmp_path, wrong, message):
  with pytest.raises(ValueError, match=message):
    motion_clips.make(tmp_path / 'clips', **SMALL | wrong)
