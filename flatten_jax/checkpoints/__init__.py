# SPDX-License-Identifier: Apache-2.0
"""Saves and restores runs with Orbax, checks them, starts from weights."""
