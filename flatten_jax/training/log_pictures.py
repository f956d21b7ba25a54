# SPDX-License-Identifier: Apache-2.0
"""The picture of training clips that the loggers of a run get."""

import math

import einops
import jax
import ml_collections
import numpy as np

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.flow import fields
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.workdir.run_log import RunLog

CLIPS = 8  # In one picture.


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
