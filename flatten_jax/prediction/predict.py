# SPDX-License-Identifier: Apache-2.0
"""Names what happens in videos: the classes of a trained model, any file."""

from collections.abc import Iterator, Sequence
import dataclasses
import logging
import os
import sys
from typing import Unpack

import numpy as np
import tqdm

from flatten_jax.evaluation import failed_videos
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.prediction import (
  classifier as classifiers,
  find_videos,
  results,
  timelines,
)
from flatten_jax.prediction.classifier import Classifier, Inputs, Model
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.timelines import Timeline

log = logging.getLogger('flatten_jax')


def predict(
  model: Model,
  video: find_videos.Video | Sequence[find_videos.Video],
  *,
  views: str = '',
  timeline: bool = False,
  every: float = 1.0,
  window: float = 0.0,
  class_names: Sequence[str] | None = None,
  out: str | os.PathLike | None = None,
  show: bool = False,
  **inputs: Unpack[Inputs],
) -> list[Prediction]:
  """Classifies videos; the probabilities are those of the mean logits.

      fj.predict('runs/mine', 'clip.mp4')
      fj.predict(model, '/videos', class_names=names, num_frames=16, crop=160)

  Args:
    model: a training run's workdir, of which only the checkpoint is used; or a
      model, any callable from images [B H W 3] to logits (from clips
      [B T H W 3] if it has an attribute `takes_clips`, or is `Flattened`).
    video: a file, a folder (all in it and below it that is named like a video),
      a binary stream, or several of these.
    views: test views in place of the checkpoint's, like '3x4': 3 crops of each
      of 4 clips.
    timeline: also classify what is around every second.
    every: for the timeline: or around the middle of every so many seconds.
    window: how many seconds the model then sees; 0 for as many as a training
      clip has (4, where it was trained on whole videos).
    class_names: of a model; by default the numbers of its classes.
    out: a folder that gets predictions.json, predictions.csv and the timelines.
    show: prints a line for each video, and a progress bar for people.
    **inputs: how a video is shown to a model: `Inputs` and its `DEFAULTS`.
      Given with a workdir, they change what its config says.

  Returns:
    One prediction for each video, streams first, then files in order. Those
    that cannot be read have the cause in `error`.

  Raises:
    FileNotFoundError: no such file, a folder without videos, no checkpoint.
    ValueError: none of the videos can be read.
  """
  check_seconds(every, window)
  with find_videos.find(video) as records:
    classifier = classifiers.create(model, views, class_names, inputs)
    log.info('%s', classifier.describe())
    width = min(max(len(record.id) for record in records), 60)
    found = []
    try:
      for prediction in progress(records, whole(classifier, records), show):
        if timeline and not prediction.error:
          record = records[len(found)]
          rows = timeline_of(classifier, record, every, window)
          prediction = dataclasses.replace(prediction, timeline=rows)
        if show:
          say(prediction, width)
        found.append(prediction)
    finally:  # Hours of work stay, if it is interrupted.
      if out is not None and found:
        results.write(out, found, classifier)
  readable = sum(not prediction.error for prediction in found)
  if not readable:
    raise ValueError(
      f'None of {len(found)} videos can be read. The first: {found[0].line()}'
    )
  log.info('%d of %d videos classified', readable, len(found))
  return found


def check_seconds(every: float, window: float) -> None:
  """Refuses a timeline that cannot be."""
  if every <= 0 or window < 0:
    raise ValueError(
      'A timeline needs more than 0 seconds from row to row, and windows of 0 '
      f'(by itself) or more; got every={every:g}, window={window:g}.'
    )


def whole(
  classifier: Classifier, records: Sequence[Record]
) -> Iterator[Prediction]:
  """Predictions from all views of each video, in order."""
  views, data = classifier.views, classifier.data
  found = Videos(tuple(records), classifier.class_names)
  batches = pipeline.eval_batches(
    found,
    data | {'num_clips': views.clips, 'num_crops': views.crops},
    batch_size=classifier.batch_size(len(records) * views.count),
    threads=data['threads'],
  )
  mean, seen = 0.0, 0
  with batches:
    for batch, logits in classifier.run(batches):
      causes = dict(failed_videos.failures(batch))
      for number, row in zip(batch['index'].tolist(), logits, strict=True):
        if number < 0:
          continue  # What pads the last batch.
        mean, seen = mean + row / views.count, seen + 1
        if seen == views.count:
          yield of_mean(classifier, records[number], mean, causes.get(number))
          mean, seen = 0.0, 0


def of_mean(
  classifier: Classifier, record: Record, logits: np.ndarray, cause: str | None
) -> Prediction:
  """A prediction from the mean of the views' logits [K]."""
  names = classifier.class_names
  if cause is not None:
    return Prediction(record.id, names, error=cause)
  return Prediction(record.id, names, classifiers.softmax(logits))


def timeline_of(
  classifier: Classifier, record: Record, every: float, window: float
) -> Timeline | None:
  """Class by second, or a word on why there is none."""
  try:
    return timelines.of_video(classifier, record, every, window)
  except VideoError as error:
    log.warning('%s has no timeline: %s', record.id, error.cause)
    return None


def progress(records, predictions, show):
  """A bar on the terminal, where there is one and more than one video."""
  hidden = True if not show or len(records) < 2 else None
  return tqdm.tqdm(
    predictions, total=len(records), unit=' videos', disable=hidden
  )


def say(prediction: Prediction, width: int) -> None:
  """To stdout, above the bar."""
  tqdm.tqdm.write(prediction.line(width), file=sys.stdout)
  if prediction.timeline:
    tqdm.tqdm.write(str(prediction.timeline), file=sys.stdout)
