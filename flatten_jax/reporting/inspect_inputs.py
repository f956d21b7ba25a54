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
  follow likewise.

  Args:
    config: of the run.
    workdir: for the picture.
    num_clips: number of clips to draw.
    side: px, height of each flattened clip.

  Returns:
    The picture's path.
  """
  with context.open_run(config, workdir) as run:
    config, train = run.config, run.open_videos(with_images=True)['train']
    sheets = []
    first_steps = [0]  # On videos, and on images if there are any.
    if train.images:
      share = image_video_mix.image_share(config.data)
      first_steps.append(math.ceil(1 / share) - 1)
    for step in first_steps:
      with setup.training_batches(train, config, start=step) as batches:
        batch = _some_of(next(batches), num_clips)
      names = [train.class_names[label] for label in batch['label']]
      pictures = fields.picture(batch['clip'])
      sheets.append((_flattened(pictures, config), names))
      if config.mixup or config.cutmix:
        sheets.append(_mixed(batch, config, train.class_names, step))
    path = run.workdir / 'inspect.png'
    draw(path, sheets, side)
    images = ', and as many images,' if train.images else ''
    log.info('%d training clips%s are in %s', len(names), images, path)
    return path


def _some_of(batch: pipeline.Batch, count: int) -> dict[str, np.ndarray]:
  """Selects the first and the last clips, which are mixed with each other.

  A light line is drawn along the top and left edge of every frame.
  """
  rows = np.arange(len(batch['label']))
  rows = np.union1d(rows[: -(-count // 2)], rows[len(rows) - count // 2 :])
  clips = batch['clip'][rows]
  if clips.shape[1] > 1:
    clips[..., 0, :, :] = clips[..., :, 0, :] = 235
  return {'clip': clips, 'label': batch['label'][rows]}


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
  pixels = preprocess.pixels(np.asarray(images), config)
  if preprocess.takes_clips(config):
    pixels = np.asarray(_flattened(pixels, config))
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
) -> None:
  """Draws sheets of images [B H W 3] with titles below each other."""
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
  figure = Figure(total / _DPI)
  left, bottom = _GAP / total
  right, top = 1 - left, 1 - head / total[1]
  gaps = _GAP / width, head / side
  figure.subplots_adjust(left, bottom, right, top, *gaps)
  panels = figure.subplots(rows, columns, squeeze=False).ravel()
  for axes, cell in zip(panels, cells, strict=True):
    axes.set_axis_off()
    if cell:
      axes.imshow(cell[0])
      axes.set_anchor('SW')
      axes.set_title(escape_mathtext(cell[1]), fontsize=9, loc='left')
  save_figure(figure, path, dpi=_DPI)
