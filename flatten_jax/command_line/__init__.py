# SPDX-License-Identifier: Apache-2.0
"""The command line: `python main.py --mode=...`, or `flatten-jax --mode=...`.

`main` reads the words (`arguments.py`), runs one of the modes (`modes.py`) and
explains errors (`messages.py`).
"""

from flatten_jax.command_line.run import main

__all__ = ['main']
