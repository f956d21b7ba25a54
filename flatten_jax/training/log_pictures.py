# SPDX-License-Identifier: Apache-2.0
"""What the loggers of a run get besides its metrics: pictures and the test."""

from collections.abc import Mapping
import io
import math
import pathlib
from typing import Any

import einops
import jax
import ml_collections
import numpy as np
import PIL.Image

from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.flow import fields
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.workdir.run_log import RunLog
from flatten_jax.text import escape_mathtext, save_figure, wrap

CLIPS = 8  # In one picture.
NAMED = 40  # Classes whose names fit along a confusion matrix.
SCORES = ('top1', 'top5', 'mean_class')


def write_first_clips(
  board: RunLog, batch: pipeline.Batch, config: ml_collections.ConfigDict
) -> None:
  """Gives the loggers a picture of the first clips of the first batch.

  They are sampled, augmented and flattened as for the model; mixing, which is
  part of the compiled step, comes after.
  """
  if not board.enabled:
    return
  clips = fields.picture(batch['clip'][:CLIPS])
  with jax.transfer_guard('allow'):
    rng = jax.random.key(config.seed)
    images = np.asarray(preprocess.flatten_clips(clips, config, rng))
  if images.ndim == 5:  # Clips, for a model that takes them: frames in a row.
    images = einops.rearrange(images, 'b t h w c -> b h (t w) c')
  board.write_images(1, {'train/first_clips': in_rows(images)})


def in_rows(images: np.ndarray) -> np.ndarray:
  """Puts images into a grid that is about square. [B H W 3] -> [H' W' 3]."""
  images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
  count, height, width, _ = images.shape
  columns = min(max(1, round(math.sqrt(count * height / width))), count)
  images = np.pad(images, ((0, -count % columns), (0, 0), (0, 0), (0, 0)))
  return einops.rearrange(images, '(r c) h w d -> (r h) (c w) d', c=columns)


def write_test(
  board: RunLog, workdir: pathlib.Path, scores: Mapping[str, Any]
) -> None:
  """Gives the loggers the scores of a test and its confusion matrix.

  Args:
    board: of the run.
    workdir: with the files of the test.
    scores: of `evaluate.evaluate_splits`; {} without a test.
  """
  if not scores or not board.enabled:
    return
  step = scores['step']
  board.write_scores(step, {f'test/{key}': scores[key] for key in SCORES})
  file = workdir / f'predictions_{scores["name"]}.npz'
  predictions = Predictions.load(file)
  picture = confusion(predictions.confusion(), predictions.class_names)
  board.write_images(step, {'test/confusion': picture})


def confusion(counts: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
  """Draws a confusion matrix. counts [K K] -> uint8 [H W 3].

  Each row is a class, in shares of its videos. Up to 40 classes have names and
  numbers.
  """
  from matplotlib.figure import Figure  # Most of a training does without.

  few = len(names) <= NAMED
  inches = min(max(4.0, 0.3 * len(names) + 2), 12.0)
  figure = Figure((inches, inches), layout='constrained')
  axes = figure.subplots()
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
  axes.set(xlabel='answer', ylabel='label')
  if few:
    labels = [escape_mathtext(wrap(name, 24, 1)) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    for row, column in np.argwhere(counts):
      color = 'white' if shares[row, column] > 0.5 else 'black'
      text = str(counts[row, column])
      axes.text(column, row, text, ha='center', va='center', color=color)
  file = io.BytesIO()
  save_figure(figure, file, dpi=100)
  return np.asarray(PIL.Image.open(file).convert('RGB'))
