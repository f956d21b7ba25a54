# SPDX-License-Identifier: Apache-2.0
"""A server that sends a film in real time by TCP or HTTP, as a camera does."""

from fractions import Fraction
import io
import time

import av
import numpy as np

from tests.support.tcp_server import TcpServer

HTTP = b'HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n'


def encode(frames, rate=25, first=0):
  """Returns MPEG-TS of uint8 [T H W 3] as bytes, a part for each frame."""
  buffer, parts = io.BytesIO(), []
  given = {'preset': 'ultrafast', 'tune': 'zerolatency', 'g': '5'}
  with av.open(buffer, 'w', format='mpegts') as file:
    stream = file.add_stream('libx264', rate=rate, options=given)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    for number, pixels in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts, frame.time_base = first + number, Fraction(1, rate)
      file.mux(stream.encode(frame))
      parts.append(buffer.getvalue())
      buffer.seek(0), buffer.truncate()
    file.mux(stream.encode())
  return [*parts, buffer.getvalue()]


class LiveServer(TcpServer):
  """Sends each connection the parts of a film, then closes it.

  Args:
    films: of `encode`, one for each connection; the last one for all others.
    rate: parts per second; 0: all at once.
    http: whether to answer as a web server does.
    stays: whether it keeps silent at the end instead of closing.
  """

  def __init__(self, *films, rate=0, http=False, stays=False):
    super().__init__()
    self._films, self._rate = films, rate
    self._http, self._stays = http, stays
    self.connections = 0

  @property
  def url(self):
    return f'{"http" if self._http else "tcp"}://{self.address}'

  def answer(self, connection):
    film = self._films[min(self.connections, len(self._films) - 1)]
    self.connections += 1
    if self._http:
      connection.recv(4096)
      connection.sendall(HTTP)
    begin = time.monotonic()
    for number, part in enumerate(film):
      if self._rate:
        late = begin + number / self._rate - time.monotonic()
        self._stop.wait(max(late, 0))
      if self._stop.is_set():
        return
      connection.sendall(part)
    if self._stays:
      self._stop.wait()


def shaded(count, first=0, height=32, width=48):
  """Returns frames whose grey tells their number. uint8 [T H W 3]."""
  shades = 16 + 4 * (np.arange(first, first + count) % 56)
  frames = np.broadcast_to(
    shades[:, None, None, None], (count, height, width, 3)
  )
  return frames.astype(np.uint8)


def number_of(image):
  """Returns the number of a frame of `shaded`, modulo 56."""
  return round((float(np.mean(image)) - 16) / 4)
