# SPDX-License-Identifier: Apache-2.0
"""Whatever a video does, reading it ends: in frames or in an error, in time."""

import pickle
import threading
import time

import numpy as np
import pytest

from flatten_jax.inputs.pipeline import train_batches
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video import read, reader
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoFile,
  VideoTimeout,
)
from flatten_jax.inputs.video.read import VideoError
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import moving_square, write_video


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  folder = tmp_path_factory.mktemp('reader')
  return write_video(folder / 'a:video.mp4', moving_square(20, 48, 64))


def choose(count, fps):
  return np.linspace(0, count - 1, 6).astype(int)


def test_a_file_that_is_not_a_video_is_named_with_the_cause(tmp_path):
  path = tmp_path / 'no.mp4'
  path.write_text('<html>Not found</html>')
  with pytest.raises(VideoError, match=r'no\.mp4: no video, or damaged'):
    Reader({'time_limit': 10.0}).read_clip(path, choose)


def test_a_name_may_hold_any_bytes(tmp_path):
  path = tmp_path / 'caf\udce9.mp4'  # Latin-1, as an old disk has it.
  path.write_bytes(b'no video')
  with pytest.raises(VideoError, match='no video, or damaged'):
    Reader({'time_limit': 10.0}).read_clip(path, choose)


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
