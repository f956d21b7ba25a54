# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a trained run sees in videos, and a number beside them."""

from collections.abc import Iterator, Sequence
import json
import logging
import pathlib
from typing import Any

import ml_collections

from flatten_jax.evaluation.label_mapping import match_labels
from flatten_jax.explanation import (
  attention_maps,
  grad_cam,
  motion,
  pictures,
  video_choice,
)
from flatten_jax.explanation.explainer import HEATS, Look, Viewer
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.runtime import trained

log = logging.getLogger('flatten_jax')

_MEASURED = 48  # Videos that heat is measured on where none are named.


def explain(
  workdir: str | pathlib.Path,
  *,
  config: ml_collections.ConfigDict | None = None,
  videos: int | Sequence[str] = 6,
  files: Sequence[str | pathlib.Path] = (),
  against: str | pathlib.Path | None = None,
  stage: int | None = None,
) -> dict[str, Any]:
  """Draws what a run sees in some videos, into workdir/explain/.

  For each video a folder with its heat (Grad-CAM) as strip, GIF and MP4, the
  feature maps by depth, the clip in every layout, and for a UniFormer which
  frames each frame looks at. explain.json says what was answered, and how much
  of the heat is on moving pixels.

  Args:
    workdir: of a training run.
    config: which videos; None for the config that the checkpoint holds.
    videos: of the split that `evaluate` scores: how many, half of
      them mistakes if there are so many, the most confident first; or ids.
    files: video files to look at instead, or folders of them.
    against: another run's workdir, whose heat is drawn below.
    stage: 1 to 4, whose heat is drawn; None for the last that has seven
      positions along the side of a frame, or else the first.

  Returns:
    What explain.json holds: 'step'; 'heat_on_motion', the 'chance', which is
    the share of pixels that move, and for all 'stages' the share of the heat
    that they get; and 'videos', those that were drawn.

  Raises:
    FileNotFoundError: there is no checkpoint, or no such file.
    ValueError: the model has no feature maps, there is no such stage or video,
      or none can be read.
  """
  config = trained.as_trained(config, workdir)
  split, opened = video_choice.open_videos(config, workdir, files)
  viewer = Viewer.open(workdir, config)
  grad_cam.check(viewer.model, stage)
  other = Viewer.open(against) if against else None
  opened = match_labels(opened, viewer.run.class_names, split or 'given')
  if files:
    shown = list(range(len(opened)))
  elif isinstance(videos, int):
    shown = None
  else:
    shown = video_choice.find_ids(opened, videos)
  measured = (
    video_choice.spread(range(len(opened)), _MEASURED)
    if shown is None
    else shown
  )
  log.info('Looking at %d of %d videos', len(measured), len(opened))
  rows = dict(_look_at(viewer, opened, measured))
  if not rows:
    raise ValueError(f'None of {len(measured)} videos can be read.')
  if shown is None:
    wrong = video_choice.known_mistakes(workdir, split, opened, videos // 2)
    # They may be gone since they were scored.
    seen = rows | dict(
      _look_at(viewer, opened, [i for i in wrong if i not in rows])
    )
    shown = video_choice.choose(rows, [i for i in wrong if i in seen], videos)
  else:
    shown = list(rows)

  folder = pathlib.Path(workdir) / 'explain'
  folder.mkdir(exist_ok=True)
  found = {
    'step': viewer.step,
    'heat_on_motion': motion.mean_shares(rows.values()),
    'videos': list(_draw_all(folder, viewer, other, opened, shown, stage)),
  }
  if not attention_maps.attends(viewer.model):
    log.info(
      'In %s not all positions attend to all: there is no attention to draw',
      config.model.name,
    )
  (folder / 'explain.json').write_text(json.dumps(found, indent=2) + '\n')
  for text in motion.in_words(found['heat_on_motion']):
    log.info('%s', text)
  log.info('Pictures are in %s', folder)
  return found


def _draw_all(
  folder: pathlib.Path,
  viewer: Viewer,
  other: Viewer | None,
  opened: Videos,
  shown: Sequence[int],
  stage: int | None,
) -> Iterator[dict[str, Any]]:
  """A folder of pictures for each of the videos."""
  names = pictures.folder_names([opened[index].id for index in shown])
  for index, name in zip(shown, names, strict=True):
    try:
      yield _draw(folder / name, viewer, other, opened, index, stage)
    except VideoError as error:  # The other run may read other frames.
      log.warning('Cannot be read: %s', error)


def _draw(
  folder: pathlib.Path,
  viewer: Viewer,
  other: Viewer | None,
  opened: Videos,
  index: int,
  stage: int | None,
) -> dict[str, Any]:
  """One video's pictures. -> what explain.json says of it."""
  look = viewer.look(opened, index)
  theirs = other and look_again(other, viewer, opened, index)
  row = describe(viewer, look)
  row['stage'] = stage or viewer.stage(look)
  row['pictures'] = pictures.draw(folder, viewer, look, row['stage'], theirs)
  log.info('%s', pictures.title(viewer, look))
  return row


# --- What is seen in them -----------------------------------------------------


def _look_at(
  viewer: Viewer, videos: Videos, indices: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
  """What is made of each that can be read; the others are named."""
  for index in indices:
    try:
      yield index, describe(viewer, viewer.look(videos, index))
    except VideoError as error:
      log.warning('Cannot be read: %s', error)


def look_again(
  other: Viewer, viewer: Viewer, videos: Videos, index: int
) -> tuple[Viewer, Look]:
  """What another run makes of a video; its frames may be others.

  Raises:
    ValueError: it knows other classes.
  """
  unmatched = Videos((videos[index],), viewer.class_names)
  matched = match_labels(unmatched, other.run.class_names, 'other run')
  return other, other.look(matched, 0, place=index)


def describe(viewer: Viewer, look: Look) -> dict[str, Any]:
  """What was answered; and where the heat is, by stage."""
  names = viewer.class_names
  moving = motion.moving_pixels(look.clip)
  return {
    'id': look.id,
    'label': names[look.label] if look.label >= 0 else None,
    'predicted': names[look.predicted],
    'probability': round(look.probability, 4),
    'right': None if look.label < 0 else not look.wrong,
    'moving': float(moving.mean()),
    'heat_on_motion': [
      {
        name: motion.share_on(moving, viewer.onto_frames(look, kind(evidence)))
        for name, kind in HEATS.items()
      }
      for evidence in look.evidence
    ],
  }
