# SPDX-License-Identifier: Apache-2.0
"""Every model by name."""

from flatten_jax.models.entries import convolutional, paper, video_transformers

MODELS = paper.MODELS | video_transformers.MODELS | convolutional.MODELS
