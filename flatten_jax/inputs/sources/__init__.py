# SPDX-License-Identifier: Apache-2.0
"""Finds the videos of a data set, their labels and their splits."""
