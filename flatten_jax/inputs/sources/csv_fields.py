# SPDX-License-Identifier: Apache-2.0
"""What the columns of a list are called, and what stands in them.

data/columns.py has the same, since neither imports the other;
a test compares the names.
"""

from collections.abc import Mapping
import csv
import math
import re

# Names before numbers: where there are both, names need no further file.
PATH_COLUMNS = ('path', 'video_path', 'video', 'file', 'filename', 'video_id')
LABEL_COLUMNS = (
  *('label', 'class', 'label_name', 'class_name', 'labels'),
  'label_index',
)
KINETICS_COLUMNS = ('youtube_id', 'time_start', 'time_end')


def kinetics_name(cell: Mapping[str, str]) -> str:
  """How the trimmed files of Kinetics are called, without suffix."""
  start, end = (
    int(parse_seconds(cell, column)) for column in KINETICS_COLUMNS[1:]
  )
  if not cell['time_start'] or not cell['time_end']:
    raise ValueError(f'expected two times, got {dict(cell)}')
  return f'{cell["youtube_id"]}_{start:06d}_{end:06d}'


def parse_seconds(cell: Mapping[str, str], column: str) -> float:
  """A time; 0 where there is none."""
  text = cell.get(column) or '0'
  try:
    value = float(text)
  except ValueError:
    value = math.nan
  if not 0 <= value < math.inf:
    raise ValueError(f'expected seconds as {column}, like 1.5, not {text!r}')
  return value


def parse_int(cell: Mapping[str, str], column: str) -> int | None:
  """A whole number, which pandas writes as 0.0; None where there is none."""
  text = cell.get(column)
  if not text:
    return None
  if not re.fullmatch(r'-?\d+(\.0*)?', text):
    raise ValueError(f'expected a whole number as {column}, not {text!r}')
  return int(float(text))


def split_row(line: str, separator: str) -> list[str]:
  """The cells of one line; quotes protect separators."""
  row = csv.reader(
    [line.strip(' ')], delimiter=separator, skipinitialspace=True
  )
  return [cell.strip() for cell in next(row)]
