# SPDX-License-Identifier: Apache-2.0
"""A cache makes reading faster and changes no frame."""

from concurrent.futures import ThreadPoolExecutor
import pickle
import threading

import numpy as np
import pytest

from flatten_jax.inputs.video import encode, reader
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoError,
  VideoTimeout,
)
from flatten_jax.inputs.video.read import FrameCountCorrected, Video
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import damage_frame, moving_square, write_video

# Memory that the cache reserves for a video of these tests.
VIDEO_GIB = 9 * 3 * 16 * 16 * 16 / 9 / 2**30


@pytest.fixture
def opened(monkeypatch):
  """Paths of the files that were opened, in order."""
  paths = []

  class Counted(Video):
    def __init__(self, path, *args):
      paths.append(path)
      super().__init__(path, *args)

  monkeypatch.setattr(reader, 'Video', Counted)
  return paths


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  folder = tmp_path_factory.mktemp('cache')
  frames = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), np.uint8)
  paths = [folder / f'{number}.mp4' for number in range(2)]
  for path in paths:
    encode.write_video(path, frames, 12)
  return paths


def read(cached, path, short_side=16, frames=(5, 0, 5)):
  with cached.open(path, short_side) as video:
    assert (video.num_frames, round(video.fps)) == (9, 12)
    return video.read(frames)


def test_frames_are_the_same_and_read_once(videos, opened):
  cached = Reader({}, 1.0)
  for _ in range(3):
    clip = read(cached, videos[0])
    np.testing.assert_array_equal(clip, read(Reader({}), videos[0]))
  assert len(opened) == 1 + 3


def test_a_video_that_does_not_fit_is_read_every_time(
  videos, opened, monkeypatch
):
  monkeypatch.setattr(reader, 'MAX_SHARE', 1)
  cached = Reader({}, 1.5 * VIDEO_GIB)
  clip = read(Reader({}), videos[0])  # Both files have the same frames.
  opened.clear()
  for _ in range(2):
    for path in videos:
      np.testing.assert_array_equal(read(cached, path), clip)
  assert opened == [videos[0], videos[1], videos[1]]


@pytest.mark.parametrize(('gib', 'short_side'), [(0.0, 16), (1.0, None)])
def test_without_memory_or_size_no_video_is_kept(
  videos, opened, gib, short_side
):
  cached = Reader({}, gib)
  for _ in range(2):
    read(cached, videos[0], short_side)
  assert len(opened) == 2


def test_a_copy_for_a_worker_process_starts_empty(videos, opened):
  cached = Reader({}, 1.0)
  read(cached, videos[0])
  read(pickle.loads(pickle.dumps(cached)), videos[0])
  assert len(opened) == 2


def test_an_unreadable_video_stays_unreadable(tmp_path):
  (tmp_path / 'text.mp4').write_text('no video')
  cached = Reader({}, 1.0)
  for _ in range(2):
    with pytest.raises(VideoError, match=r'text\.mp4'):
      read(cached, tmp_path / 'text.mp4')


def test_a_damaged_video_has_the_same_frames_without_a_cache(tmp_path):
  """It has fewer frames than it claims, which only decoding all of it shows."""
  path = write_video(
    tmp_path / 'video.mp4', moving_square(50), options={'g': '250'}
  )
  damage_frame(path, 30)

  def read(reader, part):
    with reader.open(path, 16) as video:
      assert video.num_frames == 50
      try:
        return video.read([int(part * video.num_frames)])
      except FrameCountCorrected:
        assert video.num_frames <= 30
        return video.read([int(part * video.num_frames)])

  cached = Reader({}, 1.0)
  for part in (0.25, 0.5, 0.99):  # The last one is past the damage.
    plain = read(Reader({}), part)
    for _ in range(2):
      np.testing.assert_array_equal(read(cached, part), plain)


def test_a_long_video_is_not_decoded_whole(videos, opened):
  for share, times in ((15.9, 2), (16.1, 1)):
    opened.clear()
    cached = Reader({}, share * VIDEO_GIB)
    for _ in range(2):
      read(cached, videos[0])
    assert len(opened) == times


def test_a_video_that_takes_too_long_to_decode_whole_is_read_in_parts(
  videos, monkeypatch
):
  expected, original, asked = read(Reader({}), videos[0]), Video.read, []

  def slow(self, frames):
    asked.append(len(frames))
    if len(frames) == 9:
      raise VideoTimeout(str(self._path), 'decoding takes too long')
    return original(self, frames)

  monkeypatch.setattr(Video, 'read', slow)
  cached = Reader({}, 1.0)
  for _ in range(2):
    np.testing.assert_array_equal(read(cached, videos[0]), expected)
  assert asked == [9, 3, 3]


def test_a_decoder_that_hangs_is_not_used_twice_for_one_clip(
  videos, monkeypatch
):
  calls = []

  def hang(self, frames):
    calls.append(len(frames))
    raise DecoderStuck(str(self._path), 'the decoder did not come back')

  monkeypatch.setattr(Video, 'read', hang)
  cached = Reader({}, 1.0)
  with pytest.raises(DecoderStuck):
    read(cached, videos[0])
  assert calls == [9]
  assert cached._cache._used == 0
  with pytest.raises(DecoderStuck):
    read(cached, videos[0])
  assert calls == [9, 3]


def test_threads_together_keep_to_the_limit(videos, tmp_path, monkeypatch):
  """Each reserves memory before it decodes."""
  monkeypatch.setattr(reader, 'MAX_SHARE', 1)
  together, original = threading.Barrier(4), Video.read

  def wait(self, frames):
    together.wait(10)  # All have reserved what they can by now.
    return original(self, frames)

  monkeypatch.setattr(Video, 'read', wait)
  paths = [tmp_path / f'{number}.mp4' for number in range(4)]
  for path in paths:
    path.write_bytes(videos[0].read_bytes())
  cached = Reader({}, 2.5 * VIDEO_GIB)
  with ThreadPoolExecutor(4) as pool:
    clips = list(pool.map(lambda path: read(cached, path), paths))
  assert {len(clip) for clip in clips} == {3}
  cache = cached._cache
  kept = [video.frames.nbytes for video in cache.videos.values()]
  assert len(kept) == 2 and sum(kept) == cache._used <= cache._limit


def test_a_repaired_video_has_the_same_frames_without_a_cache(tmp_path):
  """Decoders repair damage by what they have read since they began."""
  options = {'g': '12', 'bf': '2', 'crf': '5'}
  frames = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
  path = write_video(tmp_path / 'video.mp4', frames, options=options)
  data = np.frombuffer(path.read_bytes(), np.uint8).copy()
  at = np.random.default_rng(1).integers(len(data) // 4, len(data) // 2, 40)
  data[at] ^= 16
  path.write_bytes(data.tobytes())
  with Video(path, 16) as video:
    video.read(range(50))
    assert video.depends_on_clip
  cached = Reader({}, 1.0)
  for first in range(0, 48, 3):
    clips = []
    for ours in (cached, Reader({})):
      with ours.open(path, 16) as video:
        clips.append(video.read([first, first + 2]))
    np.testing.assert_array_equal(*clips)
