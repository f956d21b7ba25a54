# SPDX-License-Identifier: Apache-2.0
"""A stream is read in a thread: live ones go on, files wait, servers break."""

import contextlib
import os
import threading
import time
import types

import av
import numpy as np
import pytest

from flatten_jax.inputs.streams import connection, reader
from flatten_jax.inputs.streams.reader import StreamReader
from flatten_jax.inputs.streams.sliding import StreamClock
from flatten_jax.inputs.streams.sources import Source, StreamError
from flatten_jax.inputs.video.reader import open_any
from tests.support.live_server import LiveServer, encode, number_of, shaded
from tests.support.rtsp_server import RtspServer, rtp_packets
from tests.support.video_maker import moving_square, write_video

DATA = dict(
  num_frames=4,
  sampling='dense',
  stride=1,
  repeat_frame=False,
  input='rgb',
  crop=16,
  test_crop=0,
  test_short_side=16,
  resize=(),
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
  monkeypatch.setattr(reader, 'FIRST_PAUSE', 0.05)


@contextlib.contextmanager
def reading(place, **options):
  options = {'every': 0.2, 'window': 0.2, 'timeout': 5.0} | options
  stream = StreamReader(place, DATA, **options)
  try:
    yield stream
  finally:
    stream.close()
    assert not stream._thread.is_alive()


def numbers(window):
  return [number_of(frame.image) for frame in window.frames]


def test_a_file_waits_until_each_window_is_taken(tmp_path):
  path = write_video(tmp_path / 'a.mp4', shaded(50))
  with reading(path) as stream:
    windows = iter(stream)
    time.sleep(0.3)  # It could be at the end by now.
    assert 5 <= stream._count < 15
    found = []
    for window in windows:
      time.sleep(0.01)
      found.append(numbers(window))
    assert found == [[i, i + 1, i + 2, i + 4] for i in range(0, 50, 5)]
    assert stream.skipped == stream.dropped == 0


@pytest.fixture
def pipe():
  """Returns a stream to read, and a function that writes to it in a thread."""
  read, write = os.pipe()
  with os.fdopen(read, 'rb') as source, os.fdopen(write, 'wb', 0) as sink:
    threads = []

    def send(data, last=False):
      threads.append(
        threading.Thread(
          target=lambda: sink.write(data) and last and sink.close()
        )
      )
      threads[-1].start()

    yield source, send
    for thread in threads:
      thread.join()


def test_a_pipe_is_read_while_it_is_written(pipe):
  source, send = pipe
  parts = encode(shaded(40))
  send(b''.join(parts[:30]))
  with reading(source) as stream:
    windows = iter(stream)
    assert numbers(next(windows)) == [0, 1, 2, 4]
    send(b''.join(parts[30:]), last=True)
    assert [numbers(window)[0] for window in windows] == list(range(5, 40, 5))


def test_a_pipe_that_falls_silent_is_an_error(pipe):
  source, send = pipe
  send(b''.join(encode(shaded(40))))
  stream = StreamReader(source, DATA, every=0.2, window=0.2, timeout=0.3)
  with pytest.raises(StreamError, match=r'stdin: nothing came for 0\.3 s'):
    list(stream)
  stream.close()
  send(b' ', last=True)  # Frees the thread that still reads.
  stream._thread.join(timeout=5)
  assert not stream._thread.is_alive()


def test_a_live_stream_drops_windows_rather_than_fall_behind():
  film = encode(shaded(100), rate=50)
  with LiveServer(film, rate=50) as server, reading(server.url) as stream:
    taken = []
    for window in stream:
      taken.append(window)
      time.sleep(0.5)  # A slow model: every 0.2 s there is a window.
      if len(taken) == 3:
        break
    assert taken[-1].start >= 0.8
    late = time.monotonic() - taken[-1].arrived
    assert late < 0.5 + 0.2 + 0.8  # At most, on a busy machine.
    assert stream.skipped >= 2
    # Those of windows that nobody took, of ten frames each.
    assert stream.dropped >= 10 * stream.skipped - 3


def test_overlapping_windows_drop_no_frame_that_another_shows():
  film = encode(shaded(80), rate=50)
  with (
    LiveServer(film, rate=50) as server,
    reading(server.url, every=0.1, window=0.8) as stream,
  ):
    for taken, _ in enumerate(stream):
      time.sleep(0.2)
      if taken == 2:
        break
    assert stream.skipped >= 1 and stream.dropped == 0


@pytest.mark.parametrize('http', [False, True])
def test_a_broken_connection_comes_back(http, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  first, second = encode(shaded(15)), encode(shaded(15, first=30))
  with (
    LiveServer(first, second, rate=100, http=http) as server,
    reading(server.url) as stream,
  ):
    windows = iter(stream)
    found = [next(windows) for _ in range(5)]
    shown = [numbers(window) for window in found]
    assert stream.live and server.connections >= 2
  for window in shown:  # None has frames of both.
    assert max(window) < 15 or min(window) >= 30
  assert any(min(window) >= 30 for window in shown)
  starts = [window.start for window in found]
  assert starts == sorted(starts)
  assert 'Connecting again in 0.05 s' in caplog.text
  assert 'connected again' in caplog.text


def test_it_gives_up_when_told_how_often(caplog):
  server = LiveServer(encode(shaded(15)))
  with server, reading(server.url, reconnects=3) as stream:
    windows = iter(stream)
    next(windows)
    server.__exit__()
    with pytest.raises(StreamError, match='Gave up after 3 attempts'):
      list(windows)
  pauses = [r.args[2] for r in caplog.records if 'again in' in r.message]
  assert pauses == [0.05, 0.1, 0.2][-len(pauses) :]


def test_pauses_grow_to_a_limit_in_the_longest_outage(monkeypatch, caplog):
  with LiveServer(encode(shaded(15))) as server:
    stream = StreamReader(server.url, DATA, every=0.2, window=0.2)
  monkeypatch.setattr(reader, 'LONGEST_PAUSE', 0.2)
  pauses = []

  def wait(seconds):
    pauses.append(seconds)
    return len(pauses) == 5000 and stream._stop.set()

  def refused(live):
    raise StreamError('it', 'is gone')

  monkeypatch.setattr(stream._stop, 'wait', wait)
  monkeypatch.setattr(stream, '_connect', refused)
  caplog.set_level('ERROR', 'flatten_jax')
  assert not stream._connect_again('it ended')
  assert pauses[:4] == [0.05, 0.1, 0.2, 0.2] and pauses[-1] == 0.2


def test_a_silent_connection_is_made_again():
  with (
    LiveServer(encode(shaded(15)), stays=True) as server,
    reading(server.url, timeout=0.3, reconnects=0) as stream,
    pytest.raises(StreamError, match=r'nothing came for 0\.3 s. Gave up'),
  ):
    list(stream)


def test_lost_packets_leave_frames_out(tmp_path):
  parts = encode(shaded(60))
  for number in (30, 31):
    parts[number] = bytes(188)
  path = tmp_path / 'a.ts'
  path.write_bytes(b''.join(parts))
  with reading(path) as stream:
    found = [numbers(window) for window in stream]
  assert found[0] == [0, 1, 2, 4] and found[-1] == [55, 0, 1, 3]
  assert not {30, 31} & {number for window in found for number in window}


def test_damaged_packets_are_passed_over(tmp_path, caplog):
  path = write_video(tmp_path / 'a.avi', shaded(60), codec='mjpeg')
  images = path.read_bytes().split(b'\xff\xd8\xff')
  for number in (31, 32):
    images[number] = bytes(len(images[number]))
  path.write_bytes(b'\xff\xd8\xff'.join(images))
  with reading(path) as stream:
    found = [numbers(window) for window in stream]
  assert len(found) >= 11 and found[-1][0] >= 50
  assert not {30, 31} & {number for window in found for number in window}
  assert caplog.text.count('passes over what is damaged') == 1


def test_a_stream_whose_size_changes_goes_on(tmp_path):
  path = tmp_path / 'a.ts'
  wide = encode(shaded(20)) + encode(shaded(20, height=48, width=48), first=20)
  path.write_bytes(b''.join(wide))
  with reading(path) as stream:
    shapes = [window.clip.shape for window in stream]
  assert shapes[0] == (4, 16, 24, 3) and shapes[-1] == (4, 16, 16, 3)


def test_a_file_without_a_frame_is_an_error(tmp_path):
  path = write_video(tmp_path / 'a.mp4', shaded(10))
  cut = tmp_path / 'cut.ts'
  cut.write_bytes(b''.join(encode(shaded(10)))[:188])
  with pytest.raises(StreamError):
    StreamReader(cut, DATA, every=1.0, window=1.0)
  with reading(path, window=9.0) as stream:
    assert list(stream) == []  # It ends before a window is full.


def test_packets_that_waited_too_long_are_dropped_up_to_a_keyframe():
  lag = connection.Lag()

  def packet(seconds, key=False):
    return types.SimpleNamespace(
      dts=round(seconds * 1000), pts=None, time_base=1e-3, is_keyframe=key
    )

  assert not lag.is_late(packet(0, True), 10.0, 0.0)
  assert not lag.is_late(packet(0.1), 10.1, 0.1)
  assert lag.is_late(packet(0.2), 11.5, 0.0)  # It lay there for 1.3 s.
  assert lag.is_late(packet(1.3), 11.5, 0.0)  # In time, and refers to those.
  assert not lag.is_late(packet(1.4, True), 11.5, 0.0)
  assert not lag.is_late(packet(1.5), 11.5, 0.0)
  assert not lag.is_late(packet(1.6), 20.0, 5.0)  # The source itself paused.
  assert not lag.is_late(packet(900), 20.1, 0.0)  # It has a new clock.


def test_a_slow_decoder_goes_on_from_a_later_keyframe(monkeypatch):
  plain = connection.Connection._image

  def slow(self, frame):
    time.sleep(0.05)
    return plain(self, frame)

  monkeypatch.setattr(connection.Connection, '_image', slow)
  film = encode(shaded(240), rate=100)
  begin = time.monotonic()
  with LiveServer(film, rate=100) as server:
    stream = StreamReader(
      *(server.url, DATA), every=0.1, window=0.04, reconnects=0
    )
    with pytest.raises(StreamError, match='it ended'):
      list(stream)
    stream.close()
  assert time.monotonic() - begin < 2.4 + 4  # All of it would take 12 s.
  assert stream.dropped > 60


def test_frames_are_those_of_the_file_at_the_size_of_a_test_view(tmp_path):
  path = write_video(tmp_path / 'a.mp4', shaded(10), rotation=90)
  with reading(path) as stream:
    window = next(iter(stream))
  assert window.clip.shape == (4, 24, 16, 3)  # upright
  with av.open(str(path)) as file:
    plain = [f.to_ndarray(format='rgb24') for f in file.decode(video=0)]
  means = [image.mean() for image in window.clip]
  np.testing.assert_allclose(
    means, [plain[i].mean() for i in (0, 1, 2, 4)], atol=1
  )


@pytest.mark.parametrize('name', ['a.avi', 'a.asf', 'a.mkv'])
def test_frames_that_reorder_have_the_times_of_the_file(tmp_path, name):
  frames = moving_square(24)
  path = write_video(tmp_path / name, frames, options={'bf': '2', 'g': '12'})
  with open_any(path) as video:
    expected = video.times[:-1]
  source, clock = Source.of(path), StreamClock(live=False)
  with contextlib.closing(
    connection.Connection(source, None, 5.0, None)
  ) as opened:
    found = [clock.seconds(p.stamp, p.arrived) for p in opened.pictures()]
    assert opened.stream.codec_context.has_b_frames
  np.testing.assert_allclose(found, expected, atol=0.04)


class JoinedLate:
  """A container in which another stream began midway, as PyAV reads it."""

  def __init__(self, container):
    self.container = container

  def __getattr__(self, name):
    return getattr(self.container, name)

  def demux(self, *streams):
    yield from self.container.demux(*streams)
    raise IndexError('list index out of range')


def test_streams_that_begin_midway_do_not_break_the_end(tmp_path, monkeypatch):
  path = write_video(tmp_path / 'a.mp4', shaded(20))
  plain = Source.open
  monkeypatch.setattr(Source, 'open', lambda *args: JoinedLate(plain(*args)))
  with reading(path) as stream:
    assert [numbers(window)[0] for window in stream] == [0, 5, 10, 15]


def test_a_camera_with_a_password_is_read_by_rtsp(caplog):
  caplog.set_level('INFO', 'flatten_jax')
  with RtspServer(rtp_packets(shaded(50))) as server:
    with reading(server.url, reconnects=0) as stream:
      assert stream.live
      windows = iter(stream)
      found = [numbers(next(windows)) for _ in range(3)]
      with pytest.raises(StreamError, match='rtsp://127') as error:
        list(windows)
    for window in found:
      assert window == [window[0] + i for i in (0, 1, 2, 4)]
    assert 'secret' not in caplog.text + str(error.value)
    with pytest.raises(StreamError, match='401 Unauthorized') as error:
      StreamReader(
        server.url.replace('secret', 'guess'), DATA, every=1.0, window=1.0
      )
    assert 'guess' not in str(error.value)
