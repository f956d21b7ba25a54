# SPDX-License-Identifier: Apache-2.0
"""Layers that several models share: linear, convolution, attention, norms."""
