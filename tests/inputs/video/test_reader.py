# SPDX-License-Identifier: Apache-2.0
"""Reading any video ends in time, in frames or in an error."""

import contextlib
import gc
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from flatten_jax.inputs.pipeline import train_batches
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video import reader, running_time, time_limit
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoError,
  VideoFile,
  VideoTimeout,
)
from flatten_jax.inputs.video.read import FrameCountCorrected, Video
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import damage_frame, moving_square, write_video


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  folder = tmp_path_factory.mktemp('reader')
  return write_video(folder / 'a:video.mp4', moving_square(20, 48, 64))


def read(reader, path, short_side=None):
  with reader.open(path, short_side) as video:
    return video.read(np.linspace(0, video.num_frames - 1, 6).astype(int))


# The name of the second is Latin-1, as old disks have it.
@pytest.mark.parametrize('name', ['no.mp4', 'caf\udce9.mp4'])
def test_a_file_that_is_not_a_video_is_named_with_the_cause(tmp_path, name):
  path = tmp_path / name
  path.write_text('<html>Not found</html>')
  with pytest.raises(VideoError, match=r'\.mp4: no video, or damaged'):
    read(Reader({'time_limit': 10.0}), path)


def test_a_slow_decoder_is_stopped(video, monkeypatch):
  original = VideoFile._choose_stream

  def slow(self):
    time.sleep(0.3)
    return original(self)

  monkeypatch.setattr(VideoFile, '_choose_stream', slow)
  start = time.monotonic()
  with pytest.raises(VideoTimeout, match='takes too long'):
    read(Reader({'time_limit': 0.2}), video)
  assert time.monotonic() - start < 1


@pytest.mark.parametrize('method', ['_open', '_read'])
def test_a_decoder_that_does_not_return_is_left_behind(
  video, monkeypatch, method
):
  """Libraries wait without end for a disk that is gone."""
  forever, waiting = threading.Event(), []

  def hang(*_):
    waiting.append(True)
    forever.wait()

  monkeypatch.setattr(Video, method, hang)
  monkeypatch.setattr(reader, 'MAX_STUCK', 2)
  monkeypatch.setattr(time_limit, 'patience', lambda seconds: 0.3)
  ours = Reader({'time_limit': 0.2})
  for _ in range(2):
    with pytest.raises(DecoderStuck, match=r'did not come back within 0\.3 s'):
      read(ours, video)
  with pytest.raises(RuntimeError, match='Is the disk still there'):
    read(ours, video)
  assert len(waiting) == 2
  forever.set()


def test_what_was_read_in_time_stays_when_the_time_is_over(video):
  """Flow, say, is computed between the last frame and the end."""
  with Video(video, time_limit=60.0) as file:
    frames = file.read(np.arange(2))
    file._limit._end = running_time.now() - 1
  assert len(frames) == 2


STOPPED = """
import time
from flatten_jax.inputs.video.time_limit import TimeLimit

limit = TimeLimit(0.5, 'a.mp4')
print('begun', flush=True)
limit.call(time.sleep, 0.3)
limit.call(time.sleep, 0.1)
"""


def test_time_in_which_the_process_is_stopped_does_not_count(pytestconfig):
  """By Ctrl-Z, or by a scheduler that suspends a job."""
  command = [sys.executable, '-c', STOPPED]
  with subprocess.Popen(
    command, cwd=pytestconfig.rootpath, stdout=subprocess.PIPE
  ) as process:
    assert process.stdout.readline() == b'begun\n'
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)  # A decoder counts as stuck after 1.5 s.
    process.send_signal(signal.SIGCONT)
  assert process.returncode == 0


def test_an_error_frees_the_decoder_at_once(tmp_path):
  """A cycle of error and traceback would keep it until a garbage collection."""
  path = tmp_path / 'video.mp4'
  write_video(path, moving_square(50), options={'g': '250'})
  damage_frame(path, 30)
  gc.disable()
  try:
    with Reader({'time_limit': 10.0}).open(path) as video:
      opened = weakref.ref(video)
      with contextlib.suppress(FrameCountCorrected):
        video.read([49])
    del video
    assert opened() is None
  finally:
    gc.enable()


def test_training_continues_without_a_video_that_hangs(
  video, settings, tmp_path, monkeypatch
):
  slow = write_video(tmp_path / 'slow.mp4', moving_square(8))
  original, forever = Video._open, threading.Event()

  def hang(self, table):
    if 'slow' in str(self._path):
      forever.wait()
    return original(self, table)

  monkeypatch.setattr(Video, '_open', hang)
  monkeypatch.setattr(time_limit, 'patience', lambda seconds: 0.3)
  records = (Record('a', str(video), 0), Record('slow', str(slow), 1))
  settings |= {'time_limit': 0.2}
  with train_batches(
    Videos(records, ('x', 'y')), settings, seed=0, batch_size=2
  ) as batches:
    batch = next(batches)
  assert batch['index'].tolist() == [0, 0]
  assert sorted(batch['failed'].tolist()) == [-1, 1]
  assert any(b'did not come back' in error for error in batch['error'])
  forever.set()


def test_a_reader_can_be_sent_to_a_worker_process(video):
  ours = pickle.loads(pickle.dumps(Reader({'time_limit': 3.0}, 0.1)))
  assert read(ours, video).shape == (6, 48, 64, 3)
