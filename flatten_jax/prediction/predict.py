# SPDX-License-Identifier: Apache-2.0
"""Classifies video files with a trained model or with any callable."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import logging
import math
import os
import pathlib
import sys
from typing import TypedDict, Unpack

import jax
import tqdm

from flatten_jax import paths
from flatten_jax.checkpoints import published
from flatten_jax.checkpoints.load import load_config, load_model
from flatten_jax.evaluation import failed_videos
from flatten_jax.flattening import Mode
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.prediction import (
  chosen_classes,
  find_videos,
  results,
  timelines,
)
from flatten_jax.prediction.results import Prediction
from flatten_jax.progress import Progress
from flatten_jax.runtime import callables, context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.loaded_model import LoadedModel, ViewMeans

log = logging.getLogger('flatten_jax')

Model = str | os.PathLike | Callable[[jax.Array], jax.Array]


class Inputs(TypedDict, total=False):
  """Settings of a model's input and its reading, named as config keys are."""

  num_frames: int
  sampling: str  # 'segment': the whole video; 'dense': `stride` apart; ...
  stride: int
  crop: int  # px, the side of a frame
  test_short_side: int  # px, of the frames that it is cut from; 0: `crop`
  flatten: Mode
  grid: tuple[int, int] | tuple[()]
  mean: tuple[float, float, float]  # of pixels in [0, 1]
  std: tuple[float, float, float]
  channels: str  # That the model takes: 'rgb' or 'bgr'.
  time_limit: float  # seconds before a video is given up; 0: no limit


# Keys that are not in config.data.
_OUTSIDE_DATA = ('flatten', 'grid', 'mean', 'std', 'channels')


def predict(
  model: Model,
  video: find_videos.Video | Sequence[find_videos.Video],
  *,
  views: str = '',
  timeline: bool = False,
  every: float = 1.0,
  window: float = 0.0,
  annotate: bool = False,
  class_names: Sequence[str] | None = None,
  out: str | os.PathLike | None = None,
  show: bool = False,
  **inputs: Unpack[Inputs],
) -> list[Prediction]:
  """Classifies videos, by the average over all test views.

      fj.predict('runs/mine', 'clip.mp4')
      fj.predict(model, '/videos', class_names=names, num_frames=16, crop=160)

  Args:
    model: workdir of a training run, of which only the checkpoint is used;
      published weights such as 'uniformer_nano/quickstart'; a model that was
      pushed, its folder or 'hf://user/name'; what `fj.load` returns; or any
      callable from images [B H W 3] to logits (from clips [B T H W 3] if it has
      a true attribute `takes_clips`, is `Flattened` or `Averaged`). A model of
      `create_model` brings its input and its test views.
    video: a file, its URL, a folder (searched for video files), a binary
      stream, frames (uint8 [T H W 3]), or a sequence of these.
    views: replaces the test views of the checkpoint, e.g. '3x4': 3 crops of
      each of 4 clips.
    timeline: also classifies windows along the video.
    every: seconds from one window of the timeline to the next.
    window: seconds per window; 0 for the length of a training clip (4 if the
      model was trained on whole videos).
    class_names: of a callable; the class numbers by default.
    annotate: also writes each video with its answer drawn into it, that of
      the present window with `timeline`; needs `out`.
    out: folder for predictions.json, predictions.csv, the timelines and the
      annotated videos.
    show: prints a line for each video, and the progress.
    **inputs: settings of `Inputs`; with a workdir they replace its config's.

  Returns:
    One prediction for each video, streams first, then files in order. `error`
    has the cause for a video that cannot be read, or whose scores are not
    finite.

  Raises:
    FileNotFoundError: a file or checkpoint does not exist, or a folder contains
      no videos.
    ValueError: a setting is wrong, or a stream is empty.
  """
  every, window = float(every), float(window)
  if not (0 < every < math.inf and 0 <= window < math.inf):
    raise ValueError(
      'A timeline needs more than 0 seconds from row to row, and windows of 0 '
      f'(automatic) or more; got every={every}, window={window}.'
    )
  if annotate and out is None:
    raise ValueError('annotate=True needs out=FOLDER, for the videos.')
  if out is not None:  # Refused now rather than after the last video.
    paths.expand(out).mkdir(parents=True, exist_ok=True)
  with find_videos.find(video) as records:
    loaded = load(model, views, class_names, inputs)
    log.info('%s', loaded.describe())
    width = min(max(len(record.id) for record in records), 60)
    bar = Progress(
      'Classifying',
      'videos',
      classify(loaded, records),
      total=len(records),
      disable=not show or len(records) < 2,
    )
    found, annotated_videos = [], 0
    try:
      for prediction in bar:
        record = records[len(found)]
        if timeline and not prediction.error:
          prediction = _with_timeline(prediction, loaded, record, every, window)
        found.append(prediction)
        if show:
          say(prediction, width)
        if annotate and out is not None and not prediction.error:
          from flatten_jax.prediction import annotated  # Needs matplotlib.

          with results.names_may_be_too_long(record.id):
            annotated_videos += annotated.write(
              paths.expand(out) / 'annotated', record, prediction
            )
    finally:  # Keeps what was computed before an interruption.
      bar.close()
      if out is not None and found:
        _write(paths.expand(out), found, loaded)
  if annotated_videos and out is not None:
    log.info('Annotated videos are in %s', paths.expand(out) / 'annotated')
  readable = sum(not prediction.error for prediction in found)
  log.info('%d of %d videos classified', readable, len(found))
  return found


def load(
  model: Model,
  test_views: str = '',
  class_names: Sequence[str] | None = None,
  inputs: Inputs | None = None,
) -> LoadedModel:
  """Loads the model of `predict` from a workdir, or wraps a callable."""
  inputs = inputs or {}
  if hasattr(model, 'loaded'):  # From `fj.load`.
    if test_views or class_names is not None or inputs:
      raise TypeError('Give views and inputs to fj.load.')
    return model.loaded
  if unknown := set(inputs) - set(Inputs.__annotations__):
    raise TypeError(
      f'predict takes no {", ".join(sorted(unknown))}; of how a video is shown '
      f'it takes {", ".join(Inputs.__annotations__)}.'
    )
  source = ''
  if isinstance(model, str | os.PathLike) and published.is_name(model):
    source, model = os.fspath(model), published.workdir(os.fspath(model))
  settings = {
    key if key in _OUTSIDE_DATA else f'data.{key}': value
    for key, value in inputs.items()
  }
  # As of an exported model; the other orders are tests of a run.
  settings['eval_frame_order'] = 'forward'
  if 'num_frames' in inputs:  # Of the clips that are classified.
    settings['data.test_frames'] = inputs['num_frames']
  if 'crop' in inputs:
    settings['data.test_crop'] = inputs['crop']
  if test_views:
    settings['data.views'] = test_views
  if not isinstance(model, str | os.PathLike):
    return callables.from_callable(model, class_names, settings)
  if class_names is not None:
    raise TypeError('A workdir has its own class names.')
  trained = load_config(model)
  config = trained.copy_and_resolve_references()
  with config.ignore_type():
    config.update_from_flattened_dict(settings)
  config = configs.fill_and_check(config, trusted=trained)
  context.prepare_devices(config)
  loaded = load_model(model, config)
  return dataclasses.replace(loaded, source=source) if source else loaded


def classify(
  model: LoadedModel, records: Sequence[Record]
) -> Iterator[Prediction]:
  """Yields a prediction for each video, in order, from all of its views."""
  views, data = model.views, model.views.apply(model.config.data)
  batches = pipeline.eval_batches(
    Videos(tuple(records), model.class_names),
    data,
    batch_size=model.batch_size(len(records) * views.count),
    threads=data['threads'],
  )
  means = ViewMeans(model.config.eval_average, views.count, model.task)
  names, limits = model.class_names, chosen_classes.thresholds_of(model)
  with batches:
    for batch, result in model.run(batches):
      complete = means.add(result)
      causes = dict(failed_videos.failures(batch))
      # A video ends with its last view, also one that cannot be read.
      last = (batch['view'] == views.count - 1) & (batch['index'] >= 0)
      for number in batch['index'][last].tolist():
        name = records[number].id
        if number in complete:
          logits = means.pop(number) / views.count
          yield Prediction.of_logits(model, name, logits)
        else:
          cause = causes[number]
          yield Prediction(name, names, error=cause, thresholds=limits)


def _with_timeline(
  prediction: Prediction,
  model: LoadedModel,
  record: Record,
  every: float,
  window: float,
) -> Prediction:
  """Adds the timeline, if there can be one."""
  try:
    rows = timelines.of_video(model, record, every, window)
  except VideoError as error:
    log.warning('%s has no timeline: %s', record.id, error.cause)
    return prediction
  return dataclasses.replace(prediction, timeline=rows)


def _write(
  out: pathlib.Path, predictions: Sequence[Prediction], model: LoadedModel
) -> None:
  """Writes predictions.json and .csv, and timelines/ if there are any."""
  results.write(out, predictions, model)
  for prediction in predictions:
    if prediction.timeline:
      from flatten_jax.prediction import timeline_files  # Needs matplotlib.

      with results.names_may_be_too_long(prediction.video):
        timeline_files.write(out / 'timelines', prediction)


def say(prediction: Prediction, width: int) -> None:
  """Prints to stdout, above the progress bar."""
  tqdm.tqdm.write(prediction.line(width), file=sys.stdout)
  if prediction.timeline:
    tqdm.tqdm.write(prediction.timeline_text(), file=sys.stdout)
