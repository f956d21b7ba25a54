# SPDX-License-Identifier: Apache-2.0
"""Reads lists of videos in every published form; sniffs, never asks.

The forms differ in separator (comma, space, tab, semicolon, '::'), in having a
header, in naming a label by number or by name, and in what stands between path
and label. Paths may hold spaces, separators and `# ! & ; ( ) [ ]`, so a line
is split from the right. Where several readings are possible, the one whose
files exist is taken.
"""

from collections.abc import Callable, Iterable
import csv
import dataclasses
import os
import re

VIDEO_SUFFIXES = frozenset(
  '.3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts '
  '.webm .wmv'.split()
)
SEPARATORS = ('::', '\t', ',', ';', ' ')
PATH_COLUMNS = ('path', 'video_path', 'video', 'file', 'filename', 'video_id')
LABEL_COLUMNS = ('label', 'class', 'label_index', 'label_name', 'class_name')


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a list; what it does not say is None or 0."""

  path: str
  label: str | None = None
  fold: int | None = None
  split: str | None = None
  start: float = 0.0  # seconds
  end: float = 0.0  # seconds; 0: to the end of the video


def read_list(file: str, exists: Callable[[str], bool]) -> list[Row]:
  """All rows of a list file.

  Args:
    file: the list, UTF-8 or, with a byte order mark, UTF-16.
    exists: whether a path, as written in the list, leads to a video; decides
      between possible readings of the lines.

  Raises:
    ValueError: for an empty list, a list of frames and rows with many labels.
  """
  lines = [line for line in read_text(file).split('\n') if line.strip()]
  if not lines:
    raise ValueError(f'{file} is empty: expected lines like `path label`.')
  header = sniff_header(lines[0])
  if header:
    return rows_with_header(file, lines, *header)
  return rows_without_header(file, [line.strip() for line in lines], exists)


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


def sniff_header(line: str) -> tuple[str, list[str]] | None:
  """Separator and column names, where the first line names a path column."""
  for separator in ('\t', ',', ';', ' '):
    names = [name.lower() for name in fields(line, separator)]
    if len(names) > 1 and set(names) & {*PATH_COLUMNS, *LABEL_COLUMNS}:
      return separator, names
  return None


def rows_with_header(
  file: str, lines: list[str], separator: str, names: list[str]
) -> list[Row]:
  """Rows by column name; columns that mean nothing here are passed over."""
  if 'frame_id' in names:
    raise ValueError(
      f'{file} lists single frames (column frame_id); expected one line a video.'
    )
  path = next((name for name in PATH_COLUMNS if name in names), None)
  label = next((name for name in LABEL_COLUMNS if name in names), None)
  if path is None:
    raise ValueError(
      f'{file} has the columns {", ".join(names)}; expected one of '
      f'{", ".join(PATH_COLUMNS)} for the path.'
    )
  rows = []
  for number, line in enumerate(lines[1:], start=2):
    values = fields(line, separator)
    if len(values) != len(names):
      raise ValueError(
        f'{file}, line {number}: {len(values)} fields under {len(names)} '
        f'column names: {line!r}'
      )
    cells = dict(zip(names, values, strict=True))
    rows.append(
      Row(
        path=cells[path],
        label=cells.get(label) or None,
        fold=int(cells['fold']) if cells.get('fold') else None,
        split=cells.get('split') or None,
        start=float(cells.get('start') or 0),
        end=float(cells.get('end') or 0),
      )
    )
  if not rows:
    raise ValueError(f'{file} has a header and no rows.')
  return rows


def rows_without_header(
  file: str, lines: list[str], exists: Callable[[str], bool]
) -> list[Row]:
  """The reading that most of the files on disk speak for."""
  sample = lines[:: max(1, len(lines) // 64)]
  readings = [as_path]
  for separator in SEPARATORS:
    readings += [
      after_suffix(separator),
      last_field(separator),
      last_of_three(separator),
    ]

  def credit(read) -> tuple:
    rows = [read(line) for line in sample]
    if None in rows:
      return (-1,)
    return (
      sum(exists(row.path) for row in rows) / len(rows),
      sum(has_video_suffix(row.path) for row in rows) / len(rows),
      sum(is_number(row.label) for row in rows) / len(rows),
      sum(row.label is not None for row in rows),
    )

  best = max(readings, key=credit)
  rows = []
  for number, line in enumerate(lines, start=1):
    row = best(line)
    if row is None:
      raise ValueError(f'{file}, line {number} differs from the rest: {line!r}')
    if row.label and re.fullmatch(r'\d+([\s,]+\d+)+', row.label):
      raise ValueError(
        f'{file}, line {number} has several labels: {line!r}; expected one.'
      )
    rows.append(row)
  return rows


def as_path(line: str) -> Row:
  """The line is a path, nothing else."""
  return Row(unquote(line))


def after_suffix(separator: str) -> Callable[[str], Row | None]:
  """`path.mp4<separator>label`: the label is what follows the video suffix."""
  suffixes = '|'.join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
  gap = r'\s+' if separator == ' ' else rf'\s*{re.escape(separator)}\s*'
  pattern = re.compile(rf'(.+?(?:{suffixes})"?){gap}(.+)', re.IGNORECASE)

  def read(line: str) -> Row | None:
    match = pattern.fullmatch(line)
    if not match:
      return None
    label = match[2]
    # `path.mp4 num_frames label`.
    count = re.fullmatch(rf'\d+{gap}(\S+)', label)
    return Row(unquote(match[1]), unquote(count[1] if count else label))

  return read


def last_field(separator: str) -> Callable[[str], Row | None]:
  """`path<separator>label`, split from the right, once."""

  def read(line: str) -> Row | None:
    parts = line.rsplit(None if separator == ' ' else separator, 1)
    if len(parts) < 2:
      return None
    return Row(unquote(parts[0]), unquote(parts[1]))

  return read


def last_of_three(separator: str) -> Callable[[str], Row | None]:
  """`name<separator>num_frames<separator>label`."""

  def read(line: str) -> Row | None:
    parts = line.rsplit(None if separator == ' ' else separator, 2)
    if len(parts) < 3 or not is_number(parts[1].strip()):
      return None
    return Row(unquote(parts[0]), unquote(parts[2]))

  return read


def fields(line: str, separator: str) -> list[str]:
  """Cells of one line; quotes protect separators."""
  skip = separator == ' '
  cells = next(csv.reader([line], delimiter=separator, skipinitialspace=skip))
  return [cell.strip() for cell in cells]


def unquote(text: str) -> str:
  """Without blanks and one pair of quotes around it."""
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] == '"':
    return text[1:-1].replace('""', '"')
  return text


def is_number(text: str | None) -> bool:
  """Whether a label or a count is written as a whole number."""
  return bool(text and re.fullmatch(r'-?\d+', text))


def has_video_suffix(path: str) -> bool:
  """Whether a file name ends like a video's."""
  return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def numbers_only(labels: Iterable[str | None]) -> bool:
  """Whether all labels are numbers."""
  return all(is_number(label) for label in labels)
