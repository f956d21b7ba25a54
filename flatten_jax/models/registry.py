# SPDX-License-Identifier: Apache-2.0
"""Every model by name."""

from flatten_jax.models.entries import (
  convolutional,
  paper,
  timm_images,
  video_transformers,
)

MODELS = (
  paper.MODELS
  | timm_images.MODELS
  | video_transformers.MODELS
  | convolutional.MODELS
)
