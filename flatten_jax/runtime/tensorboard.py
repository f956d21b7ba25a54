# SPDX-License-Identifier: Apache-2.0
"""Scalars for TensorBoard, without TensorFlow."""

import os
import pathlib
import socket
import time

from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2

FLUSH_SECONDS = 10


class TensorBoardWriter:
  """Writes one event file.

  tensorboardX's own writer leaves that to a thread. On a full disk the thread
  ends, and the training waits for ever once its queue is full; here, writing
  raises.
  """

  def __init__(self, folder: pathlib.Path, first_step: int = 0):
    """Opens a new file in `folder`; hides what is there after `first_step`."""
    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads files of a folder in the order of these names.
    name = f'{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}'
    path = folder / f'events.out.tfevents.{name}'
    self._file = record_writer.RecordWriter(str(path))
    self._flushed = 0.0
    self._write(0, file_version='brain.Event:2')
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(first_step + 1, session_log=start)

  def write(self, step: int, values: dict[str, float]) -> None:
    """Records scalars at a step; OSError where the disk is full."""
    for name, value in values.items():
      self._write(step, summary=summary.scalar(name, value))
    if time.monotonic() - self._flushed > FLUSH_SECONDS:
      self._file.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    """Flushes, and closes the file."""
    self._file.close()

  def _write(self, step: int, **what) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **what)
    self._file.write(event.SerializeToString())
