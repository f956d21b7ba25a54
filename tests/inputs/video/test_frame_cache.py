# SPDX-License-Identifier: Apache-2.0
"""A cache changes how fast frames come, and nothing else."""

from concurrent.futures import ThreadPoolExecutor
import pickle
import threading

import numpy as np
import pytest

from flatten_jax.inputs.video import encode, frame_cache
from flatten_jax.inputs.video.container import DecoderStuck, VideoTimeout
from flatten_jax.inputs.video.frame_cache import FrameCache
from flatten_jax.inputs.video.read import VideoError, read_clip
from tests.support.video_maker import damage_frame, moving_square, write_video


@pytest.fixture
def opened(monkeypatch):
  """Paths that were really read, in order."""
  paths = []

  def counted(path, *args):
    paths.append(path)
    return read_clip(path, *args)

  monkeypatch.setattr(frame_cache, 'read_clip', counted)
  return paths


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  folder = tmp_path_factory.mktemp('cache')
  frames = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), np.uint8)
  paths = [folder / f'{number}.mp4' for number in range(2)]
  for path in paths:
    encode.write_video(path, frames, 12)
  return paths


def choose(count, fps):
  assert (count, round(fps)) == (9, 12)
  return [5, 0, 5]


def test_frames_are_the_same_and_read_once(videos, opened):
  cache = FrameCache(1.0)
  for _ in range(3):
    clip = cache.read_clip(videos[0], choose, 16)
    np.testing.assert_array_equal(clip, read_clip(videos[0], choose, 16))
  assert opened == [videos[0]]


def test_what_does_not_fit_is_read_every_time(videos, opened, monkeypatch):
  monkeypatch.setattr(frame_cache, 'SHARE', 1)
  one_video = 9 * 16 * 24 * 3 / 2**30
  cache = FrameCache(1.5 * one_video)
  for _ in range(2):
    for path in videos:
      clip = cache.read_clip(path, choose, 16)
      np.testing.assert_array_equal(clip, read_clip(path, choose, 16))
  assert opened == [videos[0], videos[1], videos[1]]


def test_without_memory_or_size_nothing_is_kept(videos, opened):
  for cache, side in ((FrameCache(0), 16), (FrameCache(1), None)):
    opened.clear()
    for _ in range(2):
      cache.read_clip(videos[0], choose, side)
    assert len(opened) == 2


def test_a_copy_for_a_worker_starts_empty(videos, opened):
  cache = FrameCache(1.0)
  cache.read_clip(videos[0], choose, 16)
  pickle.loads(pickle.dumps(cache)).read_clip(videos[0], choose, 16)
  assert len(opened) == 2


def test_an_unreadable_video_stays_unreadable(tmp_path):
  (tmp_path / 'text.mp4').write_text('no video')
  cache = FrameCache(1.0)
  for _ in range(2):
    with pytest.raises(VideoError, match=r'text\.mp4'):
      cache.read_clip(tmp_path / 'text.mp4', choose, 16)


def test_a_damaged_video_looks_the_same_without_a_cache(tmp_path):
  """It has fewer frames than it says, which only decoding all of it shows."""
  path = write_video(
    tmp_path / 'video.mp4', moving_square(50), options={'g': '250'}
  )
  damage_frame(path, 30)
  cache = FrameCache(1.0)
  for part in (0.25, 0.5, 0.99):  # 0.99 of what it says is not there.

    def choose(count, fps, part=part):
      return [int(part * count)]

    plain = read_clip(path, choose, 16)
    for _ in range(2):
      np.testing.assert_array_equal(cache.read_clip(path, choose, 16), plain)


def test_a_long_video_is_not_decoded_whole(videos, opened):
  estimate = 9 * 3 * 16 * 16 * 16 / 9 / 2**30
  for share, times in ((15.9, 2), (16.1, 1)):
    opened.clear()
    cache = FrameCache(share * estimate)
    for _ in range(2):
      cache.read_clip(videos[0], choose, 16)
    assert len(opened) == times


def test_what_cannot_be_decoded_whole_in_time_is_read_in_parts(videos):
  asked = []

  def read(path, pick, short_side):
    """As a reader with a time limit, of a video that takes too long."""
    frames = pick(9, 12.0)
    asked.append(len(frames))
    if len(frames) == 9:
      raise VideoTimeout(str(path), 'decoding takes too long')
    return read_clip(path, pick, short_side)

  cache = pickle.loads(pickle.dumps(FrameCache(1.0)))
  cache._reads = read
  for _ in range(2):
    clip = cache.read_clip(videos[0], choose, 16)
    np.testing.assert_array_equal(clip, read_clip(videos[0], choose, 16))
  assert asked == [9, 3, 3]


@pytest.mark.parametrize('begun', [True, False])
def test_a_decoder_that_hangs_is_not_asked_twice_for_one_clip(videos, begun):
  later = []

  def read(path, pick, short_side):
    later.append(pick)
    if begun:
      pick(9, 12.0)
    raise DecoderStuck(str(path), 'the decoder did not come back')

  cache = FrameCache(1.0, read)
  with pytest.raises(DecoderStuck):
    cache.read_clip(videos[0], choose, 16)
  assert len(later) == 1
  later[0](9, 12.0)  # It comes back after all.
  assert not cache._reserved


def test_threads_together_keep_to_the_limit(videos, tmp_path, monkeypatch):
  """Each sets aside what it will need before it decodes."""
  monkeypatch.setattr(frame_cache, 'SHARE', 1)
  together = threading.Barrier(4)

  def read(path, pick, short_side):
    count = len(pick(9, 12.0))
    together.wait(10)  # All have been told how much to read by now.
    return np.zeros((count, 16, 28, 3), np.uint8)

  cache = FrameCache(2.5 * 9 * 3 * 16 * 16 * 16 / 9 / 2**30, read)
  with ThreadPoolExecutor(4) as pool:
    names = [f'{number}.mp4' for number in range(4)]
    jobs = [pool.submit(cache.read_clip, n, choose, 16) for n in names]
    assert {len(job.result()) for job in jobs} == {3}
  kept = [frames.nbytes for frames, _ in cache._videos.values()]
  assert len(kept) == 2 and sum(kept) <= cache._limit
  assert not cache._reserved
