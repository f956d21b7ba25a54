# SPDX-License-Identifier: Apache-2.0
"""Draws what a trained model looks at in videos (`--mode=explain`)."""

from collections.abc import Iterator, Sequence
import json
import logging
import pathlib
from typing import Any

import ml_collections

from flatten_jax import paths
from flatten_jax.checkpoints.load import load_config
from flatten_jax.evaluation.label_mapping import match_labels
from flatten_jax.explanation import (
  grad_cam,
  motion,
  pictures,
  video_choice,
)
from flatten_jax.explanation.clip_explanation import (
  ClipExplanation,
  explain_clip,
  open_model,
)
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.progress import Progress
from flatten_jax.runtime import context
from flatten_jax.runtime.loaded_model import LoadedModel

log = logging.getLogger('flatten_jax')

_MEASURED = 48  # Videos for `heat_on_motion`, if none are named.


def explain(
  workdir: str | pathlib.Path,
  *,
  config: ml_collections.ConfigDict | None = None,
  videos: int | Sequence[str] = 6,
  files: Sequence[str | pathlib.Path] = (),
  against: str | pathlib.Path | None = None,
  stage: int | None = None,
) -> dict[str, Any]:
  """Draws what a model looks at in some videos, into workdir/explain/.

  Each video gets a folder with its Grad-CAM as strip, GIF and MP4, the feature
  maps by depth, the clip in every layout, and the attention between frames, if
  all attend to all. For a model that classifies by a token, that token's
  attention takes the place of Grad-CAM and feature maps. explain.json has the
  answers, and the share of the heat that is on moving pixels.

  Args:
    workdir: of a training run.
    config: the videos; None for the config of the checkpoint.
    videos: number of videos of the tested split, up to half of them mistakes,
      the most confident first; or ids of videos.
    files: video files, folders of them, or URLs, to explain instead.
    against: another run's workdir, whose heat is drawn below.
    stage: from 1, whose heat is drawn; None for the last with seven positions
      along the side of a frame, or else the first.

  Returns:
    The content of explain.json: 'step'; 'heat_on_motion': 'chance', the share
    of pixels that move, and for all 'stages' the share of the heat on them;
    and 'videos', those that were drawn.

  Raises:
    FileNotFoundError: there is no checkpoint, or a file does not exist.
    ValueError: the model has neither feature maps nor a token, the stage or a
      video does not exist, or no video can be read.
  """
  if isinstance(videos, str):
    videos = [videos]
  if isinstance(videos, float) or (isinstance(videos, int) and videos < 1):
    raise ValueError(
      f'videos must be a whole number, 1 or more, or ids; got {videos!r}.'
    )
  if isinstance(files, str | pathlib.Path):
    files = [files]
  with (
    context.open_run(load_config(workdir, config), workdir) as run,
    video_choice.open_videos(run, files) as (split, opened),
  ):
    model = open_model(workdir, run.config)
    if stage is not None:
      grad_cam.check(model.module, stage)
    runs = [(_name(workdir), model)]
    if against:
      runs.append((_name(against), open_model(against)))
    opened = match_labels(opened, model.class_names, split or 'given')
    for name, other in runs[1:]:  # Before anything is computed.
      match_labels(opened, other.class_names, f'{split or "given"} ({name})')
    rows, shown = _choose(run, model, opened, videos, files, split)
    folder = run.workdir / 'explain'
    folder.mkdir(exist_ok=True)
    found = {
      'step': model.step,
      'heat_on_motion': motion.mean_shares(rows.values()),
      'videos': list(_draw_all(folder, runs, opened, shown, stage)),
    }
    if not getattr(model.module, 'frame_attention', None):
      log.info(
        'No attention is drawn: %s has none between all frames',
        run.config.model.name,
      )
    (folder / 'explain.json').write_text(json.dumps(found, indent=2) + '\n')
    for text in motion.in_words(found['heat_on_motion']):
      log.info('%s', text)
    log.info('Pictures are in %s', folder)
    return found


def _choose(
  run: context.RunContext,
  model: LoadedModel,
  opened: Videos,
  videos: int | Sequence[str],
  files: Sequence[str | pathlib.Path],
  split: str | None,
) -> tuple[dict[int, dict[str, Any]], list[int]]:
  """Returns rows of explain.json by index, and the indices of those to draw.

  Raises:
    ValueError: a video does not exist, or none can be read.
  """
  if files:
    chosen = range(len(opened))
  elif isinstance(videos, int):
    chosen = video_choice.spread(range(len(opened)), _MEASURED)
  else:
    chosen = video_choice.find_ids(opened, videos)
  log.info('Looking at %d of %d videos', len(chosen), len(opened))
  rows = dict(_explain_all(model, opened, chosen))
  if not rows:
    raise ValueError(f'None of {len(chosen)} videos can be read.')
  if files or not isinstance(videos, int):
    return rows, list(rows)
  wrong = video_choice.known_mistakes(run.workdir, split, opened, videos // 2)
  # They may have been removed since the evaluation.
  readable = list(dict(_explain_all(model, opened, wrong)))
  return rows, video_choice.choose(rows, readable, videos)


def _explain_all(
  model: LoadedModel, videos: Videos, indices: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields rows of explain.json; logs the videos that cannot be read."""
  for index in Progress('Looking', 'videos', indices, leave=False):
    try:
      yield index, describe(explain_clip(model, videos, index))
    except VideoError as error:
      log.warning('Cannot be read: %s', error)


def _name(workdir: str | pathlib.Path) -> str:
  return paths.expand(workdir).resolve().name


def _draw_all(
  folder: pathlib.Path,
  runs: Sequence[tuple[str, LoadedModel]],
  videos: Videos,
  shown: Sequence[int],
  stage: int | None,
) -> Iterator[dict[str, Any]]:
  """Draws each video into a folder of its own; yields rows of explain.json."""
  names = pictures.folder_names([videos[index].id for index in shown])
  for index, name in zip(shown, names, strict=True):
    video = Videos((videos[index],), videos.class_names)
    explanations = []
    try:
      for run, model in runs:
        matched = match_labels(video, model.class_names, run)
        explained = explain_clip(model, matched, 0, place=index)
        explanations.append((run, explained))
    except VideoError as error:  # The other run may read other frames.
      log.warning('Cannot be read: %s', error)
      continue
    explained = explanations[0][1]
    row = describe(explained)
    row['stage'] = stage or explained.fine_stage
    row['pictures'] = pictures.draw(folder / name, explanations, row['stage'])
    log.info('%s', pictures.title(explained))
    yield row


def describe(explained: ClipExplanation) -> dict[str, Any]:
  """Returns the row of explain.json of one clip."""
  moving = motion.moving_pixels(explained.clip)
  names = explained.label_names
  label = {'label': names[0] if names else None}
  if explained.model.config.data.multi_label:
    label = {'labels': None if explained.labels is None else names}
  return {
    'id': explained.id,
    **label,
    'predicted': explained.answer,
    'probability': round(explained.probability, 4),
    'right': explained.right,
    'moving': float(moving.mean()),
    'heat_on_motion': [
      {
        kind: motion.share_on(moving, explained.onto_frames(heat(evidence)))
        for kind, heat in explained.heats.items()
      }
      for evidence in explained.evidence
    ],
  }
