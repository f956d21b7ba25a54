# SPDX-License-Identifier: Apache-2.0
"""Wrong and right answers of a run, with their clips and heat maps."""

from collections.abc import Sequence
import dataclasses
import logging
import pathlib

import ml_collections
import numpy as np

from flatten_jax.evaluation.metrics import (
  Predictions,
  most_confident_hits,
  most_confident_mistakes,
)
from flatten_jax.explanation import clip_explanation
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.prediction.chosen_classes import TopClasses, top_classes
from flatten_jax.runtime import context
from flatten_jax.runtime.loaded_model import LoadedModel

log = logging.getLogger('flatten_jax')

_SHOWN = 6  # Classes of a video with several labels.


@dataclasses.dataclass(frozen=True)
class Example:
  """A video with an answer.

  Attributes:
    video: its name in the predictions.
    labels: its class, or its classes where it may have several.
    top: the answer and the next probable classes; of several labels, those that
      are a label or an answer, up to `_SHOWN`.
    right: whether the answer is the label, or the answers all labels.
    missed, extra: of several labels, those without an answer, and answers that
      are no label.
    clip: frames of the middle view as the model saw them, uint8 [T s s 3]; None
      if the video is not available.
    heat: of a wrong answer, drawn over the frames, uint8 [T h w 3]; None if the
      model has none.
    heat_name: of what the heat is, see `ClipExplanation.heat_name`.
  """

  video: str
  labels: tuple[str, ...]
  top: TopClasses
  right: bool = False
  missed: tuple[str, ...] = ()
  extra: tuple[str, ...] = ()
  clip: np.ndarray | None = None
  heat: np.ndarray | None = None
  heat_name: str = ''


def mistakes(predictions: Predictions, count: int) -> list[Example]:
  """Returns up to `count` mistakes of a split, most confident first."""
  return _examples(predictions, most_confident_mistakes(predictions, count))


def successes(predictions: Predictions, count: int) -> list[Example]:
  """Returns the most confident right answer of up to `count` classes.

  The classes, or sets of labels, with the most confident ones come first.
  """
  right = most_confident_hits(predictions)
  _, first = np.unique(predictions.labels[right], return_index=True, axis=0)
  return _examples(predictions, right[np.sort(first)[:count]])


def _examples(predictions: Predictions, numbers: np.ndarray) -> list[Example]:
  probabilities, names = predictions.probabilities(), predictions.class_names
  if predictions.multi_label:
    return [_of_several(predictions, probabilities[i], i) for i in numbers]
  answers = predictions.answers
  return [
    Example(
      str(predictions.ids[i]),
      (names[predictions.labels[i]],),
      top_classes(probabilities[i], names, 3),
      right=bool(answers[i] == predictions.labels[i]),
    )
    for i in numbers
  ]


def _of_several(
  predictions: Predictions, probabilities: np.ndarray, number: int
) -> Example:
  """Returns the video of a number, with probabilities [K], and its labels."""
  names = predictions.class_names
  is_label = predictions.labels[number] == 1
  answered = probabilities >= predictions.limits
  chosen = lambda mask: tuple(names[i] for i in np.flatnonzero(mask))  # noqa: E731
  shown = {*chosen(is_label | answered)}
  top = top_classes(probabilities, names, len(names))
  return Example(
    str(predictions.ids[number]),
    chosen(is_label),
    [entry for entry in top if entry[0] in shown][:_SHOWN] or top[:1],
    right=bool((is_label == answered).all()),
    missed=chosen(is_label & ~answered),
    extra=chosen(answered & ~is_label),
  )


def with_clips(
  found: Sequence[Example],
  split: str,
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
) -> list[Example]:
  """Adds clips and heat maps, as far as videos and maps exist."""
  videos = _open_split(config, split)
  numbers = {record.id: i for i, record in enumerate(videos.records)}
  if not any(example.video in numbers for example in found):
    return list(found)
  model = None
  try:
    if not all(example.right for example in found):
      model = clip_explanation.open_model(workdir, config)
  except ValueError as error:
    log.info('The page has no heat maps: %s', error)
  shown = []
  for example in found:
    if example.video in numbers:
      number = numbers[example.video]
      try:
        pictures = _clip_and_heat(example, model, videos, number, config)
        example = dataclasses.replace(example, **pictures)
      except VideoError as error:
        log.warning('The page does not show an unreadable video: %s', error)
    shown.append(example)
  return shown


def _clip_and_heat(
  example: Example,
  model: LoadedModel | None,
  videos: Videos,
  number: int,
  config: ml_collections.ConfigDict,
) -> dict[str, np.ndarray | str]:
  """Returns the clip of video `number`, and its heat if there is a model."""
  if model is None or example.right:
    clip, _ = clip_explanation.read_clip(videos, number, config.data)
    return {'clip': fields.picture(clip)}
  explained = clip_explanation.explain_clip(model, videos, number)
  answer = model.class_names.index(example.top[0][0])
  evidence = explained.evidence_for(answer)[explained.fine_stage - 1]
  return {
    'clip': explained.clip,
    'heat': explained.draw_heat(evidence),
    'heat_name': explained.heat_name,
  }


def _open_split(config: ml_collections.ConfigDict, split: str) -> Videos:
  """Opens the videos of a split; without any if they cannot be found."""
  embedded = config.data.motion_clips
  if not embedded or context.embedded_folder(config.data).is_dir():
    try:
      return context.open_videos(config)[split]
    except (OSError, ValueError, KeyError) as error:
      log.warning('The page has no clips: %s', error)
  return Videos((), ())
