# SPDX-License-Identifier: Apache-2.0
"""Videos as stacks of optical flow, computed while reading."""

import itertools

import cv2
import numpy as np
import pytest

from flatten_jax.inputs.flow import fields, methods, prepared_flow
from flatten_jax.inputs.flow.flow_video import FlowOptions
from flatten_jax.inputs.parts import Part, read_clip
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader, open_any
from tests.support.video_maker import damage_frame, write_video

METHODS = sorted(methods.METHODS)
HAS_TVL1 = hasattr(cv2, 'optflow')


def sliding(num_frames, step, side=64):
  """Returns a texture that moves by (x, y) px a frame. uint8 [T H W 3]."""
  rng, (x, y) = np.random.default_rng(0), step
  size = side + 2 * num_frames * max(map(abs, step))
  texture = rng.random((size, size), np.float32)
  texture = cv2.GaussianBlur(texture, (0, 0), 3)
  texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
  middle = (size - side) // 2
  frames = [
    texture[middle - y * t :, middle - x * t :][:side, :side]
    for t in range(num_frames)
  ]
  return np.stack([frames] * 3, axis=-1).astype(np.uint8)


def options(count=2, with_rgb=False, method='dis'):
  return FlowOptions(method, count, with_rgb)


def by_hand(frames):
  """Returns the fields of decoded frames. uint8 [N-1 H W 2]."""
  flow = methods.dis()
  grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
  pairs = itertools.pairwise(grey)
  return np.stack([fields.to_bytes(flow(*pair)) for pair in pairs])


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  """A video of eight frames that slides to the right and up."""
  path = tmp_path_factory.mktemp('flow') / 'slides.mp4'
  return write_video(path, sliding(8, (2, -1)))


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('step', [(2, 0), (-3, 0), (0, 2), (1, -2)])
def test_flow_is_the_motion_to_the_next_frame(method, step):
  if method == 'tvl1' and not HAS_TVL1:
    pytest.skip('OpenCV has no contributed modules.')
  grey = sliding(2, step)[..., 0]
  found = methods.METHODS[method]()(*grey)
  inside = found[12:-12, 12:-12].reshape(-1, 2)
  np.testing.assert_allclose(np.median(inside, axis=0), step, atol=0.2)


@pytest.mark.parametrize(
  ('label', 'axis', 'sign'),
  [('left', 0, -1), ('right', 0, 1), ('up', 1, -1), ('down', 1, 1)],
)
def test_classes_of_the_embedded_set_are_directions(
  clips_root, label, axis, sign
):
  paths = list(clips_root.glob(f'*/{label}/*.mp4'))
  assert paths
  for path in paths:
    with open_any(path, 64, flow=options(1)) as video:
      flow = fields.to_flow(video.read(range(video.num_frames - 1)))
    moving = flow[np.hypot(flow[..., 0], flow[..., 1]) > 0.5].mean(axis=0)
    assert sign * moving[axis] > 0.4
    assert abs(moving[1 - axis]) < 0.5 * abs(moving[axis])


@pytest.mark.parametrize('method', ['dis', 'farneback'])
@pytest.mark.parametrize('side', [16, 32, 48, 64])
def test_flow_does_not_depend_on_what_was_computed_before(method, side):
  frames = sliding(4, (1, -2), side)[..., 0]
  pairs = list(itertools.pairwise(frames))
  used = methods.METHODS[method]()
  for pair in pairs:
    fresh = methods.METHODS[method]()
    np.testing.assert_array_equal(used(*pair), fresh(*pair))


@pytest.mark.skipif(HAS_TVL1, reason='OpenCV has contributed modules.')
def test_tvl1_says_what_it_needs():
  with pytest.raises(RuntimeError, match='opencv-contrib-python-headless'):
    methods.tvl1()


@pytest.mark.skipif(HAS_TVL1, reason='OpenCV has contributed modules.')
def test_a_run_by_a_missing_method_does_not_begin(tmp_path):
  data = {'input': 'flow', 'flow_method': 'tvl1', 'root': str(tmp_path)}
  with pytest.raises(RuntimeError, match='opencv-contrib-python-headless'):
    prepared_flow.check(data)
  prepared_flow.check(data | {'input': 'rgb'})


@pytest.mark.parametrize('with_rgb', [False, True])
def test_a_frame_is_the_fields_from_it_on_oldest_first(video, with_rgb):
  with open_any(video) as plain:
    frames = plain.read(range(plain.num_frames))
  expected = by_hand(frames)
  flow = options(count=3, with_rgb=with_rgb)
  with open_any(video, flow=flow) as opened:
    assert opened.num_frames == 8
    found = opened.read([4, 0, 4])
    streamed = dict(opened.decode([0, 4]))
  for t, stack in zip((4, 0, 4), found, strict=True):
    if with_rgb:
      np.testing.assert_array_equal(stack[..., :3], frames[t])
      stack = stack[..., 3:]
    for i in range(3):
      ours = stack[..., 2 * i : 2 * i + 2]
      np.testing.assert_array_equal(ours, expected[t + i], (t, i))
  np.testing.assert_array_equal(streamed[4], found[0])
  np.testing.assert_array_equal(streamed[0], found[1])


def test_flow_is_computed_at_the_size_of_the_frames(video):
  with open_any(video, 32) as plain:
    expected = by_hand(plain.read([3, 4]))
  with open_any(video, 32, flow=options(1)) as opened:
    np.testing.assert_array_equal(opened.read([3]), expected)


def test_the_last_field_repeats_where_a_video_ends(video):
  with open_any(video, flow=options(3)) as opened:
    late, last = opened.read([5, 7])
  np.testing.assert_array_equal(late[..., 2:4], last[..., :2])
  for i in (2, 4):
    np.testing.assert_array_equal(last[..., :2], last[..., i : i + 2])


@pytest.mark.parametrize('with_rgb', [False, True])
def test_one_frame_does_not_move(tmp_path, with_rgb):
  path = write_video(tmp_path / 'one.mp4', sliding(1, (1, 0)))
  with open_any(path, flow=options(2, with_rgb)) as opened:
    (found,) = opened.read([0])
    assert Part.of(Record('one', path, 0), opened).fps == 25
  assert found.shape == (64, 64, 4 + 3 * with_rgb)
  assert (found[..., -4:] == fields.ZERO).all()


def test_frames_too_small_for_flow_are_named(video):
  with (
    open_any(video, 8, flow=options(1)) as opened,
    pytest.raises(VideoError, match=r'slides.mp4: no optical flow of 8 x 8 px'),
  ):
    opened.read([0])


@pytest.mark.parametrize('kind', ['flow', 'rgb+flow'])
@pytest.mark.parametrize('gib', [0.0, 0.1])
def test_a_cached_video_has_the_same_flow(video, kind, gib):
  data = {'input': kind, 'flow_frames': 2, 'flow_method': 'dis'}
  with open_any(video, 48, flow=FlowOptions.of(data)) as opened:
    expected = opened.read([1, 5])
  reader = Reader(data, gib)
  for _ in range(2):
    with reader.open(video, 48) as opened:
      assert opened.num_frames == 8
      np.testing.assert_array_equal(opened.read([1, 5]), expected)


@pytest.mark.parametrize('kind', ['flow', 'rgb+flow'])
def test_a_damaged_video_is_sampled_as_long_as_it_is(tmp_path, kind):
  path = write_video(tmp_path / 'cut.mp4', sliding(16, (1, 0)))
  damage_frame(path, 8)
  data = {'input': kind, 'flow_frames': 2, 'flow_method': 'dis'}
  lengths = []

  def sample(part):
    lengths.append(part.length)
    return np.array([0, part.length - 3])

  clip, _ = read_clip(Reader(data), Record('cut', path, 0), None, sample)
  assert len(lengths) == 2
  assert lengths[0] > lengths[1]
  assert len(clip) == 2
