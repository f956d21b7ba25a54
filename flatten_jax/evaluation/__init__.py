# SPDX-License-Identifier: Apache-2.0
"""Scores a checkpoint on videos: predictions, metrics, reports."""
