# SPDX-License-Identifier: Apache-2.0
"""A small camera: RTSP with a password, and RTP over the same connection."""

import base64
from fractions import Fraction
import re

import av

from tests.support.tcp_server import TcpServer

SDP = '\r\n'.join(
  [
    'v=0',
    'o=- 0 0 IN IP4 127.0.0.1',
    's=camera',
    'c=IN IP4 0.0.0.0',
    't=0 0',
    'm=video 0 RTP/AVP 96',
    'a=rtpmap:96 H264/90000',
    'a=fmtp:96 packetization-mode=1',
    'a=control:track',
    '',
  ]
)
CONTROL = range(192, 224)  # Types of packets of RTCP, among those of RTP.


class _Packets(list):
  """A file whose writes are the packets of RTP."""

  def write(self, data):
    self.append(bytes(data))
    return len(data)


def rtp_packets(frames, rate=25):
  """Returns the packets of uint8 [T H W 3], a list for each frame."""
  written, parts = _Packets(), []
  given = {'preset': 'ultrafast', 'tune': 'zerolatency', 'g': '5'}
  options = {'packetsize': '1200'}
  with av.open(written, 'w', format='rtp', options=options) as file:
    stream = file.add_stream('libx264', rate=rate, options=given)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    for number, pixels in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts, frame.time_base = number, Fraction(1, rate)
      file.mux(stream.encode(frame))
      parts.append(written[:])
      written.clear()
  return parts


class RtspServer(TcpServer):
  """Answers one player after the other, and sends each all packets."""

  def __init__(self, parts, user='me', password='secret', rate=100):
    super().__init__()
    self._parts, self._pause = parts, 1 / rate
    login = base64.b64encode(f'{user}:{password}'.encode()).decode()
    self._login, self._words = f'Basic {login}', f'{user}:{password}'

  @property
  def url(self):
    return f'rtsp://{self._words}@{self.address}/1'

  def answer(self, connection):
    data = b''
    while not self._stop.is_set():
      while b'\r\n\r\n' not in data:
        if not (more := connection.recv(4096)):
          return
        data += more
      request, _, data = data.partition(b'\r\n\r\n')
      self._reply(connection, request.decode())
      if request.startswith(b'PLAY'):
        self._send(connection)
        return

  def _reply(self, connection, request):
    number = re.search(r'CSeq: *(\d+)', request)[1]
    status, lines, body = '200 OK', ['Session: 1'], ''
    if self._login not in request:
      status, lines = '401 Unauthorized', ['WWW-Authenticate: Basic realm="x"']
    elif request.startswith('OPTIONS'):
      lines.append('Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN')
    elif request.startswith('DESCRIBE'):
      body = SDP
      lines += ['Content-Type: application/sdp', f'Content-Length: {len(body)}']
    elif request.startswith('SETUP'):
      lines.append('Transport: RTP/AVP/TCP;unicast;interleaved=0-1')
    head = [f'RTSP/1.0 {status}', f'CSeq: {number}', *lines, '', body]
    connection.sendall('\r\n'.join(head).encode())

  def _send(self, connection):
    for part in self._parts:
      if self._stop.wait(self._pause):
        return
      for packet in part:
        channel = bytes([packet[1] in CONTROL])
        head = b'$' + channel + len(packet).to_bytes(2)
        connection.sendall(head + packet)
