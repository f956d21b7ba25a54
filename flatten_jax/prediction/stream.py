# SPDX-License-Identifier: Apache-2.0
"""Classifies live video, window by window: `fj.stream`."""

from collections.abc import Generator, Sequence
import dataclasses
import math
import time
from typing import Any, Unpack

import jax
import numpy as np

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.examples import to_example
from flatten_jax.inputs.flow.flow_video import FlowOptions
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.streams.reader import StreamReader
from flatten_jax.inputs.streams.sliding import StreamWindow
from flatten_jax.inputs.streams.sources import Place
from flatten_jax.prediction import chosen_classes, predict as prediction
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.timelines import clock
from flatten_jax.runtime.loaded_model import LoadedModel, ViewMeans


@dataclasses.dataclass(frozen=True, repr=False)
class StreamAnswer:
  """The classes of one window of a stream.

  Attributes:
    start: of the window, in seconds from the first frame of the stream on.
    end: of the window.
    prediction: its classes with their probabilities.
    latency: seconds from the arrival of the window's last frame to the answer.
    skipped: windows so far that the model was too busy for.
    dropped: frames so far that no answer knows, since the model or the decoder
      was too busy.
  """

  start: float
  end: float
  prediction: Prediction
  latency: float
  skipped: int
  dropped: int

  @property
  def label(self) -> str:
    """The most probable class; '' if the scores are not finite."""
    return self.prediction.label

  def top(self, count: int = 5) -> chosen_classes.TopClasses:
    """Returns the most probable classes with probabilities, best first."""
    return self.prediction.top(count)

  def line(self) -> str:
    """Returns one line for people."""
    late = f'{1000 * self.latency:.0f} ms'
    skipped = f', {self.skipped} skipped' if self.skipped else ''
    times = f'{clock(self.start, True)} - {clock(self.end, True)}'
    found = self.prediction
    answer = found.failure if found.error else found.classes_line()
    return f'{times}  {answer}  [{late}{skipped}]'

  def to_json(self) -> dict[str, Any]:
    """Returns the answer as plain values."""
    content = self.prediction.to_json()
    del content['video']
    return {
      'start': round(self.start, 3),
      'end': round(self.end, 3),
      **content,
      'latency': round(self.latency, 4),
      'skipped': self.skipped,
      'dropped': self.dropped,
    }

  def __repr__(self) -> str:
    return self.line()


def stream(
  model: prediction.Model,
  source: Place,
  *,
  window: float = 0.0,
  every: float = 1.0,
  live: bool | None = None,
  timeout: float = 10.0,
  reconnects: int | None = None,
  views: str = '',
  class_names: Sequence[str] | None = None,
  **inputs: Unpack[prediction.Inputs],
) -> Generator[StreamAnswer, None, None]:
  """Classifies live video: of a camera, a server or a pipe.

      for answer in fj.stream('runs/mine', 'rtsp://camera/1', every=0.5):
        print(answer.label, answer.latency)

  The frames are read in a thread, each once. A live source is never kept
  waiting: while the model is busy, windows are skipped, and if it breaks, it is
  connected again, after pauses that grow from 1 s to 30 s. A file or a pipe
  waits for the model, so that its answers are the same each time; they are
  those of `fj.predict` with a timeline, for the same seconds.

  Args:
    model: as of `fj.predict`.
    source: a URL (rtsp, rtmp, udp, tcp, http), a camera such as
      /dev/video0, a file, a named pipe or a binary stream.
    window: seconds per window; 0 for the length of a training clip (4 if the
      model was trained on whole videos).
    every: seconds from the start of one window to that of the next.
    live: whether the source continues without being read. By default a camera
      does, and a URL, except that of a file that has an end.
    timeout: seconds without data after which a connection is broken; 0: none.
    reconnects: attempts to connect again in a row; None: without end.
    views: as of `fj.predict`, whose clips of a video have no meaning here.
    class_names: of a callable.
    **inputs: as of `fj.predict`.

  Returns:
    A generator of answers; the reading ends when it is closed or forgotten.

  Raises:
    OSError: the source cannot be opened; while iterating: it is lost.
    ValueError: a setting is wrong.
  """
  _check(window, every, timeout, reconnects)
  loaded = prediction.load(model, views, class_names, inputs)
  classifier = WindowClassifier(loaded)
  reader = StreamReader(
    source,
    classifier.data,
    every=float(every),
    window=float(window),
    live=live,
    timeout=float(timeout),
    reconnects=reconnects,
  )
  return _answers(reader, classifier)


def _answers(
  reader: StreamReader, classifier: 'WindowClassifier'
) -> Generator[StreamAnswer, None, None]:
  """Yields an answer for each window, and closes the reader."""
  try:
    for window in reader:
      found = classifier(window, reader.source.name)
      latency = time.monotonic() - window.arrived
      yield StreamAnswer(
        window.start, window.end, found, latency, reader.skipped, reader.dropped
      )
  finally:
    reader.close()


class WindowClassifier:
  """Classifies one window of a stream at a time, by the crops of the test.

  Attributes:
    data: `config.data`, with the figures of the views.
  """

  def __init__(self, model: LoadedModel):
    self._model = model
    self._crops = model.views.crops or 1
    views = dataclasses.replace(model.views, clips=1, crops=self._crops)
    self.data = views.apply(model.config.data)
    if FlowOptions.of(self.data):
      raise ValueError(
        'A stream shows frames, and this model takes optical flow '
        f'(data.input={self.data["input"]}), which `predict` computes of files.'
      )
    blank = pipeline.blank_view(self.data)  # Compiles before anything arrives.
    jax.block_until_ready(model(self._batch([blank] * self._crops)))

  def __call__(self, window: StreamWindow, name: str) -> Prediction:
    """Returns the classes of a window."""
    example = to_example(
      window.clip[None], window.positions[None], Record(name, '', -1), 0
    )
    views = list(pipeline.cut_views(iter([example]), self.data))
    result = jax.device_get(self._model(self._batch(views)))
    means = ViewMeans(
      self._model.config.eval_average, self._crops, self._model.task
    )
    [number] = means.add(result)
    logits = means.pop(number) / self._crops
    return Prediction.of_logits(self._model, name, logits)

  def _batch(self, views: list[pipeline.Batch]) -> pipeline.Batch:
    """Stacks views, and pads them for all devices."""
    blank = pipeline.blank_view(self.data)
    views = views + [blank] * (-len(views) % self._model.experiment.mesh.size)
    return {key: np.stack([view[key] for view in views]) for key in blank}


def _check(
  window: float, every: float, timeout: float, reconnects: int | None
) -> None:
  """Refuses settings that make no stream."""
  if not (0 < every < math.inf and 0 <= window < math.inf):
    raise ValueError(
      'A stream needs more than 0 seconds from window to window, and windows '
      f'of 0 (automatic) or more; got every={every}, window={window}.'
    )
  if not 0 <= timeout < math.inf or (reconnects or 0) < 0:
    raise ValueError(
      'A stream waits for 0 seconds (no limit) or more, and connects again 0 '
      f'times or more; got timeout={timeout}, reconnects={reconnects}.'
    )
