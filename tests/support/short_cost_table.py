# SPDX-License-Identifier: Apache-2.0
"""Runs main.py with one row in each table of costs, which is faster."""

import dataclasses
import runpy

from flatten_jax.reporting import cost_table

cost_table.TABLES = tuple(
  dataclasses.replace(table, rows=table.rows[-1:])
  for table in cost_table.TABLES
)
runpy.run_path('main.py', run_name='__main__')
