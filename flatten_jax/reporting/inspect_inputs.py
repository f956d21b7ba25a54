# SPDX-License-Identifier: Apache-2.0
"""Draws training clips as the model will see them (`--mode=inspect`)."""

from collections.abc import Sequence
import logging
import math
import pathlib

import jax
from matplotlib.figure import Figure
import ml_collections
import numpy as np

from flatten_jax.explanation.figures import near_square
from flatten_jax.flattening import flatten
from flatten_jax.inputs import image_video_mix, pipeline
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sources.videos import training_videos
from flatten_jax.reporting import motion_maps
from flatten_jax.runtime import context, preprocess
from flatten_jax.text import escape_mathtext, save_figure, wrap
from flatten_jax.training import setup, steps

log = logging.getLogger('flatten_jax')

_COLUMNS = 4  # Clips side by side.
_GAP = 12  # px, between images and around them
_LINE, _LETTER = 17, 8  # px, height of a line of a title, and width of a letter
_DPI = 100


def inspect_inputs(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  num_clips: int = 8,
  side: int = 288,
) -> pathlib.Path:
  """Writes workdir/inspect.png: flattened clips of the first training batch.

  The upper rows are clips after sampling, decoding, augmentation and
  flattening; thin lines separate the frames, the title is the class. If the
  config mixes clips, the lower rows are the same batch mixed as in the first
  step, with the shares of the classes in the title. Images of `data.images`
  follow likewise. With `channels='motion'`, each of them is three pictures
  below each other: the gray values and the two motions that the network sees.

  Args:
    config: of the run.
    workdir: for the picture.
    num_clips: number of clips to draw.
    side: px, height of each picture of a flattened clip.

  Returns:
    The picture's path.
  """
  with context.open_run(config, workdir) as run:
    config, splits = run.config, run.open_videos(with_images=True)
    train = training_videos(splits)
    sheets = []
    first_steps = [0]  # On videos, and on images if there are any.
    if train.images:
      share = image_video_mix.image_share(config.data)
      first_steps.append(math.ceil(1 / share) - 1)
    for step in first_steps:
      with setup.training_batches(train, config, start=step) as batches:
        batch = _some_of(next(batches), num_clips)
      names = [_title(label, train.class_names) for label in batch['label']]
      sheets.append((_unmixed(batch, config, step), names))
      if config.mixup or config.cutmix:
        if config.channels != 'motion':
          batch['clip'] = _outlined(batch['clip'])
        sheets.append(_mixed(batch, config, train.class_names, step))
    path = run.workdir / 'inspect.png'
    if config.channels == 'motion':
      count = len(motion_maps.LABELS)
      draw(path, sheets, count * side, motion_maps.LABELS, motion_maps.TITLE)
    else:
      draw(path, sheets, side)
    images = ', and as many images,' if train.images else ''
    log.info('%d training clips%s are in %s', len(names), images, path)
    return path


def _some_of(batch: pipeline.Batch, count: int) -> dict[str, np.ndarray]:
  """Selects the first and the last clips, which are mixed with each other."""
  rows = np.arange(len(batch['label']))
  rows = np.union1d(rows[: -(-count // 2)], rows[len(rows) - count // 2 :])
  return {'clip': batch['clip'][rows], 'label': batch['label'][rows]}


def _title(label: np.ndarray, class_names: Sequence[str]) -> str:
  """Returns the class of a clip, or all classes of a multi-label set [K]."""
  if not label.ndim:
    return class_names[label]
  return ', '.join(class_names[i] for i in np.flatnonzero(label)) or 'no class'


def _outlined(clips: np.ndarray, level: int = 235) -> np.ndarray:
  """Draws a line along the top and left edge of every frame [B T H W C]."""
  clips = clips.copy()
  if clips.shape[1] > 1:
    clips[..., 0, :, :] = clips[..., :, 0, :] = level
  return clips


def _unmixed(batch, config, step) -> np.ndarray:
  """Draws the clips of a batch before they are mixed. -> [B h w 3]."""
  if config.channels != 'motion':
    pictures = fields.picture(_outlined(batch['clip']))
    return np.asarray(_flattened(pictures, config))
  key = steps.random_keys(config.seed, step)['order']
  values = preprocess.training_clips(batch['clip'], config, key)
  maps = motion_maps.of_channels(np.asarray(values))
  levels = 235, *[170] * (len(maps) - 1)  # Motion is on white.
  return motion_maps.stack(
    [
      np.asarray(_flattened(_outlined(part, level), config))
      for part, level in zip(maps, levels, strict=True)
    ]
  )


def _flattened(clips: np.ndarray, config: ml_collections.ConfigDict):
  """Flattens clips; those of a video model in any grid. -> [B r*H c*W C]."""
  if clips.shape[1] == 1:
    return clips[:, 0]  # A still image.
  grid, mode = tuple(config.grid) or None, config.flatten
  if preprocess.takes_clips(config):
    grid, mode = near_square(clips.shape[1]), 'row_major'
  return flatten(clips, mode, grid=grid, rng=jax.random.key(config.seed))


def _mixed(batch, config, class_names, step) -> tuple[np.ndarray, list[str]]:
  """Mixes a batch as its step does. -> pictures and titles."""
  config = config.copy_and_resolve_references()
  config.label_smoothing = 0.0
  keys = steps.random_keys(config.seed, step)
  images, targets = steps.inputs_and_targets(
    batch, config, len(class_names), keys
  )
  images = np.asarray(images)
  if config.channels == 'motion':
    parts = motion_maps.of_channels(images)
  else:
    parts = [preprocess.pixels(images, config)]
  if preprocess.takes_clips(config):
    parts = [np.asarray(_flattened(part, config)) for part in parts]
  pixels = parts[0] if len(parts) == 1 else motion_maps.stack(parts)
  titles = [
    ' + '.join(
      f'{target[k]:.2f} {class_names[k]}'
      for k in np.argsort(-target, kind='stable')[:2]
      if target[k]
    )
    for target in np.asarray(targets)
  ]
  return pixels, titles


def draw(
  path: pathlib.Path,
  sheets: Sequence[tuple[np.ndarray, Sequence[str]]],
  side: int,
  labels: Sequence[str] = (),
  title: str = '',
) -> None:
  """Draws sheets of images [B H W 3] with titles below each other.

  Args:
    path: of the picture.
    sheets: images and their titles.
    side: px, height of an image.
    labels: of the parts of equal height that each image has.
    title: of the whole picture.
  """
  columns = min(_COLUMNS, len(sheets[0][1]))
  width = side * max(x.shape[2] / x.shape[1] for x, _ in sheets)
  cells = []
  for images, titles in sheets:
    lines = [wrap(title, int(width / _LETTER)) for title in titles]
    cells += zip(np.asarray(images), lines, strict=True)
    cells += [None] * (-len(cells) % columns)
  rows = len(cells) // columns
  head = _GAP + _LINE * (1 + max(c[1].count('\n') for c in cells if c))  # px
  total = np.array([columns * (width + _GAP), rows * (side + head)]) + _GAP
  title = wrap(title, int(total[0] / _LETTER)) if title else ''
  above = _GAP + _LINE * (1 + title.count('\n')) if title else 0
  total[1] += above
  figure = Figure(total / _DPI)
  if title:
    place = _GAP / total[0], 1 - _GAP / 2 / total[1]
    figure.text(*place, escape_mathtext(title), fontsize=9, va='top')
  left, bottom = _GAP / total
  right, top = 1 - left, 1 - (head + above) / total[1]
  gaps = _GAP / width, head / side
  figure.subplots_adjust(left, bottom, right, top, *gaps)
  panels = figure.subplots(rows, columns, squeeze=False).ravel()
  for axes, cell in zip(panels, cells, strict=True):
    axes.set_axis_off()
    if cell:
      axes.imshow(cell[0])
      for k, label in enumerate(labels):
        y = (k + motion_maps.BAND / 2) * len(cell[0]) / len(labels)
        axes.text(-0.5, y, label, fontsize=7, va='center', color='dimgray')
      axes.set_anchor('SW')
      axes.set_title(escape_mathtext(cell[1]), fontsize=9, loc='left')
  save_figure(figure, path, dpi=_DPI)
