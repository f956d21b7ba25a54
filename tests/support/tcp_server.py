# SPDX-License-Identifier: Apache-2.0
"""A TCP server of this machine, in a thread."""

import contextlib
import socket
import threading


class TcpServer:
  """Answers one connection after the other, in `with`."""

  def __init__(self):
    self._socket = socket.create_server(('127.0.0.1', 0))
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._serve, daemon=True)

  @property
  def address(self):
    return f'127.0.0.1:{self._socket.getsockname()[1]}'

  def answer(self, connection):
    """Talks with one client; the connection is closed afterwards."""
    raise NotImplementedError

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._stop.set()
    with contextlib.suppress(OSError):
      self._socket.shutdown(socket.SHUT_RDWR)
    self._socket.close()
    self._thread.join(timeout=5)

  def _serve(self):
    while not self._stop.is_set():
      try:
        connection, _ = self._socket.accept()
      except OSError:
        return
      with contextlib.suppress(OSError), connection:
        self.answer(connection)
