# SPDX-License-Identifier: Apache-2.0
"""Reads lists of videos in every published form, without being told which.

| producer | line |
|---|---|
| PySlowFast, MMAction2 (videos), UniFormer (UCF101) | `path label` |
| UniFormer (Kinetics), many others | `path,label` |
| MMAction2 (frames), TSM, UniFormer (SSv2, HMDB51) | `name num_frames label` |
| MMAction (Kinetics) | `video_id, num_frames, label` |
| MMAction2 (parts of videos, as frames) | `name skip num_frames label` |
| V-JEPA 2, if paths hold spaces | `path::label` |
| UCF101's test lists | `path` |

Lists may also have a header. Paths may hold spaces, separators and other signs,
so lines are split from the right. If several readings are possible, the one
with most existing files is taken.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import logging
import os
import re

from flatten_jax.inputs.sources import csv_fields
from flatten_jax.inputs.sources.csv_fields import LABEL_COLUMNS, PATH_COLUMNS
from flatten_jax.inputs.video.container import VideoPath

log = logging.getLogger('flatten_jax')

VIDEO_SUFFIXES = frozenset(
  {'.3gp', '.asf', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4'}
  | {'.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.webm', '.wmv'}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """One video of a data set; fields missing from its list are None or 0."""

  id: str  # the path as written in the list
  label: str | None = None
  fold: int | None = None
  split: str | None = None
  start: float = 0.0  # seconds
  end: float = 0.0  # seconds; 0: to the end of the video
  path: VideoPath = ''
  # Of videos that are folders of frames:
  num_frames: int | None = None
  skip: int = 0  # frames before the first
  fps: float = 0.0


def read_list(
  file: str | os.PathLike,
  exists: Callable[[str], bool] = lambda path: False,
  frames: bool = False,
) -> list[Row]:
  """Reads the rows of a list; their `path` is left empty.

  `exists` checks whether a path, as written in the list, leads to a video;
  `frames` accepts a list of frames, and returns their videos.
  """
  lines = read_text(file).split('\n')
  numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
  if not numbered:
    raise ValueError(f'{file} is empty: expected lines like `path label`.')
  for separator in ('\t', ',', ';', ' '):
    names = csv_fields.split_row(numbered[0][1].lower(), separator)
    if is_header(names):
      fields = (
        (i, csv_fields.split_row(line, separator)) for i, line in numbered[1:]
      )
      return read_table(file, names, fields, frames)
  return read_lines(file, numbered, exists)


def read_text(file: str | os.PathLike) -> str:
  """Reads a text with plain line ends and without a byte order mark."""
  with open(file, 'rb') as f:
    raw = f.read()
  if raw[:2] in (b'\xff\xfe', b'\xfe\xff'):
    text = raw.decode('utf-16')
  else:
    # Bytes of a path that are not UTF-8 must come back as the same bytes.
    text = raw.decode('utf-8-sig', errors='surrogateescape')
  return re.sub('\r\n?', '\n', text)


# --- With a header ------------------------------------------------------------


def is_header(names: list[str]) -> bool:
  """Checks whether the fields of the first line are column names."""
  known = {*PATH_COLUMNS, *LABEL_COLUMNS, *csv_fields.KINETICS_COLUMNS}
  data = any(is_number(name) or has_video_suffix(name) for name in names)
  return len(names) > 1 and bool(known & set(names)) and not data


def read_table(
  file: str | os.PathLike,
  names: list[str],
  lines: Iterable[tuple[int, list[str]]],
  frames: bool,
) -> list[Row]:
  """Reads rows by column name; in Kinetics, id and times give the path."""
  lists_frames = 'frame_id' in names
  if lists_frames and not frames:
    raise ValueError(
      f'{file} lists frames (frame_id); expected a list of videos.'
    )
  paths = ('video_id', *PATH_COLUMNS) if lists_frames else PATH_COLUMNS
  kinetics = set(csv_fields.KINETICS_COLUMNS) <= set(names)
  path = next((name for name in paths if name in names), None)
  label = next((name for name in LABEL_COLUMNS if name in names), None)
  count = next((name for name in csv_fields.COUNT_COLUMNS if name in names), '')
  fps = next((name for name in csv_fields.FPS_COLUMNS if name in names), '')
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
  for number, values in lines:
    if not any(values):  # Spreadsheets end with such lines.
      continue
    if len(values) != len(names):
      raise ValueError(
        f'{file}, line {number}: {len(values)} fields under {len(names)} '
        f'column names: {values}'
      )
    field = dict(zip(names, values, strict=True))
    try:
      row = Row(
        id=csv_fields.kinetics_name(field) if kinetics else field[path],
        label=known_label(field.get(label)),
        fold=csv_fields.parse_int(field, 'fold'),
        split=field.get('split') or None,
        start=csv_fields.parse_seconds(field, 'start'),
        end=csv_fields.parse_seconds(field, 'end'),
        num_frames=csv_fields.parse_int(field, count),
        fps=csv_fields.parse_fps(field, fps),
      )
    except ValueError as error:
      raise ValueError(f'{file}, line {number}: {error}') from error
    rows.append(row)
  if not rows:
    raise ValueError(f'{file} has a header and no rows.')
  # The frames of a video follow each other, as rows that are alike.
  return list(dict.fromkeys(rows)) if lists_frames else rows


# --- Without a header ---------------------------------------------------------


SEPARATORS = ('::', '\t', ',', ';', ' ')
SUFFIX = '|'.join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
# Forms of a line, the most specific first. GAP is the separator with blanks
# around it, CELL is text without it. Greedy paths split from the right.
FORMS = (
  # path count label
  rf'(?P<path>.+?(?:{SUFFIX})"?)GAP(?P<count>\d+)GAP(?P<label>-?\d+)',
  rf'(?P<path>.+?(?:{SUFFIX})"?)GAP(?P<label>.+)',  # path label
  r'(?P<path>.+)GAP(?P<count>\d+)GAP(?P<label>CELL)',  # name count label
  # name skip count label
  r'(?P<path>.+)GAP(?P<skip>\d+)GAP(?P<count>\d+)GAP(?P<label>CELL)',
  r'(?P<path>.+)GAP(?P<label>CELL)',  # name label
  r'(?P<path>.+)(?P<label>)',  # path
)
NUMBERS = re.compile(rf'(?:{SUFFIX})"?((?:[\s,;]+\d+)+)$', re.IGNORECASE)


def read_lines(
  file: str | os.PathLike,
  numbered: list[tuple[int, str]],
  exists: Callable[[str], bool],
) -> list[Row]:
  """Reads all lines in the form that fits best."""
  lines = [line.strip() for _, line in numbered]
  refuse_many_labels(file, lines)
  sample = lines[:: len(lines) // 64 + 1]

  def credit(pattern: re.Pattern) -> tuple[float, ...]:
    rows = list(filter(None, (read_line(pattern, line) for line in sample)))
    if len(rows) < 0.9 * len(sample):  # Some lines may be damaged.
      return (-1.0,)
    return (
      sum(exists(row.id) for row in rows),
      sum(has_video_suffix(row.id) for row in rows),
      sum(is_number(row.label or '') for row in rows),
    )

  best = max(patterns(), key=credit)  # The first of equals.
  rows = [read_line(best, line) for line in lines]
  if None in rows:
    number, line = numbered[rows.index(None)]
    raise ValueError(f'{file}, line {number} differs from the others: {line!r}')
  return rows


def patterns() -> Iterator[re.Pattern]:
  """Yields every form with every separator."""
  for form in FORMS:
    for separator in SEPARATORS:
      sign = re.escape(separator)
      gap = r'\s+' if separator == ' ' else rf'\s*{sign}\s*'
      cell = r'\S+' if separator == ' ' else rf'(?:(?!{sign}).)+'
      pattern = form.replace('GAP', gap).replace('CELL', cell)
      yield re.compile(pattern, re.IGNORECASE)


def read_line(pattern: re.Pattern, line: str) -> Row | None:
  """Reads one line; None if it has another form."""
  match = pattern.fullmatch(line)
  if not match:
    return None
  numbers = match.groupdict(default='0')
  return Row(
    unquote(match['path']),
    known_label(unquote(match['label'])),
    num_frames=int(numbers['count']) if 'count' in numbers else None,
    skip=int(numbers.get('skip', 0)),
  )


def refuse_many_labels(file: str | os.PathLike, lines: list[str]) -> None:
  """Raises ValueError if a path is followed by more than count and label."""
  counts = {}
  for line in lines:
    if match := NUMBERS.search(line):
      counts.setdefault(len(re.findall(r'\d+', match[1])), line)
  if len(counts) > 1 or max(counts, default=1) > 2:
    raise ValueError(
      f'{file} has videos with several labels, like {counts[max(counts)]!r}; '
      'expected one label a video.'
    )


def unquote(text: str) -> str:
  """Removes blanks and one pair of quotes around a text."""
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] == '"':
    return text[1:-1].replace('""', '"')
  return text


def known_label(text: str | None) -> str | None:
  """Returns the label, or None if it is empty or -1, which mean 'unknown'."""
  return None if text in ('', '-1') else text


def is_number(text: str) -> bool:
  """Checks whether a label or a count is a whole number."""
  return re.fullmatch(r'-?\d+', text) is not None


def has_video_suffix(path: str) -> bool:
  """Checks whether a file name ends like a video's."""
  return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
