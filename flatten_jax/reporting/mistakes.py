# SPDX-License-Identifier: Apache-2.0
"""The most confident wrong answers of a run, with their clips and heat maps."""

from collections.abc import Sequence
import dataclasses
import logging
import pathlib

import ml_collections
import numpy as np

from flatten_jax.evaluation.metrics import (
  Predictions,
  most_confident_mistakes,
)
from flatten_jax.explanation import figures
from flatten_jax.explanation.explainer import (
  Explainer,
  open_explainer,
  read_clip,
)
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.prediction.results import TopClasses, top_classes
from flatten_jax.runtime import context

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True)
class Mistake:
  """A video with a wrong answer.

  Attributes:
    video: its name in the predictions.
    label: its class.
    top: the answer and the next probable classes.
    clip: frames of the middle view as the model saw them, uint8 [T s s 3]; None
      if the video is not available.
    heat: Grad-CAM for the answer, drawn over the frames, uint8 [T h w 3]; None
      if the model has no feature maps.
  """

  video: str
  label: str
  top: TopClasses
  clip: np.ndarray | None = None
  heat: np.ndarray | None = None


def most_confident(predictions: Predictions, count: int) -> list[Mistake]:
  """Returns up to `count` mistakes of a split, most confident first."""
  probabilities, names = predictions.probabilities(), predictions.class_names
  return [
    Mistake(
      str(predictions.ids[i]),
      names[predictions.labels[i]],
      top_classes(probabilities[i], names, 3),
    )
    for i in most_confident_mistakes(predictions, count)
  ]


def with_clips(
  found: Sequence[Mistake],
  split: str,
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
) -> list[Mistake]:
  """Adds clips and heat maps, as far as videos and feature maps exist."""
  videos = _open_split(config, split)
  numbers = {record.id: i for i, record in enumerate(videos.records)}
  if not any(mistake.video in numbers for mistake in found):
    return list(found)
  try:
    explainer = open_explainer(workdir, config)
  except ValueError as error:
    log.info('The page has no heat maps: %s', error)
    explainer = None
  return [
    with_clip(mistake, explainer, videos, numbers[mistake.video], config)
    if mistake.video in numbers
    else mistake
    for mistake in found
  ]


def with_clip(
  mistake: Mistake,
  explainer: Explainer | None,
  videos: Videos,
  number: int,
  config: ml_collections.ConfigDict,
) -> Mistake:
  """Adds the clip of video `number`, and its heat map with an explainer."""
  try:
    if explainer is None:
      clip = read_clip(videos, number, config.data)
      return dataclasses.replace(mistake, clip=clip)
    explained = explainer.explain_clip(videos, number)
  except VideoError as error:
    log.warning('The page does not show an unreadable video: %s', error)
    return mistake
  answer = explainer.class_names.index(mistake.top[0][0])
  heat = explainer.heats(explained, answer)[explainer.stage(explained) - 1]
  heat = figures.overlay(explained.clip, explainer.onto_frames(explained, heat))
  return dataclasses.replace(mistake, clip=explained.clip, heat=heat)


def _open_split(config: ml_collections.ConfigDict, split: str) -> Videos:
  """Opens the videos of a split; without any if they cannot be found."""
  embedded = config.data.motion_clips
  if not embedded or context.embedded_folder(config.data).is_dir():
    try:
      return context.open_videos(config)[split]
    except (OSError, ValueError, KeyError) as error:
      log.warning('The page has no clips: %s', error)
  return Videos((), ())
