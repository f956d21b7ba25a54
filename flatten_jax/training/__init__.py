# SPDX-License-Identifier: Apache-2.0
"""Training: the loop, its step, the optimizer."""
