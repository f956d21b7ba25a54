# SPDX-License-Identifier: Apache-2.0
"""Reads lists of videos: text or JSON, with column names or without."""
