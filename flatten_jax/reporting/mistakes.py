# SPDX-License-Identifier: Apache-2.0
"""The wrong answers that a model was surest of, with their clips."""

import dataclasses
import logging
import pathlib

import ml_collections
import numpy as np

from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.explanation import strips
from flatten_jax.explanation.explainer import Viewer
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.prediction.classifier import Top, softmax, top
from flatten_jax.training import setup

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True)
class Mistake:
  """A video that was taken for something else.

  Attributes:
    video: its name in the predictions.
    label: what it is.
    top: what it was taken for, and what came next.
    clip: the frames of its first view, uint8 [T s s 3]; None where the video is
      not there any more.
    looked: where the model looked, drawn over the frames, uint8 [T h w 3]; None
      where that cannot be told.
  """

  video: str
  label: str
  top: Top
  clip: np.ndarray | None = None
  looked: np.ndarray | None = None


def most_confident(
  predictions: Predictions, num_views: int, count: int
) -> list[Mistake]:
  """The wrong answers of the highest probability, at most so many.

  Args:
    predictions: of a split.
    num_views: over which their logits were summed.
    count: how many.
  """
  known = predictions.scored & (predictions.labels >= 0)
  probabilities = softmax(predictions.logits / num_views)
  wrong = known & (probabilities.argmax(-1) != predictions.labels)
  order = np.argsort(-probabilities.max(-1) * wrong, kind='stable')
  return [
    Mistake(
      str(predictions.ids[i]),
      predictions.class_names[predictions.labels[i]],
      top(probabilities[i], predictions.class_names, 3),
    )
    for i in order[: min(count, wrong.sum())]
  ]


def with_clips(
  found: list[Mistake],
  split: str,
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
) -> list[Mistake]:
  """With the frames that the model saw, and where it looked.

  Only where the videos are still there, and the model can be looked into.
  """
  videos = _videos_of(config, split)
  records = videos.records if videos else ()
  places = {record.id: place for place, record in enumerate(records)}
  places = {m.video: places[m.video] for m in found if m.video in places}
  if not places:
    return found
  chosen = tuple(records[place] for place in places.values())
  videos = dataclasses.replace(videos, records=chosen, images=None)
  clips = read_clips(videos, config.data.to_dict())
  found = [dataclasses.replace(m, clip=clips.get(m.video)) for m in found]
  try:
    viewer = Viewer.open(workdir, config)
  except ValueError as error:
    log.info('The page does not show where the model looked: %s', error)
    return found
  indices = {name: index for index, name in enumerate(places)}
  return [
    m
    if m.clip is None
    else with_heat(m, viewer, videos, indices[m.video], places[m.video])
    for m in found
  ]


def with_heat(
  mistake: Mistake, viewer: Viewer, videos: Videos, index: int, place: int
) -> Mistake:
  """With Grad-CAM for the answer that was given, over the frames.

  Args:
    mistake: with its clip.
    viewer: of the run that made it.
    videos: that are still there.
    index: which of them it is.
    place: its number in the split that was scored.
  """
  look = viewer.look(videos, index, place)
  answer = viewer.class_names.index(mistake.top[0][0])
  heats = viewer.heats(look, answer)
  heat = viewer.onto_frames(look, heats[viewer.stage(look) - 1])
  return dataclasses.replace(mistake, looked=strips.overlay(look.clip, heat))


def _videos_of(config: ml_collections.ConfigDict, split: str) -> Videos | None:
  """The videos of a split, where they can be found without making them."""
  if (
    config.data.motion_clips and not setup.embedded_folder(config.data).is_dir()
  ):
    return None
  try:
    return setup.open_videos(config).get(split)
  except (OSError, ValueError) as error:
    log.warning('The page has no clips: %s', error)
    return None


def read_clips(videos: Videos, data: dict) -> dict[str, np.ndarray]:
  """The middle view of each video: id -> uint8 [T s s 3]."""
  data = data | {'num_clips': 1, 'num_crops': 1}
  batches = pipeline.eval_batches(
    videos, data, batch_size=1, threads=data['threads']
  )
  with batches:
    return {
      videos[int(batch['index'][0])].id: batch['clip'][0]
      for batch in batches
      if batch['mask'][0]
    }
