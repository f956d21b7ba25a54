# SPDX-License-Identifier: Apache-2.0
"""Runs one mode: `python main.py --mode=train --config=... --workdir=...`."""

try:
  from flatten_jax import command_line
except KeyboardInterrupt:
  raise SystemExit(130) from None

if __name__ == '__main__':
  command_line.main()
