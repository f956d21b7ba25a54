# SPDX-License-Identifier: Apache-2.0
"""Trained models in files that other programs run, without this package."""
