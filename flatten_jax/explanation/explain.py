# SPDX-License-Identifier: Apache-2.0
"""Draws what a trained model looks at in videos (`--mode=explain`)."""

from collections.abc import Iterator, Sequence
import json
import logging
import pathlib
from typing import Any

import ml_collections

from flatten_jax.checkpoints.load import load_config
from flatten_jax.evaluation.label_mapping import match_labels
from flatten_jax.explanation import (
  attention_maps,
  grad_cam,
  motion,
  pictures,
  video_choice,
)
from flatten_jax.explanation.explainer import (
  HEATS,
  ClipExplanation,
  Explainer,
  open_explainer,
)
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.runtime import context

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
  maps by depth, the clip in every layout, and for a UniFormer the attention
  between frames. explain.json has the answers, and the share of the heat that
  is on moving pixels.

  Args:
    workdir: of a training run.
    config: the videos; None for the config of the checkpoint.
    videos: number of videos of the tested split, up to half of them mistakes,
      the most confident first; or ids of videos.
    files: video files, or folders of them, to explain instead.
    against: another run's workdir, whose heat is drawn below.
    stage: 1 to 4, whose heat is drawn; None for the last with seven positions
      along the side of a frame, or else the first.

  Returns:
    The content of explain.json: 'step'; 'heat_on_motion': 'chance', the share
    of pixels that move, and for all 'stages' the share of the heat on them;
    and 'videos', those that were drawn.

  Raises:
    FileNotFoundError: there is no checkpoint, or a file does not exist.
    ValueError: the model has no feature maps, the stage or a video does not
      exist, or no video can be read.
  """
  with context.open_run(load_config(workdir, config), workdir) as run:
    split, opened = video_choice.open_videos(run, files)
    explainer = open_explainer(workdir, run.config)
    grad_cam.check(explainer.model.module, stage)
    other = open_explainer(against) if against else None
    opened = match_labels(opened, explainer.class_names, split or 'given')
    rows, shown = _choose(run, explainer, opened, split, videos, bool(files))
    folder = run.workdir / 'explain'
    folder.mkdir(exist_ok=True)
    found = {
      'step': explainer.model.step,
      'heat_on_motion': motion.mean_shares(rows.values()),
      'videos': list(_draw_all(folder, explainer, other, opened, shown, stage)),
    }
    if not attention_maps.attends(explainer.model.module):
      log.info(
        'No attention is drawn: in %s not all positions attend to all',
        run.config.model.name,
      )
    (folder / 'explain.json').write_text(json.dumps(found, indent=2) + '\n')
    for text in motion.in_words(found['heat_on_motion']):
      log.info('%s', text)
    log.info('Pictures are in %s', folder)
    return found


def _choose(
  run: context.RunContext,
  explainer: Explainer,
  opened: Videos,
  split: str,
  videos: int | Sequence[str],
  all_of_them: bool,
) -> tuple[dict[int, dict[str, Any]], list[int]]:
  """Explains videos and chooses which to draw.

  Returns:
    Rows of explain.json by index of the video, and the indices to draw.
  """
  if all_of_them or not isinstance(videos, int):
    chosen = (
      range(len(opened))
      if all_of_them
      else video_choice.find_ids(opened, videos)
    )
  else:
    chosen = video_choice.spread(range(len(opened)), _MEASURED)
  log.info('Looking at %d of %d videos', len(chosen), len(opened))
  rows = dict(_explain_all(explainer, opened, chosen))
  if not rows:
    raise ValueError(f'None of {len(chosen)} videos can be read.')
  if all_of_them or not isinstance(videos, int):
    return rows, list(rows)
  wrong = video_choice.known_mistakes(run.workdir, split, opened, videos // 2)
  # They may have been removed since the evaluation.
  unseen = [index for index in wrong if index not in rows]
  readable = rows | dict(_explain_all(explainer, opened, unseen))
  wrong = [index for index in wrong if index in readable]
  return rows, video_choice.choose(rows, wrong, videos)


def _draw_all(
  folder: pathlib.Path,
  explainer: Explainer,
  other: Explainer | None,
  opened: Videos,
  shown: Sequence[int],
  stage: int | None,
) -> Iterator[dict[str, Any]]:
  """Draws the pictures of each video into a folder."""
  names = pictures.folder_names([opened[index].id for index in shown])
  for index, name in zip(shown, names, strict=True):
    try:
      yield _draw(folder / name, explainer, other, opened, index, stage)
    except VideoError as error:  # The other run may read other frames.
      log.warning('Cannot be read: %s', error)


def _draw(
  folder: pathlib.Path,
  explainer: Explainer,
  other: Explainer | None,
  opened: Videos,
  index: int,
  stage: int | None,
) -> dict[str, Any]:
  """Draws one video's pictures. -> its row of explain.json."""
  explained = explainer.explain_clip(opened, index)
  theirs = other and explain_again(other, explainer, opened, index)
  row = describe(explainer, explained)
  row['stage'] = stage or explainer.stage(explained)
  row['pictures'] = pictures.draw(
    folder, explainer, explained, row['stage'], theirs
  )
  log.info('%s', pictures.title(explainer, explained))
  return row


def _explain_all(
  explainer: Explainer, videos: Videos, indices: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields rows of explain.json; logs the videos that cannot be read."""
  for index in indices:
    try:
      yield index, describe(explainer, explainer.explain_clip(videos, index))
    except VideoError as error:
      log.warning('Cannot be read: %s', error)


def explain_again(
  other: Explainer, explainer: Explainer, videos: Videos, index: int
) -> tuple[Explainer, ClipExplanation]:
  """Explains a video with another model, which may sample other frames.

  Raises:
    ValueError: it has other classes.
  """
  unmatched = Videos((videos[index],), explainer.class_names)
  matched = match_labels(unmatched, other.class_names, 'other run')
  return other, other.explain_clip(matched, 0, place=index)


def describe(
  explainer: Explainer, explained: ClipExplanation
) -> dict[str, Any]:
  """Returns the row of explain.json of one clip."""
  names = explainer.class_names
  moving = motion.moving_pixels(explained.clip)
  return {
    'id': explained.id,
    'label': names[explained.label] if explained.label >= 0 else None,
    'predicted': names[explained.predicted],
    'probability': round(explained.probability, 4),
    'right': None if explained.label < 0 else not explained.wrong,
    'moving': float(moving.mean()),
    'heat_on_motion': [
      {
        name: motion.share_on(
          moving, explainer.onto_frames(explained, kind(evidence))
        )
        for name, kind in HEATS.items()
      }
      for evidence in explained.evidence
    ],
  }
