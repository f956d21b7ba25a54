# SPDX-License-Identifier: Apache-2.0
"""Readers of the files in which weights are published, one for each format."""
