# SPDX-License-Identifier: Apache-2.0
"""The answer of a model to one video, with all that the page shows of it."""

from collections.abc import Mapping, Sequence
import dataclasses
import os

import jax.numpy as jnp
import numpy as np

from flatten_jax import flattening
from flatten_jax.explanation import clip_explanation, figures, grad_cam
from flatten_jax.exporting import exported_model
from flatten_jax.exporting.exported_model import ExportedModel
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import open_any
from flatten_jax.prediction import predict, timelines
from flatten_jax.prediction.chosen_classes import TopClasses, top_classes
from flatten_jax.prediction.classifier import VideoClassifier
from flatten_jax.prediction.results import Prediction
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.loaded_model import LoadedModel

BUNDLED = 'uniformer_nano/quickstart'  # Weights of this package.
LONGEST_TIMELINE = 600.0  # seconds of a video
MOST_WINDOWS = 120  # of a timeline


@dataclasses.dataclass(frozen=True)
class Ordered:
  """The answer to a clip whose frames are in some order.

  Attributes:
    name: of the order: 'as filmed', 'reversed' or 'shuffled'.
    frames: numbers of the frames [T].
    top: the most probable classes.
  """

  name: str
  frames: np.ndarray
  top: TopClasses


@dataclasses.dataclass(frozen=True)
class Answer:
  """The answer of a model to one video, with the clip that it saw.

  Attributes:
    prediction: over all test views, with a timeline if there is one.
    no_timeline: why there is none; '' if there is.
    clip: the middle view as the model sees it, uint8 [T s s 3].
    cells: frame in each cell of the flattened image, row by row [T]; None for a
      model whose frames stay apart.
    grid: (rows, columns) of the flattened image, or of the frames side by side.
    heats: over the clip, by the kinds of `heat_kinds`, uint8 [T s' s' 3].
    orders: answers to the same clip in other orders; only 'as filmed' for a
      model of single frames.
  """

  prediction: Prediction
  no_timeline: str
  clip: np.ndarray
  cells: np.ndarray | None
  grid: tuple[int, int]
  heats: Mapping[str, np.ndarray]
  orders: tuple[Ordered, ...]

  def flattened(self, frames: np.ndarray) -> np.ndarray:
    """Lays frames of the clip out as the model does. [T h w 3] -> [H W 3]."""
    cells = np.arange(len(frames)) if self.cells is None else self.cells
    return np.asarray(flattening.flatten(frames[cells], grid=self.grid))


def open_model(source: str | os.PathLike = '') -> LoadedModel:
  """Loads a run, published weights or an exported file.

  Args:
    source: as of `fj.load`, or as of `exporting.exported_model.load`; '' for
      the weights of this package.
  """
  if source and exported_model.is_export(source):
    return exported_model.load(source)
  return predict.load(source or BUNDLED)


def why_no_heat(model: LoadedModel) -> str:
  """Returns why a model has no heat to draw; '' if it has."""
  if isinstance(model, ExportedModel):
    return (
      'No heat: an exported file computes answers only, without the gradients '
      'that Grad-CAM needs. The run itself has them.'
    )
  try:
    if not clip_explanation.attends_by_token(model.module):
      grad_cam.check(model.module)
  except ValueError as error:
    return f'No heat: {error}'
  return ''


def heat_kinds(model: LoadedModel) -> tuple[str, ...]:
  """Returns the kinds of heat of a model, see `clip_explanation.HEATS`."""
  if why_no_heat(model):
    return ()
  if clip_explanation.attends_by_token(model.module):
    return (clip_explanation.ATTENTION,)
  return tuple(clip_explanation.HEATS)


def answer(model: LoadedModel, path: str | os.PathLike) -> Answer:
  """Answers for one video file.

  Raises:
    VideoError: it cannot be read.
  """
  record = Record(os.path.basename(path), os.fspath(path), -1)
  (prediction,) = predict.classify(model, [record])
  if prediction.error:
    raise VideoError(record.id, prediction.error)
  timeline, no_timeline = None, ''
  try:
    timeline = _timeline(model, record)
  except VideoError as error:
    no_timeline = error.cause
  videos = Videos((record,), model.class_names)
  clip, _ = clip_explanation.read_clip(videos, 0, model.config.data)
  heats = {}
  if kinds := heat_kinds(model):
    explained = clip_explanation.explain_clip(model, videos, 0)
    evidence = explained.evidence[explained.fine_stage - 1]
    heats = {kind: explained.draw_heat(evidence, kind) for kind in kinds}
  cells = _cells(model)
  return Answer(
    dataclasses.replace(prediction, timeline=timeline),
    no_timeline,
    fields.picture(clip),
    cells,
    _grid(model, len(clip)),
    heats,
    in_orders(model, clip),
  )


def in_orders(model: LoadedModel, clip: np.ndarray) -> tuple[Ordered, ...]:
  """Classifies a clip as filmed, reversed and shuffled. uint8 [T s s C]."""
  frames = np.arange(len(clip))
  orders = {
    'as filmed': frames,
    'reversed': frames[::-1],
    'shuffled': np.random.default_rng(0).permutation(frames),
  }
  if len(clip) == 1:
    orders = {'as filmed': frames}
  classify = VideoClassifier(model)
  # One by one: a random layout is drawn by the place in the batch.
  logits = np.stack([classify(clip[order]) for order in orders.values()])
  probabilities = model.task.probabilities(logits)
  return tuple(
    Ordered(name, order, top_classes(row, model.class_names, 3))
    for (name, order), row in zip(orders.items(), probabilities, strict=True)
  )


def what_order_does(orders: Sequence[Ordered]) -> str:
  """Returns in a sentence how the answer changes with the order of frames."""
  if len(orders) == 1:
    return 'This model sees single frames, which have no order.'
  first, *others = [order.top[0][0] for order in orders]
  changed = [
    f'{name} when {order.name}'
    for name, order in zip(others, orders[1:], strict=True)
    if name != first
  ]
  if not changed:
    return f'The answer stays {first} in any order of the frames.'
  return f'The answer changes from {first} to {" and to ".join(changed)}.'


def _timeline(model: LoadedModel, record: Record) -> timelines.Timeline:
  """Returns the timeline of a video, second by second if it is short."""
  with open_any(record.path) as video:
    duration = 0.0 if video.times is None else float(video.times[-1])
  if duration > LONGEST_TIMELINE:
    raise VideoError(
      record.id,
      f'the video is longer than {LONGEST_TIMELINE / 60:.0f} minutes; '
      '`predict --timeline` has no limit',
    )
  every = max(1.0, np.ceil(duration / MOST_WINDOWS))
  return timelines.of_video(model, record, every, window=0.0)


def _cells(model: LoadedModel) -> np.ndarray | None:
  """Returns the frame in each cell of the flattened image, row by row. [T]."""
  if model.takes_clips or model.views.frames == 1:
    return None
  zero = jnp.zeros(1, jnp.int32)
  batch = {'index': zero, 'view': zero}
  return np.asarray(preprocess.frame_orders(batch, model.config)[0])


def _grid(model: LoadedModel, num_frames: int) -> tuple[int, int]:
  """Returns the rows and columns that frames are shown in."""
  if model.takes_clips or num_frames == 1:
    return figures.near_square(num_frames)
  return flattening.grid_shape(num_frames, tuple(model.config.grid) or None)
