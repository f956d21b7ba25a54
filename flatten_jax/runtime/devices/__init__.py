# SPDX-License-Identifier: Apache-2.0
"""Meshes, processes and memory: what the config runs on."""
