# SPDX-License-Identifier: Apache-2.0
"""Column names of video lists, and parsers for their fields."""

from collections.abc import Mapping
import csv
import fractions
import math
import re

# Names come before numbers: a list with both needs no file of class names.
PATH_COLUMNS = ('path', 'video_path', 'video', 'file', 'filename', 'video_id')
LABEL_COLUMNS = (
  *('label', 'class', 'label_name', 'class_name', 'labels'),
  'label_index',
)
COUNT_COLUMNS = ('num_frames', 'total_frames', 'n_frames', 'frame_count')
FPS_COLUMNS = ('fps', 'frame_rate', 'video_fps')
KINETICS_COLUMNS = ('youtube_id', 'time_start', 'time_end')


def kinetics_name(row: Mapping[str, str]) -> str:
  """Returns the name of a trimmed Kinetics video, without suffix."""
  name, *times = KINETICS_COLUMNS
  start, end = (int(parse_seconds(row, time)) for time in times)
  if not all(row[time] for time in times):
    raise ValueError(f'expected two times, got {dict(row)}')
  return f'{row[name]}_{start:06d}_{end:06d}'


def parse_seconds(row: Mapping[str, str], column: str) -> float:
  """Parses a time in seconds; an empty field is 0."""
  text = row.get(column) or '0'
  try:
    value = float(text)
  except ValueError:
    value = math.nan
  if not 0 <= value < math.inf:
    raise ValueError(f'expected seconds as {column}, like 1.5, not {text!r}')
  return value


def parse_int(row: Mapping[str, str], column: str) -> int | None:
  """Parses an integer, which pandas writes as 0.0; an empty field is None."""
  text = row.get(column)
  if not text:
    return None
  if not re.fullmatch(r'-?\d+(\.0*)?', text):
    raise ValueError(f'expected a whole number as {column}, not {text!r}')
  return int(float(text))


def parse_fps(row: Mapping[str, str], column: str | None) -> float:
  """Parses a frame rate, like 25 or 30000/1001; an empty field is 0."""
  text = row.get(column) or '0'
  try:
    value = float(fractions.Fraction(text.replace(' ', '')))
  except (ValueError, ZeroDivisionError):
    value = math.nan
  if not 0 <= value <= 1000:
    raise ValueError(f'expected frames a second as {column}, not {text!r}')
  return value


def split_row(line: str, separator: str) -> list[str]:
  """Splits a line into fields; quotes protect separators."""
  row = csv.reader(
    [line.strip(' ')], delimiter=separator, skipinitialspace=True
  )
  return [field.strip() for field in next(row)]
