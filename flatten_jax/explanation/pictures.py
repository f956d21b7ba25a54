# SPDX-License-Identifier: Apache-2.0
"""The pictures of one explained video, and the names of their files."""

from collections.abc import Sequence
import itertools
import math
import pathlib
import re
from typing import get_args

import jax
import numpy as np

from flatten_jax import flattening
from flatten_jax.explanation import animation, figures
from flatten_jax.explanation.explainer import (
  HEATS,
  ClipExplanation,
  Explainer,
)
from flatten_jax.text import sanitize


def draw(
  folder: pathlib.Path,
  viewer: Explainer,
  look: ClipExplanation,
  stage: int,
  against: tuple[Explainer, ClipExplanation] | None = None,
) -> list[str]:
  """Draws all pictures of a video.

  Args:
    folder: for them.
    viewer: the run.
    look: its view of the video.
    stage: from 1, whose heat is drawn.
    against: another run, and its view of the video.

  Returns:
    The files, as folder/name.
  """
  folder.mkdir(parents=True, exist_ok=True)
  heading = title(viewer, look)
  answer = viewer.class_names[look.predicted]
  heats = overlays(viewer, look, look.evidence[stage - 1])
  rows = [('clip', look.clip)] + [
    (f'{name},\nstage {stage},\nfor {answer}', heat)
    for name, heat in heats.items()
  ]
  if look.wrong:
    evidence = viewer.evidence(look, look.label)[stage - 1]
    heat = overlays(viewer, look, evidence)['Grad-CAM']
    label = viewer.class_names[look.label]
    rows.append((f'Grad-CAM,\nstage {stage},\nfor {label}', heat))
  figures.draw_strips(folder / 'heat.png', rows, heading)
  animation.write_animation(
    folder / 'heat',
    [figures.enlarge(look.clip), *heats.values()],
    heading.removeprefix(f'{sanitize(look.id)}: '),
  )
  _draw_feature_maps(folder / 'feature_maps.png', viewer, look)
  _draw_layouts(folder / 'layouts.png', viewer, look)
  _draw_attention(folder / 'attention.png', viewer, look)
  if against:
    _draw_against(folder, (viewer, look), against, stage)
  return sorted(f'{folder.name}/{path.name}' for path in folder.iterdir())


def folder_names(video_ids: Sequence[str]) -> list[str]:
  """Returns a folder name for each video; equal names are numbered."""
  names = []
  for video_id in video_ids:
    first = name = _slug(str(pathlib.PurePath(video_id).with_suffix('')))
    taken = {other.lower() for other in names}  # Disks may ignore case.
    numbers = itertools.count(2)
    while name.lower() in taken:
      name = f'{first}_{next(numbers)}'
    names.append(name)
  return names


def _slug(name: str) -> str:
  """Returns the end of a name, as part of a file name."""
  return re.sub(r'[^\w.-]+', '_', name)[-80:].strip('._') or 'video'


def title(viewer: Explainer, look: ClipExplanation) -> str:
  """Returns one line: video, label and predicted class."""
  names = viewer.class_names
  video = sanitize(look.id)
  answer = f'{names[look.predicted]} ({100 * look.probability:.1f} %)'
  if look.label < 0:
    return f'{video}: predicted {answer}'
  label = names[look.label]
  if look.wrong:
    label += f' ({100 * look.probabilities[look.label]:.1f} %)'
  return f'{video}: is {label}, predicted {answer}'


def overlays(
  viewer: Explainer, look: ClipExplanation, evidence: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns the clip with each kind of heat over it, uint8 [T H W 3] each."""
  return {
    name: figures.overlay(look.clip, viewer.onto_frames(look, kind(evidence)))
    for name, kind in HEATS.items()
  }


def _draw_against(
  folder: pathlib.Path,
  ours: tuple[Explainer, ClipExplanation],
  theirs: tuple[Explainer, ClipExplanation],
  stage: int,
) -> None:
  """Draws two runs below each other (Figures 3 and 5 of the paper)."""
  rows = [('clip', ours[1].clip)]
  for viewer, look in (ours, theirs):
    evidence = look.evidence[min(stage, len(look.evidence)) - 1]
    answer = viewer.class_names[look.predicted]
    name = f'{viewer.name}\n{answer}\n{100 * look.probability:.1f} %'
    rows.append((name, overlays(viewer, look, evidence)['Grad-CAM']))
  viewer, look = ours
  label = '' if look.label < 0 else f': is {viewer.class_names[look.label]}'
  heading = f'{look.id}{label}; Grad-CAM of stage {stage}'
  path = folder / f'against_{_slug(theirs[0].name)}.png'
  figures.draw_strips(path, rows, heading)


def _draw_feature_maps(
  path: pathlib.Path, viewer: Explainer, look: ClipExplanation
) -> None:
  """Draws the stages; a video model's points in time lie on a grid."""
  if look.order is None:
    count = len(look.maps[0])
    grid = _near_square(count)
    # Time is halved: each point in time is centred at every second frame.
    frames = look.clip[:: math.ceil(len(look.clip) / count)]
    maps = [
      np.asarray(flattening.flatten(x[..., None], grid=grid))[..., 0]
      for x in look.maps
    ]
  else:
    grid, maps, frames = viewer.grid, look.maps, look.clip[look.order]
  image = np.asarray(flattening.flatten(figures.enlarge(frames), grid=grid))
  heading = f'{look.id}: root mean square over channels'
  figures.draw_feature_maps(path, image, maps, grid, heading)


def _draw_layouts(
  path: pathlib.Path, viewer: Explainer, look: ClipExplanation
) -> None:
  """Draws every layout that exists for this number of frames."""
  count = len(look.clip)
  grid = _near_square(count) if look.order is None else viewer.grid
  orders = {}
  for mode in get_args(flattening.Mode):
    try:
      order = flattening.frame_order(
        mode, count, grid=grid, rng=jax.random.key(0)
      )
    except ValueError:
      continue  # 'nested' needs a grid of square blocks.
    orders[mode] = np.asarray(order)
  figures.draw_layouts(path, look.clip, orders, grid)


def _draw_attention(
  path: pathlib.Path, viewer: Explainer, look: ClipExplanation
) -> None:
  """Draws attention between frames if the model has global attention."""
  attention = viewer.attention(look)
  if not attention:
    return
  count = len(next(iter(attention.values())))
  frames = 1 + np.arange(count) * math.ceil(len(look.clip) / count)
  heading = (
    f'{look.id}: attention between frames; rows sum to 1, uniform attention '
    f'is {1 / count:.3f}'
  )
  figures.draw_attention(path, attention, frames, heading)


def _near_square(count: int) -> tuple[int, int]:
  """Returns the least wide grid with `count` cells, (rows, columns)."""
  rows = max(r for r in range(1, math.isqrt(count) + 1) if count % r == 0)
  return rows, count // rows
