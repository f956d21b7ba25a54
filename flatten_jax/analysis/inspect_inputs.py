# SPDX-License-Identifier: Apache-2.0
"""A sheet of training clips as the model sees them: look before you train."""

import logging
import pathlib

import cv2
import jax
import ml_collections
import numpy as np

from flatten_jax.flattening import flatten
from flatten_jax.train import setup

log = logging.getLogger('flatten_jax')

_TITLE = 22  # px, the height of a line with the class name
_GAP = 12  # px, between images


def inspect_inputs(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  num_clips: int = 8,
  side: int = 288,
) -> pathlib.Path:
  """Writes workdir/inspect.png: flattened clips of the first training batch.

  They went through the same sampling, decoding, transforms and layout as in
  training; thin lines part the frames, the title is the class.

  Args:
    config: of the run to be.
    workdir: where the picture goes.
    num_clips: how many of the batch to show.
    side: px, height of each flattened clip on the sheet.
  """
  splits = setup.prepare(config, workdir)
  train = splits['train']
  with setup.training_batches(train, config, start=0) as batches:
    batch = next(batches)
  clips, labels = batch['clip'][:num_clips], batch['label'][:num_clips]
  grid = tuple(config.grid) or None
  rng = jax.random.key(config.seed)
  images = flatten(_outline(clips), config.flatten, grid=grid, rng=rng)
  tiles = [
    _tile(image, train.class_names[label], side)
    for image, label in zip(np.asarray(images), labels, strict=True)
  ]
  path = pathlib.Path(workdir) / 'inspect.png'
  cv2.imwrite(str(path), _sheet(tiles)[..., ::-1])
  log.info('%d flattened training clips are in %s', len(tiles), path)
  return path


def _outline(clips: np.ndarray) -> np.ndarray:
  """A light line along the top and left edge of every frame."""
  clips = clips.copy()
  clips[..., 0, :, :] = 235
  clips[..., :, 0, :] = 235
  return clips


def _tile(image: np.ndarray, title: str, side: int) -> np.ndarray:
  """One flattened clip below its class name, [H W 3] in RGB."""
  width = round(image.shape[1] * side / image.shape[0])
  shrinks = side < image.shape[0]
  how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
  picture = cv2.resize(image, (width, side), interpolation=how)
  head = np.full((_TITLE, width, 3), 255, np.uint8)
  font = cv2.FONT_HERSHEY_SIMPLEX
  place, black = (1, _TITLE - 7), (0, 0, 0)
  cv2.putText(head, title, place, font, 0.5, black, 1, cv2.LINE_AA)
  return np.concatenate([head, picture])


def _sheet(tiles: list[np.ndarray], columns: int = 4) -> np.ndarray:
  """Tiles of one size, row by row on white."""
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
