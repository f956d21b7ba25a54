# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation of what a config describes."""
