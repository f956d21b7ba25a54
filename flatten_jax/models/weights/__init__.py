# SPDX-License-Identifier: Apache-2.0
"""Reads, matches and converts published weights."""
