# SPDX-License-Identifier: Apache-2.0
"""Saves, checks and restores runs (Orbax); loads initial weights."""
