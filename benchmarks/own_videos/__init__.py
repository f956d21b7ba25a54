# SPDX-License-Identifier: Apache-2.0
"""Trains systems on sets of filmed videos; makes docs/results.md of them."""
