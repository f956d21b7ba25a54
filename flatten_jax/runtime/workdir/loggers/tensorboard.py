# SPDX-License-Identifier: Apache-2.0
"""Events for TensorBoard, without TensorFlow or PyTorch."""

from collections.abc import Mapping
import io
import os
import pathlib
import socket
import time
from typing import Any

import numpy as np
import PIL.Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import summary_v2
from tensorboard.summary.writer.record_writer import RecordWriter

from flatten_jax.runtime.workdir.loggers.metric_writer import (
  MetricWriter,
  each_image,
)

FLUSH_SECONDS = 10


class TensorBoardWriter(MetricWriter):
  """Writes one event file, in the thread of the caller.

  The usual writers use a thread of their own. It ends when the disk is full,
  and the training then blocks on its full queue; here OSError is raised.
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

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Records numbers at a step; raises OSError if the disk is full."""
    values = [
      summary_pb2.Summary.Value(tag=name, simple_value=value)
      for name, value in scalars.items()
    ]
    self._write(step, summary=summary_pb2.Summary(value=values))
    if time.monotonic() - self._flushed > FLUSH_SECONDS:
      self.flush()

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Records pictures at a step, as PNG."""
    for name, pixels in each_image(images):
      file = io.BytesIO()
      PIL.Image.fromarray(pixels).save(file, 'PNG')
      height, width, _ = pixels.shape
      image = summary_pb2.Summary.Image(
        height=height,
        width=width,
        colorspace=3,  # RGB.
        encoded_image_string=file.getvalue(),
      )
      value = summary_pb2.Summary.Value(tag=name, image=image)
      self._write(step, summary=summary_pb2.Summary(value=[value]))

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """Records the config for the tab HPARAMS."""
    text = summary_v2.hparams_pb(dict(hparams)).SerializeToString()
    self._write(0, summary=summary_pb2.Summary.FromString(text))

  def flush(self) -> None:
    """Gives the operating system what is kept back."""
    self._file.flush()
    self._flushed = time.monotonic()

  def close(self) -> None:
    """Flushes and closes the file."""
    self._file.close()

  def _write(self, step: int, **content) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    self._file.write(event.SerializeToString())
