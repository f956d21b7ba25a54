# SPDX-License-Identifier: Apache-2.0
"""The pictures of one explained video, and the names of their files."""

from collections.abc import Sequence
import contextlib
import itertools
import math
import os
import pathlib
import re
from typing import get_args

import jax
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
import numpy as np

from flatten_jax import flattening
from flatten_jax.explanation import (
  animation,
  attention_maps,
  feature_maps,
  figures,
)
from flatten_jax.explanation.clip_explanation import ClipExplanation
from flatten_jax.text import sanitize, shorten_bytes


def draw(
  folder: pathlib.Path, runs: Sequence[tuple[str, ClipExplanation]], stage: int
) -> list[str]:
  """Draws all pictures of a video.

  Args:
    folder: for them; created if absent.
    runs: name of a run and its explanation of the video; if there is a second,
      both are drawn below each other.
    stage: from 1, whose heat is drawn.

  Returns:
    The files that were drawn, as folder/name; others in the folder stay.
  """
  folder.mkdir(parents=True, exist_ok=True)
  explained, heading = runs[0][1], title(runs[0][1])
  heats = {
    kind: explained.draw_heat(explained.evidence[stage - 1], kind)
    for kind in explained.heats
  }
  strips = [('clip', explained.clip)] + [
    (_caption(explained, kind, stage), heat) for kind, heat in heats.items()
  ]
  if explained.right is False and explained.maps:
    label = max(explained.labels, key=explained.probabilities.__getitem__)
    evidence = explained.evidence_for(label)[stage - 1]
    label_name = explained.model.class_names[label]
    name = f'Grad-CAM,\nstage {stage},\nfor {label_name}'
    strips.append((name, explained.draw_heat(evidence)))
  drawn = ['heat.png', 'heat.gif', 'heat.mp4', 'layouts.png']
  figures.draw_strips(folder / 'heat.png', strips, heading)
  animation.write_animation(
    folder / 'heat',
    [figures.enlarge(explained.clip), *heats.values()],
    heading.removeprefix(f'{sanitize(explained.id)}: '),
  )
  if explained.maps:
    drawn.append('feature_maps.png')
    _draw_feature_maps(folder / drawn[-1], explained)
  _draw_layouts(folder / 'layouts.png', explained)
  if attention := attention_maps.frame_attention(explained):
    drawn.append('attention.png')
    _draw_attention(folder / drawn[-1], explained, attention)
  if len(runs) > 1:
    drawn.append(f'against_{_slug(runs[1][0])}.png')
    _draw_against(folder / drawn[-1], runs, stage)
  return sorted(f'{folder.name}/{name}' for name in drawn)


def _caption(explained: ClipExplanation, kind: str, stage: int) -> str:
  """Returns the words beside a strip of heat."""
  if not explained.maps:
    return f'attention of\nthe {kind},\nlast block'
  return f'{kind},\nstage {stage},\nfor {explained.answer}'


def folder_names(video_ids: Sequence[str]) -> list[str]:
  """Returns a folder name for each video; equal names are numbered."""
  names = []
  for video_id in video_ids:
    first = name = _slug(os.path.splitext(video_id)[0])
    taken = {other.lower() for other in names}  # Disks may ignore case.
    numbers = itertools.count(2)
    while name.lower() in taken:
      name = f'{first}_{next(numbers)}'
    names.append(name)
  return names


def _slug(name: str) -> str:
  """Returns the end of a name, as part of a file name."""
  name = shorten_bytes(re.sub(r'[^\w.-]+', '_', name)[-80:], 200)
  return name.strip('._') or 'video'


def title(explained: ClipExplanation) -> str:
  """Returns one line: video, labels and predicted class."""
  video = sanitize(explained.id)
  answer = f'{explained.answer} ({100 * explained.probability:.1f} %)'
  names = explained.label_names
  if not names:
    return f'{video}: predicted {answer}'
  if not explained.right:
    shares = 100 * explained.probabilities[list(explained.labels)]
    names = [f'{n} ({p:.1f} %)' for n, p in zip(names, shares, strict=True)]
  return f'{video}: is {", ".join(names)}, predicted {answer}'


def _draw_against(
  path: pathlib.Path, runs: Sequence[tuple[str, ClipExplanation]], stage: int
) -> None:
  """Draws runs below each other (Figures 3 and 5 of the paper)."""
  strips = [('clip', runs[0][1].clip)]
  kinds = []
  for run, explained in runs:
    drawn = min(stage, len(explained.evidence))
    name = f'{run}\n{explained.answer}\n{100 * explained.probability:.1f} %'
    strips.append((name, explained.draw_heat(explained.evidence[drawn - 1])))
    of_stage = f' of stage {drawn}' if explained.maps else ''
    kinds.append(explained.heat_name + of_stage)
  explained = runs[0][1]
  heading = f'{sanitize(explained.id)}: {", ".join(dict.fromkeys(kinds))}'
  if names := explained.label_names:
    heading += f' (label{"s" * (len(names) > 1)}: {", ".join(names)})'
  figures.draw_strips(path, strips, heading)


def _draw_feature_maps(path: pathlib.Path, explained: ClipExplanation) -> None:
  """Draws the feature maps of all stages (Figure 6 of the paper).

  The points in time of a video model lie on a grid; one that a later stage
  shares with its neighbor fills the cells of both.
  """
  if explained.order is None:
    count = max(map(len, explained.maps))
    grid = figures.near_square(count)
    # Points in time are centred at every second frame if time is halved.
    step = feature_maps.frames_each(len(explained.clip), count)
    frames = explained.clip[feature_maps.middle(step) :: step][:count]
    maps = [
      flattening.flatten(x[np.arange(count) * len(x) // count], grid=grid)
      for x in (x[..., None] for x in explained.maps)
    ]
    maps = [np.asarray(x)[..., 0] for x in maps]
  else:
    grid, maps = explained.grid, explained.maps
    frames = explained.clip[explained.order]
  image = np.asarray(flattening.flatten(figures.enlarge(frames), grid=grid))
  count, aspect = len(maps) + 1, image.shape[0] / image.shape[1]
  height = figures.WIDTH / count * aspect + 0.75
  heading = f'{sanitize(explained.id)}: root mean square over channels'
  with figures.figure_file(path, height, heading) as figure:
    panels, bars = figure.subplots(2, count, height_ratios=(1, 0.05))
    panels[0].set_title('input')
    figures.show(panels[0], image, grid)
    bars[0].set_axis_off()
    for i, values in enumerate(maps, start=1):
      panels[i].set_title(f'stage {i}: {values.shape[0]} x {values.shape[1]}')
      shown = figures.show(panels[i], values, grid, interpolation='none')
      figure.colorbar(
        shown, cax=bars[i], orientation='horizontal', ticks=MaxNLocator(3)
      )


def _draw_layouts(path: pathlib.Path, explained: ClipExplanation) -> None:
  """Draws the flattened clip in every layout (Figures 1 and 2 of the paper)."""
  count = len(explained.clip)
  grid = explained.grid
  if explained.order is None:
    grid = figures.near_square(count)
  orders, rng = {}, jax.random.key(0)
  for mode in get_args(flattening.Mode):
    # 'nested' needs a grid of square blocks.
    with contextlib.suppress(ValueError):
      order = flattening.frame_order(mode, count, grid=grid, rng=rng)
      orders[mode] = np.asarray(order)
  clip = figures.enlarge(explained.clip)
  height, width = clip.shape[1:3]
  box = dict(facecolor='black', alpha=0.6, pad=0.8, linewidth=0)
  inches = figures.WIDTH / max(len(orders), 2) * grid[0] / grid[1] + 0.25
  with figures.figure_file(path, inches) as figure:
    panels = figure.subplots(1, len(orders), squeeze=False)[0]
    for axes, (name, order) in zip(panels, orders.items(), strict=True):
      axes.set_title(name)
      figures.show(axes, flattening.flatten(clip[order], grid=grid), grid)
      for cell, frame in enumerate(order):
        row, column = divmod(cell, grid[1])
        x, y = (column + 0.06) * width, (row + 0.06) * height
        axes.text(x, y, str(frame + 1), color='white', va='top', bbox=box)


def _draw_attention(
  path: pathlib.Path,
  explained: ClipExplanation,
  attention: dict[str, np.ndarray],
) -> None:
  """Draws attention between frames, a matrix per block."""
  names, words = _names_of_rows(explained, len(next(iter(attention.values()))))
  places = np.arange(0, len(names), math.ceil(len(names) / 8))
  labels = [names[place] for place in places]
  columns = min(len(attention), 4)
  rows = math.ceil(len(attention) / columns)
  scale = Normalize(0, max(x.max() for x in attention.values()))
  height = rows * (figures.WIDTH - 0.6) / columns + 0.45
  heading = f'{sanitize(explained.id)}: {words}'
  with figures.figure_file(path, height, heading) as figure:
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(attention) :]:
      axes.set_axis_off()
    for i, (axes, name) in enumerate(zip(panels, attention, strict=False)):
      shown = axes.imshow(attention[name], cmap='magma', norm=scale)
      axes.set_title(f'block {name}')
      axes.set_xticks(places, labels)
      axes.set_yticks(places, labels)
      if i % columns == 0:
        axes.set_ylabel('frame')
      if i + columns >= len(attention):
        axes.set_xlabel('attends to frame')
    figure.colorbar(shown, ax=panels, label='share of attention', aspect=30)


def _names_of_rows(
  explained: ClipExplanation, count: int
) -> tuple[list[str], str]:
  """Returns the rows of attention between frames, by number, and a title."""
  times = len(explained.evidence[-1])
  if explained.order is not None:
    times = len(explained.order)
  step = feature_maps.frames_each(len(explained.clip), times)
  names = [str(1 + step * i) for i in range(times)]
  words = 'attention between frames; rows sum to 1'
  if count == times:
    return names, f'{words}, uniform attention is {1 / count:.3f}'
  return ['cls', *names], f'{words}, the class token (cls) is first'
