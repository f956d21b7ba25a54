# SPDX-License-Identifier: Apache-2.0
"""Trained models for others, in a folder or on the Hub, with a model card."""
