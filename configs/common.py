# SPDX-License-Identifier: Apache-2.0
"""Helpers for config files, from `runtime/configuration/default_config.py`."""

from flatten_jax.runtime.configuration import default_config

augment = default_config.augment
base = default_config.base
by_frames = default_config.by_frames
by_word = default_config.by_word
compare = default_config.compare
data = default_config.data
leave_open = default_config.leave_open
parse = default_config.parse
plain = default_config.plain
steps = default_config.steps

# Normalization of checkpoints that were trained on ImageNet.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
