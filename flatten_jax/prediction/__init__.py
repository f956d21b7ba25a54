# SPDX-License-Identifier: Apache-2.0
"""Classifies unlabelled videos: files, folders, streams, timelines."""
