# SPDX-License-Identifier: Apache-2.0
"""Reads still images, and videos that are folders or zip files of images."""
