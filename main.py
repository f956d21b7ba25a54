# SPDX-License-Identifier: Apache-2.0
"""Runs one mode: `python main.py --mode=train --config=... --workdir=...`."""

from flatten_jax import command_line

if __name__ == '__main__':
  command_line.main()
