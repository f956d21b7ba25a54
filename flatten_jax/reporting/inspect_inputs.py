# SPDX-License-Identifier: Apache-2.0
"""Draws training clips as the model will see them (`--mode=inspect`)."""

import logging
import math
import pathlib

import cv2
import jax
import ml_collections
import numpy as np

from flatten_jax.flattening import flatten
from flatten_jax.inputs import image_video_mix, pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import context, preprocess
from flatten_jax.text import sanitize
from flatten_jax.training import setup, steps

log = logging.getLogger('flatten_jax')

_TITLE = 22  # px, height of the line with the class name
_GAP = 12  # px, between images


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
    for step in _steps(train, config):
      with setup.training_batches(train, config, start=step) as batches:
        batch = _some_of(next(batches), num_clips)
      names = [train.class_names[label] for label in batch['label']]
      sheets.append(_tiles(_flattened(batch['clip'], config), names, side))
      if config.mixup or config.cutmix:
        mixed, titles = _mixed(batch, config, train.class_names, step)
        sheets.append(_tiles(mixed, titles, side))
    path = run.workdir / 'inspect.png'
    cv2.imwrite(str(path), _below_each_other(sheets)[..., ::-1])
    images = ', and as many images,' if train.images else ''
    log.info(
      '%d flattened training clips%s are in %s', len(names), images, path
    )
    return path


def _steps(train: Videos, config: ml_collections.ConfigDict) -> list[int]:
  """Returns the first step on videos, and the first on images if any."""
  if not train.images:
    return [0]
  return [0, math.ceil(1 / image_video_mix.image_share(config.data)) - 1]


def _some_of(batch: pipeline.Batch, count: int) -> dict[str, np.ndarray]:
  """Selects the first and the last clips, which are mixed with each other."""
  rows = np.arange(len(batch['label']))
  rows = np.union1d(rows[: -(-count // 2)], rows[len(rows) - count // 2 :])
  return {'clip': _outline(batch['clip'][rows]), 'label': batch['label'][rows]}


def _flattened(clips: np.ndarray, config: ml_collections.ConfigDict):
  """Flattens clips; those of a video model in any grid. -> [B r*H c*W C]."""
  if clips.shape[1] == 1:
    return clips[:, 0]  # A still image.
  grid, mode = tuple(config.grid) or None, config.flatten
  if preprocess.takes_clips(config):
    num_frames = clips.shape[1]
    rows = [r for r in range(1, num_frames + 1) if num_frames % r == 0]
    rows = max(r for r in rows if r * r <= num_frames)
    grid, mode = (rows, num_frames // rows), 'row_major'
  return flatten(clips, mode, grid=grid, rng=jax.random.key(config.seed))


def _mixed(batch, config, class_names, step) -> tuple[np.ndarray, list[str]]:
  """Mixes a batch as its step does. -> pictures and titles."""
  config = config.copy_and_resolve_references()
  config.label_smoothing = 0.0
  keys = steps.random_keys(config.seed, step)
  images, targets = steps.inputs_and_targets(
    batch, config, len(class_names), keys
  )
  pixels = np.asarray(images) * config.std + config.mean
  pixels = np.clip(255 * pixels, 0, 255).round().astype(np.uint8)
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


def _tiles(images, titles: list[str], side: int) -> list[np.ndarray]:
  return [
    _tile(image, title, side)
    for image, title in zip(np.asarray(images), titles, strict=True)
  ]


def _outline(clips: np.ndarray) -> np.ndarray:
  """Draws a light line along the top and left edge of every frame."""
  if clips.shape[1] == 1:
    return clips
  clips = clips.copy()
  clips[..., 0, :, :] = 235
  clips[..., :, 0, :] = 235
  return clips


def _tile(image: np.ndarray, title: str, side: int) -> np.ndarray:
  """Draws a title above a flattened clip. -> RGB [H W 3]."""
  width = round(image.shape[1] * side / image.shape[0])
  shrinks = side < image.shape[0]
  how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
  picture = cv2.resize(image, (width, side), interpolation=how)
  head = np.full((_TITLE, width, 3), 255, np.uint8)
  font = cv2.FONT_HERSHEY_SIMPLEX
  place, black = (1, _TITLE - 7), (0, 0, 0)
  # OpenCV crashes over a name that is not UTF-8.
  title = sanitize(title)
  cv2.putText(head, title, place, font, 0.5, black, 1, cv2.LINE_AA)
  return np.concatenate([head, picture])


def _below_each_other(sheets: list[list[np.ndarray]]) -> np.ndarray:
  """Stacks sheets of tiles, which may differ in width."""
  pictures = [_sheet(tiles) for tiles in sheets]
  width = max(picture.shape[1] for picture in pictures)
  return np.concatenate(
    [
      np.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0)), constant_values=255)
      for x in pictures
    ]
  )


def _sheet(tiles: list[np.ndarray], columns: int = 4) -> np.ndarray:
  """Arranges tiles of one size row by row on white."""
  edges = ((0, _GAP), (0, _GAP), (0, 0))
  tiles = [np.pad(tile, edges, constant_values=255) for tile in tiles]
  blank = np.full_like(tiles[0], 255)
  columns = min(columns, len(tiles))
  tiles += [blank] * (-len(tiles) % columns)
  rows = [
    np.concatenate(tiles[i : i + columns], axis=1)
    for i in range(0, len(tiles), columns)
  ]
  sheet = np.concatenate(rows)
  return np.pad(sheet, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=255)
