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
  explainer: Explainer,
  explained: ClipExplanation,
  stage: int,
  against: tuple[Explainer, ClipExplanation] | None = None,
) -> list[str]:
  """Draws all pictures of a video.

  Args:
    folder: for them.
    explainer: of the run.
    explained: its explanation of the video.
    stage: from 1, whose heat is drawn.
    against: explainer and explanation of another run.

  Returns:
    The files, as folder/name.
  """
  folder.mkdir(parents=True, exist_ok=True)
  heading = title(explainer, explained)
  answer = explainer.class_names[explained.predicted]
  heats = overlays(explainer, explained, explained.evidence[stage - 1])
  rows = [('clip', explained.clip)] + [
    (f'{name},\nstage {stage},\nfor {answer}', heat)
    for name, heat in heats.items()
  ]
  if explained.wrong:
    evidence = explainer.evidence(explained, explained.label)[stage - 1]
    heat = overlays(explainer, explained, evidence)['Grad-CAM']
    label = explainer.class_names[explained.label]
    rows.append((f'Grad-CAM,\nstage {stage},\nfor {label}', heat))
  figures.draw_strips(folder / 'heat.png', rows, heading)
  animation.write_animation(
    folder / 'heat',
    [figures.enlarge(explained.clip), *heats.values()],
    heading.removeprefix(f'{sanitize(explained.id)}: '),
  )
  _draw_feature_maps(folder / 'feature_maps.png', explainer, explained)
  _draw_layouts(folder / 'layouts.png', explainer, explained)
  _draw_attention(folder / 'attention.png', explainer, explained)
  if against:
    _draw_against(folder, (explainer, explained), against, stage)
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


def title(explainer: Explainer, explained: ClipExplanation) -> str:
  """Returns one line: video, label and predicted class."""
  names = explainer.class_names
  video = sanitize(explained.id)
  answer = f'{names[explained.predicted]} ({100 * explained.probability:.1f} %)'
  if explained.label < 0:
    return f'{video}: predicted {answer}'
  label = names[explained.label]
  if explained.wrong:
    label += f' ({100 * explained.probabilities[explained.label]:.1f} %)'
  return f'{video}: is {label}, predicted {answer}'


def overlays(
  explainer: Explainer, explained: ClipExplanation, evidence: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns the clip with each kind of heat over it, uint8 [T H W 3] each."""
  return {
    name: figures.overlay(
      explained.clip, explainer.onto_frames(explained, kind(evidence))
    )
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
  for explainer, explained in (ours, theirs):
    evidence = explained.evidence[min(stage, len(explained.evidence)) - 1]
    answer = explainer.class_names[explained.predicted]
    name = f'{explainer.name}\n{answer}\n{100 * explained.probability:.1f} %'
    rows.append((name, overlays(explainer, explained, evidence)['Grad-CAM']))
  explainer, explained = ours
  heading = f'{sanitize(explained.id)}: Grad-CAM of stage {stage}'
  if explained.label >= 0:
    heading += f' (label: {explainer.class_names[explained.label]})'
  path = folder / f'against_{_slug(theirs[0].name)}.png'
  figures.draw_strips(path, rows, heading)


def _draw_feature_maps(
  path: pathlib.Path, explainer: Explainer, explained: ClipExplanation
) -> None:
  """Draws the stages; a video model's points in time lie on a grid."""
  if explained.order is None:
    count = len(explained.maps[0])
    grid = _near_square(count)
    # Time is halved: each point in time is centred at every second frame.
    frames = explained.clip[:: math.ceil(len(explained.clip) / count)]
    maps = [
      np.asarray(flattening.flatten(x[..., None], grid=grid))[..., 0]
      for x in explained.maps
    ]
  else:
    grid, maps = explainer.grid, explained.maps
    frames = explained.clip[explained.order]
  image = np.asarray(flattening.flatten(figures.enlarge(frames), grid=grid))
  heading = f'{explained.id}: root mean square over channels'
  figures.draw_feature_maps(path, image, maps, grid, heading)


def _draw_layouts(
  path: pathlib.Path, explainer: Explainer, explained: ClipExplanation
) -> None:
  """Draws every layout that exists for this number of frames."""
  count = len(explained.clip)
  grid = _near_square(count) if explained.order is None else explainer.grid
  orders = {}
  for mode in get_args(flattening.Mode):
    try:
      order = flattening.frame_order(
        mode, count, grid=grid, rng=jax.random.key(0)
      )
    except ValueError:
      continue  # 'nested' needs a grid of square blocks.
    orders[mode] = np.asarray(order)
  figures.draw_layouts(path, explained.clip, orders, grid)


def _draw_attention(
  path: pathlib.Path, explainer: Explainer, explained: ClipExplanation
) -> None:
  """Draws attention between frames if the model has global attention."""
  attention = explainer.attention(explained)
  if not attention:
    return
  count = len(next(iter(attention.values())))
  frames = 1 + np.arange(count) * math.ceil(len(explained.clip) / count)
  heading = (
    f'{explained.id}: attention between frames; rows sum to 1, uniform '
    f'attention is {1 / count:.3f}'
  )
  figures.draw_attention(path, attention, frames, heading)


def _near_square(count: int) -> tuple[int, int]:
  """Returns the least wide grid with `count` cells, (rows, columns)."""
  rows = max(r for r in range(1, math.isqrt(count) + 1) if count % r == 0)
  return rows, count // rows
