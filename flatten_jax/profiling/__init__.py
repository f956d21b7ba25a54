# SPDX-License-Identifier: Apache-2.0
"""Profiles training steps: compute, input, memory."""
