# SPDX-License-Identifier: Apache-2.0
"""The command line: `python main.py --mode=...`, or `flatten-jax --mode=...`.

`main` reads the words (`arguments.py`), looks up the mode (`modes.py`), calls
its function (`commands.py`) and explains errors (`messages.py`).
"""

from flatten_jax.command_line.run import main

__all__ = ['main']
