# SPDX-License-Identifier: Apache-2.0
"""What the variants of an ablation are: changes to one config."""

import logging

import jax
import ml_collections

from flatten_jax import flattening
from flatten_jax.models import MODELS, uniformer

log = logging.getLogger('flatten_jax')

# What each variant changes in the config.
VARIANTS = {
  'row_major': {'flatten': 'row_major'},
  'nested': {'flatten': 'nested'},
  'random': {'flatten': 'random'},
  '3d': {},  # The model's counterpart for clips, see `counterpart`.
  'one_frame': {'flatten': 'row_major', 'data.repeat_frame': True},
}


def of_variant(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """The config of one variant."""
  if name not in VARIANTS:
    raise ValueError(
      f'There is no variant {name!r}; choose from {", ".join(VARIANTS)}.'
    )
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(VARIANTS[name])
  if name == '3d':
    as_clips(config)
  elif not can_be_laid_out(config, config.flatten):
    raise ValueError(
      f'{config.data.num_frames} frames cannot be laid out {config.flatten}: '
      'choose another number (16), or leave it out of --variants.'
    )
  return config


def as_clips(config: ml_collections.ConfigDict) -> None:
  """Makes the model its counterpart, and frames as large as that one needs.

  A video model's strides divide every frame, an image model's only the mosaic.
  """
  config.model.name = counterpart(config.model.name)
  crop = config.data.crop
  least = -(-crop // uniformer.STRIDE) * uniformer.STRIDE
  if least != crop:
    config.data.crop = least
    if config.data.short_side:
      config.data.short_side = config.data.short_side * least // crop
    log.info('%s takes frames of %d px, not %d', config.model.name, least, crop)


def can_be_laid_out(config: ml_collections.ConfigDict, mode: str) -> bool:
  """Whether there is this layout for the config's number of frames."""
  grid = tuple(config.grid) or None
  try:
    flattening.frame_order(
      mode, config.data.num_frames, grid=grid, rng=jax.random.key(0)
    )
  except ValueError:
    return False
  return True


def counterpart(name: str) -> str:
  """The video model that an image model is held against, of the same sizes."""
  video = name.replace('uniformer_', 'uniformer3d_')
  if video == name or video not in MODELS:
    known = sorted(n for n in MODELS if n.startswith('uniformer3d_'))
    raise ValueError(
      f'{name} has no counterpart for clips, as there is for the UniFormers '
      f'({", ".join(known)}): leave 3d out of --variants.'
    )
  return video
