# SPDX-License-Identifier: Apache-2.0
"""Reads exact frames of video files."""
