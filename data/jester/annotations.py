# SPDX-License-Identifier: Apache-2.0
"""Reads the lists of Jester: `id;label`, or the ids alone for the test."""

from collections.abc import Mapping
import pathlib

from data.lists import with_names
from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.rows import Row, is_number

FPS = 12  # Of the published frames, whose folders are named by the ids.


def read_rows(file: pathlib.Path, names: Mapping[int, str]) -> list[Row]:
  """Returns the rows of a list.

  Raises:
    ValueError: a line has another form, or a label is not among the names.
  """
  rows = []
  for number, line in enumerate(read_text(file).split('\n'), start=1):
    key, *labels = (cell.strip() for cell in line.split(';'))
    if not line.strip():
      continue
    if not is_number(key) or len(labels) > 1:
      raise ValueError(
        f'{file}, line {number}: expected `id;label` or an id, got {line!r}'
      )
    rows.append(Row(key, label=labels[0] if any(labels) else None, fps=FPS))
  return with_names(file, rows, names)
