# SPDX-License-Identifier: Apache-2.0
"""The pictures of one video that a run looked at, and what they are called."""

from collections.abc import Sequence
import itertools
import math
import pathlib
import re
from typing import get_args

import jax
import numpy as np

from flatten_jax import flattening
from flatten_jax.explanation import animation, drawing, strips
from flatten_jax.explanation.explainer import HEATS, Look, Viewer
from flatten_jax.explanation.strips import Strip
from flatten_jax.text import sanitize


def draw(
  folder: pathlib.Path,
  viewer: Viewer,
  look: Look,
  stage: int,
  against: tuple[Viewer, Look] | None = None,
) -> list[str]:
  """Draws all that there is to one video.

  Args:
    folder: of the video.
    viewer: the run that looked.
    look: what it saw.
    stage: from 1, whose heat is drawn.
    against: another run, and what that saw.

  Returns:
    The files, by folder and name.
  """
  folder.mkdir(parents=True, exist_ok=True)
  heading = title(viewer, look)
  said = viewer.class_names[look.predicted]
  heats = overlays(viewer, look, look.evidence[stage - 1])
  rows = [Strip('clip', look.clip)]
  rows += [
    Strip(f'{name},\nstage {stage},\nfor {said}', heat)
    for name, heat in heats.items()
  ]
  if look.wrong:
    truth = viewer.class_names[look.label]
    evidence = viewer.evidence(look, look.label)[stage - 1]
    heat = overlays(viewer, look, evidence)['Grad-CAM']
    rows.append(Strip(f'Grad-CAM,\nstage {stage},\nfor {truth}', heat))
  strips.draw_strips(folder / 'heat.png', rows, heading)
  answer = heading.removeprefix(f'{sanitize(look.id)}: ')
  beside = [strips.enlarge(look.clip), *heats.values()]
  animation.write_animation(folder / 'heat', beside, answer)
  draw_feature_maps(folder / 'feature_maps.png', viewer, look)
  draw_layouts(folder / 'layouts.png', viewer, look)
  draw_attention(folder / 'attention.png', viewer, look)
  if against:
    draw_against(folder, (viewer, look), against, stage)
  return sorted(f'{folder.name}/{path.name}' for path in folder.iterdir())


def folder_names(video_ids: Sequence[str]) -> list[str]:
  """A folder's name for each video; where they are equal, numbered."""
  names = []
  for video_id in video_ids:
    first = name = slug(str(pathlib.PurePath(video_id).with_suffix('')))
    taken = {other.lower() for other in names}  # Disks may not know the case.
    numbers = itertools.count(2)
    while name.lower() in taken:
      name = f'{first}_{next(numbers)}'
    names.append(name)
  return names


def slug(name: str) -> str:
  """Part of a file's name; the end of what is long."""
  return re.sub(r'[^\w.-]+', '_', name)[-80:].strip('._') or 'video'


def title(viewer: Viewer, look: Look) -> str:
  """Which video, what it is, what it is taken for."""
  names = viewer.class_names
  video = sanitize(look.id)
  said = f'{names[look.predicted]} ({100 * look.probability:.1f} %)'
  if look.label < 0:
    return f'{video}: predicted {said}'
  truth = names[look.label]
  if look.wrong:
    truth += f' ({100 * look.probabilities[look.label]:.1f} %)'
  return f'{video}: is {truth}, predicted {said}'


def overlays(
  viewer: Viewer, look: Look, evidence: np.ndarray
) -> dict[str, np.ndarray]:
  """The clip with each kind of heat over it, uint8 [T H W 3] each."""
  return {
    name: strips.overlay(look.clip, viewer.onto_frames(look, kind(evidence)))
    for name, kind in HEATS.items()
  }


def draw_against(
  folder: pathlib.Path,
  ours: tuple[Viewer, Look],
  theirs: tuple[Viewer, Look],
  stage: int,
) -> None:
  """Two runs below each other (Figures 3 and 5 of the paper)."""
  rows = [Strip('clip', ours[1].clip)]
  for viewer, look in (ours, theirs):
    last = len(look.evidence)
    heats = overlays(viewer, look, look.evidence[min(stage, last) - 1])
    said = viewer.class_names[look.predicted]
    name = f'{viewer.name}\n{said}\n{100 * look.probability:.1f} %'
    rows.append(Strip(name, heats['Grad-CAM']))
  look = ours[1]
  truth = '' if look.label < 0 else f': is {ours[0].class_names[look.label]}'
  heading = f'{look.id}{truth}; Grad-CAM of stage {stage}'
  path = folder / f'against_{slug(theirs[0].name)}.png'
  strips.draw_strips(path, rows, heading)


def draw_feature_maps(path: pathlib.Path, viewer: Viewer, look: Look) -> None:
  """By depth; of a model of clips, its points in time on a grid."""
  if look.order is None:
    count = len(look.maps[0])
    grid = near_square(count)
    # Time is halved: each point in time is centred at every second frame.
    frames = look.clip[:: math.ceil(len(look.clip) / count)]
    maps = [flattening.flatten(x[..., None], grid=grid) for x in look.maps]
    maps = [np.asarray(x)[..., 0] for x in maps]
  else:
    grid, maps, frames = viewer.grid, look.maps, look.clip[look.order]
  image = np.asarray(flattening.flatten(strips.enlarge(frames), grid=grid))
  heading = f'{look.id}: root mean square over channels'
  drawing.draw_feature_maps(path, image, maps, grid, heading)


def draw_layouts(path: pathlib.Path, viewer: Viewer, look: Look) -> None:
  """In every layout that there is for so many frames."""
  count = len(look.clip)
  grid = near_square(count) if look.order is None else viewer.grid
  orders = {}
  for mode in get_args(flattening.Mode):
    try:
      orders[mode] = np.asarray(
        flattening.frame_order(mode, count, grid=grid, rng=jax.random.key(0))
      )
    except ValueError:
      continue  # Not every number of frames can be nested.
  drawing.draw_layouts(path, look.clip, orders, grid)


def draw_attention(path: pathlib.Path, viewer: Viewer, look: Look) -> None:
  """Where every position attends to every other; else there is no picture."""
  attention = viewer.attention(look)
  if not attention:
    return
  count = len(next(iter(attention.values())))
  frames = 1 + np.arange(count) * math.ceil(len(look.clip) / count)
  heading = (
    f'{look.id}: where each frame looks; rows add up to 1, '
    f'evenly it would be {1 / count:.3f}'
  )
  drawing.draw_attention(path, attention, frames, heading)


def near_square(count: int) -> tuple[int, int]:
  """The grid for so many frames that is the least wide."""
  rows = max(r for r in range(1, math.isqrt(count) + 1) if count % r == 0)
  return rows, count // rows
