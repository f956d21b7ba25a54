# SPDX-License-Identifier: Apache-2.0
"""Whatever a video does, reading it ends: in frames or in an error, in time."""

import csv
import pathlib
import pickle
import threading
import time

import numpy as np
import pytest

from flatten_jax.inputs.pipeline import eval_batches, train_batches
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video import read, reader, second_decoder
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  NoVideo,
  VideoFile,
  VideoTimeout,
)
from flatten_jax.inputs.video.read import VideoError, read_clip
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import moving_square, write_video


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  folder = tmp_path_factory.mktemp('reader')
  return write_video(folder / 'a:video.mp4', moving_square(20, 48, 64))


def choose(count, fps):
  return np.linspace(0, count - 1, 6).astype(int)


def refuse(path, *_):
  if not pathlib.Path(path).exists():
    raise NoVideo(str(path), 'no such file')
  raise VideoError(str(path), 'the first decoder is out of order')


# --- The second decoder -------------------------------------------------------


def test_the_second_decoder_is_tried_and_it_is_known_why(video, monkeypatch):
  ours = Reader({'time_limit': 10.0})
  expected = ours.read_clip(video, choose)
  assert ours.fallback(video) == ''
  monkeypatch.setattr(read, 'read_clip', refuse)
  np.testing.assert_array_equal(ours.read_clip(video, choose), expected)
  assert ours.fallback(video) == 'the first decoder is out of order'
  small = ours.read_clip(video, choose, 24)
  assert small.shape == (6, 24, 32, 3)


def test_where_both_fail_the_first_one_s_cause_is_told(tmp_path):
  path = tmp_path / 'no.mp4'
  path.write_text('<html>Not found</html>')
  with pytest.raises(VideoError, match=r'no\.mp4: no video, or damaged'):
    Reader({'time_limit': 10.0}).read_clip(path, choose)


def test_a_name_that_crashes_opencv_never_gets_there(tmp_path):
  path = tmp_path / 'caf\udce9.mp4'  # Latin-1, as an old disk has it.
  path.write_bytes(b'no video')
  with pytest.raises(VideoError, match='takes UTF-8 names only'):
    second_decoder.read_clip(path, choose)
  with pytest.raises(VideoError, match='no video, or damaged'):
    Reader({'time_limit': 10.0}).read_clip(path, choose)


def test_a_batch_says_that_the_second_decoder_was_needed(
  video, settings, monkeypatch
):
  videos = Videos(
    (Record('a', str(video), 0), Record('b', '/no', 1)), ('x', 'y')
  )
  monkeypatch.setattr(read, 'read_clip', refuse)
  (batch,) = eval_batches(videos, settings, batch_size=12)
  first = batch['index'] == 0
  assert batch['mask'][first].all() and (batch['failed'][first] == -1).all()
  assert set(batch['error'][first]) == {b'the first decoder is out of order'}
  with train_batches(videos, settings, seed=0, batch_size=4) as batches:
    batch = next(batches)
  assert sorted(set(batch['failed'].tolist())) == [-1, 1]
  assert set(batch['error']) == {
    b'the first decoder is out of order',
    b'no such file',
  }


@pytest.mark.parametrize('rotation', [0, 90])
@pytest.mark.parametrize('aspect', [None, '4/3'])
def test_both_decoders_agree_on_the_shape(tmp_path, rotation, aspect):
  path = tmp_path / 'turned.mp4'
  frames = moving_square(5, 48, 64)
  write_video(path, frames, rotation=rotation, aspect=aspect)
  for short_side in (None, 24):
    ours = read_clip(path, choose, short_side)
    theirs = second_decoder.read_clip(path, choose, short_side)
    assert ours.shape == theirs.shape
    # A picture of hard edges, which the two scale differently.
    most = 8 if short_side or aspect else 0
    assert np.abs(ours.astype(int) - theirs).mean() <= most


# OpenCV has no decoder for the one and converts ten bits in another way; the
# damaged header upsets decoders for good, and differently after seeking.
DIFFERENT = {
  'codecs/av1_video.mkv',
  'codecs/nasa_13013_hevc10bit_hdr.mp4',
  'broken/bitflips_avi.avi',
}


def test_both_decoders_give_the_same_frames_of_real_videos(real_clips):
  with open(real_clips / 'probe.tsv', newline='') as file:
    rows = [
      row
      for row in csv.DictReader(file, delimiter='\t')
      if 0 < int(row['decoded_frames'] or 0) <= 170
      and int(row['bytes']) < 400_000
      and row['file'] not in DIFFERENT
    ]
  assert len(rows) > 20
  for row in rows:
    path = real_clips / row['file']
    ours = read_clip(path, choose)
    theirs = second_decoder.read_clip(path, choose)
    assert ours.shape == theirs.shape, row['file']
    if set(map(int, row['size'].split('x'))) == set(ours.shape[1:3]):
      np.testing.assert_array_equal(ours, theirs, row['file'])
    else:  # Pixels are no squares: the two widen them differently.
      assert np.abs(ours.astype(int) - theirs).mean() < 3, row['file']


# --- The time limit -----------------------------------------------------------


def test_a_decoder_that_goes_on_and_on_is_stopped(video, monkeypatch):
  original = VideoFile._choose_stream

  def slow(self):
    time.sleep(0.3)
    return original(self)

  monkeypatch.setattr(VideoFile, '_choose_stream', slow)
  start = time.monotonic()
  with pytest.raises(VideoTimeout, match='takes too long'):
    Reader({'time_limit': 0.2}).read_clip(video, choose)
  assert time.monotonic() - start < 1
  with pytest.raises(VideoTimeout, match='takes too long'):
    second_decoder.read_clip(video, choose, None, time.monotonic())


def test_a_decoder_that_does_not_come_back_is_left_behind(video, monkeypatch):
  """As a library would that waits for a disk that is gone."""
  forever, waiting = threading.Event(), []

  def hang(*_):
    waiting.append(True)
    forever.wait()

  monkeypatch.setattr(read, 'read_clip', hang)
  monkeypatch.setattr(reader, 'MAX_STUCK', 2)
  monkeypatch.setattr(reader.time_limit, 'patience', lambda limit: 0.1)
  ours = Reader({'time_limit': 0.05})
  for _ in range(2):
    with pytest.raises(DecoderStuck, match=r'did not come back within 0\.1 s'):
      ours.read_clip(video, choose)
  with pytest.raises(RuntimeError, match='Is the disk still there'):
    ours.read_clip(video, choose)
  assert len(waiting) == 2
  forever.set()


def test_training_goes_on_without_a_video_that_hangs(
  video, settings, tmp_path, monkeypatch
):
  slow = write_video(tmp_path / 'slow.mp4', moving_square(8))
  original, forever = read.read_clip, threading.Event()

  def hang(path, *rest):
    if 'slow' in str(path):
      forever.wait()
    return original(path, *rest)

  monkeypatch.setattr(read, 'read_clip', hang)
  monkeypatch.setattr(reader.time_limit, 'patience', lambda limit: 0.2)
  records = (Record('a', str(video), 0), Record('slow', str(slow), 1))
  settings |= {'time_limit': 0.1}
  with train_batches(
    Videos(records, ('x', 'y')), settings, seed=0, batch_size=2
  ) as batches:
    batch = next(batches)
  assert batch['index'].tolist() == [0, 0]
  assert sorted(batch['failed'].tolist()) == [-1, 1]
  assert any(b'did not come back' in error for error in batch['error'])
  forever.set()


def test_a_reader_travels_to_a_worker(video):
  ours = pickle.loads(pickle.dumps(Reader({'time_limit': 3.0}, 0.1)))
  assert ours.read_clip(video, choose).shape == (6, 48, 64, 3)
