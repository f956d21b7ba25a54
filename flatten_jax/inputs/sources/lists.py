# SPDX-License-Identifier: Apache-2.0
"""Reads lists of videos in every published form; sniffs, never asks.

The forms differ in separator (comma, space, tab, semicolon, '::'), in having a
header, in naming a label by number or by name, and in what stands between path
and label. Paths may hold spaces, separators and `# ! & ; ( ) [ ]`, so a line
is split from the right. Where several readings are possible, the one whose
files exist is taken.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import logging
import os
import re

from flatten_jax.inputs.sources.csv_fields import (
  KINETICS_COLUMNS,
  LABEL_COLUMNS,
  PATH_COLUMNS,
  kinetics_name,
  parse_int,
  parse_seconds,
  split_row,
)
from flatten_jax.inputs.video.container import VideoPath

log = logging.getLogger('flatten_jax')

VIDEO_SUFFIXES = frozenset(
  {'.3gp', '.asf', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4'}
  | {'.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.webm', '.wmv'}
)
SEPARATORS = ('::', '\t', ',', ';', ' ')


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """One video of a data set; what its list does not say is None or 0."""

  id: str  # the path as written in the list
  label: str | None = None
  fold: int | None = None
  split: str | None = None
  start: float = 0.0  # seconds
  end: float = 0.0  # seconds; 0: to the end of the video
  path: VideoPath = ''


def read_list(file: str, exists: Callable[[str], bool]) -> list[Row]:
  """All rows of a list file; their `path` is left empty.

  Args:
    file: the list, UTF-8 or, with a byte order mark, UTF-16.
    exists: whether a path, as written in the list, leads to a video; decides
      between possible readings of the lines.

  Raises:
    ValueError: for an empty list, a list of frames and rows with many labels.
  """
  numbered = [
    (number, line)
    for number, line in enumerate(read_text(file).split('\n'), start=1)
    if line.strip()
  ]
  if not numbered:
    raise ValueError(f'{file} is empty: expected lines like `path label`.')
  header = sniff_header(numbered[0][1])
  if header:
    return rows_with_header(file, numbered[1:], *header)
  lines = [line.strip() for _, line in numbered]
  return rows_without_header(file, lines, exists)


def read_text(file: str) -> str:
  """The file's text with plain line ends and without a byte order mark."""
  with open(file, 'rb') as f:
    raw = f.read()
  if raw[:2] in (b'\xff\xfe', b'\xfe\xff'):
    text = raw.decode('utf-16')
  else:
    # Odd bytes in a path must come back as the same bytes.
    text = raw.decode('utf-8-sig', errors='surrogateescape')
  return re.sub('\r\n?', '\n', text)


# --- With a header ------------------------------------------------------------


def sniff_header(line: str) -> tuple[str, list[str]] | None:
  """Separator and column names, where the first line is made of such names."""
  known = {*PATH_COLUMNS, *LABEL_COLUMNS, *KINETICS_COLUMNS}
  for separator in ('\t', ',', ';', ' '):
    names = [name.lower() for name in split_row(line, separator)]
    looks_like_data = any(is_number(n) or has_video_suffix(n) for n in names)
    if len(names) > 1 and known & set(names) and not looks_like_data:
      return separator, names
  return None


def rows_with_header(
  file: str,
  numbered: list[tuple[int, str]],
  separator: str,
  names: list[str],
) -> list[Row]:
  """Rows by column name; columns that mean nothing here are passed over."""
  if 'frame_id' in names:
    raise ValueError(
      f'{file} lists frames (frame_id); expected a list of videos.'
    )
  kinetics = set(KINETICS_COLUMNS) <= set(names)
  path = next((name for name in PATH_COLUMNS if name in names), None)
  label = next((name for name in LABEL_COLUMNS if name in names), None)
  if path is None and not kinetics:
    raise ValueError(
      f'{file} has the columns {", ".join(names)}; expected one of '
      f'{", ".join(PATH_COLUMNS)} for the path.'
    )
  if label is None:
    log.warning(
      '%s has the columns %s, and none of %s: its videos have no label',
      *(file, ', '.join(names), ', '.join(LABEL_COLUMNS)),
    )
  rows = []
  for number, line in numbered:
    values = split_row(line, separator)
    if not any(values):  # As spreadsheets end.
      continue
    if len(values) != len(names):
      raise ValueError(
        f'{file}, line {number}: {len(values)} fields under {len(names)} '
        f'column names: {line!r}'
      )
    cell = dict(zip(names, values, strict=True))
    try:
      rows.append(row_of_cells(cell, None if kinetics else path, label))
    except ValueError as error:
      raise ValueError(f'{file}, line {number}: {error}') from error
  if not rows:
    raise ValueError(f'{file} has a header and no rows.')
  return rows


def row_of_cells(
  cell: Mapping[str, str], path: str | None, label: str | None
) -> Row:
  """The row that cells make, by the names of their columns.

  Without a column for the path, it is that of the trimmed files of Kinetics.
  """
  return Row(
    id=cell[path] if path else kinetics_name(cell),
    label=cell.get(label) or None,
    fold=parse_int(cell, 'fold'),
    split=cell.get('split') or None,
    start=parse_seconds(cell, 'start'),
    end=parse_seconds(cell, 'end'),
  )


# --- Without ------------------------------------------------------------------


SUFFIX = '|'.join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
# What a line may be, the most specific first. GAP is the separator with blanks
# around it, CELL is text without it. Greedy paths split from the right.
FORMS = (
  rf'(?P<path>.+?(?:{SUFFIX})"?)GAP\d+GAP(?P<label>\d+)',  # path count label
  rf'(?P<path>.+?(?:{SUFFIX})"?)GAP(?P<label>.+)',  # path label
  r'(?P<path>.+)GAP\d+GAP(?P<label>CELL)',  # name count label
  r'(?P<path>.+)GAP(?P<label>CELL)',  # name label
  r'(?P<path>.+)(?P<label>)',  # path
)
NUMBERS = re.compile(rf'(?:{SUFFIX})"?((?:[\s,;]+\d+)+)$', re.IGNORECASE)


def rows_without_header(
  file: str, lines: list[str], exists: Callable[[str], bool]
) -> list[Row]:
  """Reads the lines in the way for which most of the files on disk speak."""
  refuse_many_labels(file, lines)
  sample = lines[:: len(lines) // 64 + 1]

  def credit(pattern: re.Pattern) -> tuple[float, ...]:
    rows = [row for row in (read(pattern, line) for line in sample) if row]
    if len(rows) < 0.9 * len(sample):  # Some lines may be damaged.
      return (-1.0,)
    return (
      sum(exists(row.id) for row in rows),
      sum(has_video_suffix(row.id) for row in rows),
      sum(is_number(row.label or '') for row in rows),
    )

  # Of equals `max` takes the first.
  best = max(patterns(), key=credit)
  rows = [read(best, line) for line in lines]
  if None in rows:
    number = rows.index(None)
    raise ValueError(
      f'{file}, line {number + 1} differs from the others: {lines[number]!r}'
    )
  return rows


def patterns() -> Iterator[re.Pattern]:
  """Every form with every separator."""
  for form in FORMS:
    for separator in SEPARATORS:
      sign = re.escape(separator)
      gap = r'\s+' if separator == ' ' else rf'\s*{sign}\s*'
      cell = r'\S+' if separator == ' ' else rf'(?:(?!{sign}).)+'
      pattern = form.replace('GAP', gap).replace('CELL', cell)
      yield re.compile(pattern, re.IGNORECASE)


def read(pattern: re.Pattern, line: str) -> Row | None:
  """The line as a row; None where it has another form."""
  match = pattern.fullmatch(line)
  if not match:
    return None
  return Row(unquote(match['path']), unquote(match['label']) or None)


def refuse_many_labels(file: str, lines: list[str]) -> None:
  """One number behind a path is a label; two are a count and a label."""
  counts = {}
  for line in lines:
    match = NUMBERS.search(line)
    if match:
      counts.setdefault(len(re.findall(r'\d+', match[1])), line)
  if len(counts) > 1 or max(counts, default=1) > 2:
    raise ValueError(
      f'{file} has videos with several labels, like {counts[max(counts)]!r}; '
      'expected one label a video.'
    )


def unquote(text: str) -> str:
  """The text without blanks and one pair of quotes around it."""
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] == '"':
    return text[1:-1].replace('""', '"')
  return text


def is_number(text: str) -> bool:
  """Whether a label or a count is written as a whole number."""
  return re.fullmatch(r'-?\d+', text) is not None


def has_video_suffix(path: str) -> bool:
  """Whether a file name ends like a video's."""
  return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
