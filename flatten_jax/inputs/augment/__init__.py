# SPDX-License-Identifier: Apache-2.0
"""Augmentations of clips, as values that can be printed."""
