# SPDX-License-Identifier: Apache-2.0
"""What a stream may come from, and what is said of what cannot be opened."""

import io
import time

import numpy as np
import pytest

from flatten_jax.inputs.streams.sources import (
  Source,
  StreamError,
  never_ends,
  public_name,
)
from tests.support.live_server import LiveServer, encode, shaded
from tests.support.video_maker import write_video


@pytest.mark.parametrize(
  ('place', 'name'),
  [
    ('rtsp://admin:secret@10.0.0.1:554/ch1', 'rtsp://10.0.0.1:554/ch1'),
    ('rtsp://a:sec/ret?@x@host/ch1', 'rtsp://host/ch1'),
    ('http://host/live.ts?token=secret', 'http://host/live.ts'),
    ('rtsp://h/user=a_password=secret_channel=1', None),
    ('/dev/video0', '/dev/video0'),
    ('a clip.mp4', 'a clip.mp4'),
  ],
)
def test_a_name_for_messages_has_no_password(place, name):
  assert 'secret' not in public_name(place)
  if name:
    assert Source.of(place).name == name


def test_cameras_and_their_protocols_never_end():
  assert never_ends('RTSP://host/1') and never_ends('/dev/video3')
  assert not never_ends('http://host/a.mp4') and not never_ends('a.mp4')


@pytest.mark.parametrize(
  ('place', 'cause'),
  [
    ('no.mp4', 'no.mp4: there is no such file'),
    ('/dev/video77', 'no such camera; this machine has'),
    ('.', 'it is a folder, which `predict` takes'),
    ('rtsp://u:secret@127.0.0.1:1/a', 'rtsp://127.0.0.1:1/a: it cannot be'),
    (io.BytesIO(b'text' * 99), 'stdin: it cannot be opened: Invalid data'),
  ],
)
def test_what_cannot_be_opened_is_said_with_its_cause(place, cause):
  with pytest.raises(StreamError) as error:
    Source.of(place).open(timeout=5)
  assert cause in str(error.value) and 'secret' not in str(error.value)
  assert error.value.__cause__ is None  # FFmpeg's has the whole URL.


def test_what_is_no_source_is_refused():
  for place in ('', None, np.zeros(3)):
    with pytest.raises(ValueError, match='A stream comes from a URL, a camera'):
      Source.of(place)


def test_a_terminal_is_no_video():
  class Terminal(io.BytesIO):
    def isatty(self):
      return True

  with pytest.raises(StreamError, match='nothing is piped into it'):
    Source.of(Terminal()).open(timeout=5)


def test_a_silent_server_is_given_up():
  begin = time.monotonic()
  with (
    LiveServer([], stays=True) as server,
    pytest.raises(StreamError, match=r'no video came within 0\.3 s'),
  ):
    Source.of(server.url).open(timeout=0.3)
  assert time.monotonic() - begin < 5


def test_http_is_live_if_it_has_no_end(tmp_path):
  film = encode(shaded(12))
  with (
    LiveServer(film, http=True) as server,
    Source.of(server.url).open(timeout=5) as container,
  ):
    assert Source.of(server.url).is_live(container)
  path = write_video(tmp_path / 'a.mp4', shaded(12))
  with Source.of(path).open(timeout=5) as container:
    assert not Source.of(path).is_live(container)
