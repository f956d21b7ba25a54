# SPDX-License-Identifier: Apache-2.0
"""Runs one mode: `python -m flatten_jax --mode=...`."""

from flatten_jax.command_line import run

if __name__ == '__main__':
  run.main()
