# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the demo's server, in a process of its own."""

import os
import pathlib
import re
import selectors
import signal
import subprocess
import sys
import time

from tests.support.command_server import ROOT, one_device

STARTS_WITHIN = 300  # seconds, on a busy machine
# With a smaller limit, and with a line for each address that is connected to.
SCRIPT = """
import sys
from flatten_jax.demo import server

def log(event, args):
  if event == 'socket.connect':
    print('connects to', args[1], flush=True)

sys.addaudithook(log)
server.LARGEST_UPLOAD = '1mb'
server.launch_demo()
"""


class DemoServer:
  """A running server; `url` is the address of its page.

  Args:
    arguments: after `python`.
    folder: of its temporary files.
  """

  def __init__(self, arguments: list[str], folder: pathlib.Path):
    self.output = ''
    self._process = subprocess.Popen(
      [sys.executable, *arguments],
      cwd=ROOT,
      env=one_device() | {'TMPDIR': str(folder), 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )
    self.url = self._wait_for_url()

  def _wait_for_url(self) -> str:
    """Returns the printed address; '' if the process ended without one."""
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
      self._read(wait=1.0)
      if match := re.search(r'open (http\S+)', self.output):
        return match[1]
      if self._process.poll() is not None:
        self._read()
        return ''
    self.stop(signal.SIGKILL)
    raise TimeoutError(self.output)

  def _read(self, wait: float = 0.0) -> None:
    """Adds what the process printed to the output."""
    with selectors.DefaultSelector() as selector:
      selector.register(self._process.stdout, selectors.EVENT_READ)
      while selector.select(wait):
        chunk = os.read(self._process.stdout.fileno(), 65536)
        self.output += chunk.decode()
        if not chunk or wait:
          return

  def stop(self, number: int = signal.SIGTERM) -> int:
    """Sends a signal; returns the exit status."""
    if self._process.poll() is None:
      self._process.send_signal(number)
    self.output += self._process.communicate(timeout=60)[0].decode()
    return self._process.returncode
