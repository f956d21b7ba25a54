# SPDX-License-Identifier: Apache-2.0
"""Scalars for TensorBoard, without TensorFlow or PyTorch."""

import os
import pathlib
import socket
import time

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

FLUSH_SECONDS = 10


class TensorBoardWriter:
  """Writes one event file, in the thread of the caller.

  The usual writers use a thread of their own. It ends when the disk is full,
  and the training then blocks on its full queue; here `write` raises.
  """

  def __init__(self, folder: pathlib.Path, first_step: int = 0):
    """Opens a new file in `folder`; hides older values after `first_step`."""
    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads the files of a folder in the order of these names.
    name = f'{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}'
    self._file = RecordWriter(
      (folder / f'events.out.tfevents.{name}').open('wb')
    )
    self._flushed = 0.0
    self._write(0, file_version='brain.Event:2')
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(first_step + 1, session_log=start)

  def write(self, step: int, values: dict[str, float]) -> None:
    """Records scalars at a step; raises OSError if the disk is full."""
    scalars = [
      summary_pb2.Summary.Value(tag=name, simple_value=value)
      for name, value in values.items()
    ]
    self._write(step, summary=summary_pb2.Summary(value=scalars))
    if time.monotonic() - self._flushed > FLUSH_SECONDS:
      self._file.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    """Flushes and closes the file."""
    self._file.close()

  def _write(self, step: int, **content) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    self._file.write(event.SerializeToString())
