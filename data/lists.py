# SPDX-License-Identifier: Apache-2.0
"""Lists of videos without a header, as projects of the field publish them.

| producer | line |
|---|---|
| PySlowFast, MMAction2 (videos), UniFormer (UCF101), V-JEPA 2 | `path label` |
| UniFormer (Kinetics; CRLF), many others | `path,label` |
| MMAction2 (frames), TSM and UniFormer (Something-Something, HMDB51) | `name num_frames label` |
| MMAction (Kinetics) | `video_id, num_frames, label` |
| V-JEPA 2, where blanks fail | `path::label` |
| unlabelled (UCF101's test lists) | `path` |

Paths may hold blanks and any of these signs, so lines are read from the right,
and a file is read in one way only: the one that fits all of its lines.
"""  # noqa: E501

from collections.abc import Mapping
import dataclasses
import json
import logging
import pathlib
import re

from data.annotations import read_text
from data.columns import LABEL_COLUMNS, PATH_COLUMNS, cells, seconds, whole

log = logging.getLogger('data')

SEPARATORS = (r'\s*::\s*', r'\s*,\s*', r'\s*;\s*', r'\s*\t\s*', r'\s+')
VIDEO_SUFFIXES = frozenset(
  {'.3gp', '.asf', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4'}
  | {'.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.webm', '.wmv'}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """One line of a list; `label` is as written, None where there is none."""

  path: str
  label: str | None = None
  start: float = 0.0
  end: float = 0.0
  fold: int | None = None
  split: str | None = None


def read_list(file: pathlib.Path) -> list[Row]:
  """The rows of a list in any published form.

  Raises:
    ValueError: no reading fits all lines, or videos have several labels.
  """
  lines = read_text(file).split('\n')
  numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
  if not numbered:
    raise ValueError(f'{file} is empty: expected lines like `path label`.')
  header = sniff_header(numbered[0][1])
  if header:
    return rows_with_header(file, numbered[1:], *header)
  numbered = [(number, line.strip()) for number, line in numbered]
  lines = [line for _, line in numbered]
  refuse_many_labels(file, lines)
  best, fits = None, 0
  for pattern in patterns():
    count = sum(bool(pattern.fullmatch(line)) for line in lines)
    if count > fits:
      best, fits = pattern, count
    if fits == len(lines):
      return [row_of(best.fullmatch(line)) for line in lines]
  if all(is_path(line) for line in lines):
    return [Row(unquote(line)) for line in lines]
  odd = next(
    (n, line) for n, line in numbered if not (best and best.fullmatch(line))
  )
  raise ValueError(
    f'{file}, line {odd[0]}: expected `path label` like the other lines, got '
    f'{odd[1]!r}'
  )


def patterns():
  """Ways to read a line, the most specific first."""
  # A count and a label; a path that ends in a number is rarer than these.
  for gap in SEPARATORS:
    yield re.compile(rf'(?P<path>.+?){gap}\d+{gap}(?P<label>-?\d+)')
  for gap in SEPARATORS:
    yield re.compile(rf'(?P<path>.+){gap}(?P<label>-?\d+)')
  for gap in SEPARATORS:  # A label that is a name follows a file's suffix.
    yield re.compile(rf'(?P<path>.+\.\w{{2,4}}"?){gap}(?P<label>[^/]+)')


def row_of(match: re.Match) -> Row:
  """A line that was read; -1 is how some write that a label is not known."""
  label = unquote(match['label'])
  return Row(unquote(match['path']), None if label == '-1' else label)


def is_path(line: str) -> bool:
  """Whether a line is the name of a video and nothing else."""
  suffix = pathlib.PurePosixPath(unquote(line)).suffix.lower()
  return suffix in VIDEO_SUFFIXES or not re.search(r'\s', line)


def refuse_many_labels(file: pathlib.Path, lines: list[str]) -> None:
  """After a file's suffix, one number is a label, two a count and a label."""
  suffix = '|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))
  numbers = re.compile(rf'(?:{suffix})"?((?:[\s,;]+\d+)+)$', re.IGNORECASE)
  counts = {}
  for line in lines:
    match = numbers.search(line)
    if match:
      counts.setdefault(len(re.findall(r'\d+', match[1])), line)
  if len(counts) > 1 or max(counts, default=1) > 2:
    raise ValueError(
      f'{file} has videos with several labels, like {counts[max(counts)]!r}; '
      'expected one label a video.'
    )


# --- With a header ------------------------------------------------------------


def sniff_header(line: str) -> tuple[str, list[str]] | None:
  """Separator and column names, where a first line is made of such names."""
  for separator in ('\t', ',', ';', ' '):
    names = [name.lower() for name in cells(line, separator)]
    looks_like_data = any(
      re.fullmatch(r'-?\d+', name)
      or pathlib.PurePosixPath(name).suffix in VIDEO_SUFFIXES
      for name in names
    )
    known = {*PATH_COLUMNS, *LABEL_COLUMNS} & set(names)
    if len(names) > 1 and known and not looks_like_data:
      return separator, names
  return None


def rows_with_header(
  file: pathlib.Path,
  numbered: list[tuple[int, str]],
  separator: str,
  names: list[str],
) -> list[Row]:
  """Rows by column name: DMVR's `video_path,start,end,label`, or one's own.

  PySlowFast's lists of frames have a row for each; they become their videos.
  """
  frames = 'frame_id' in names
  paths = ('video_id', *PATH_COLUMNS) if frames else PATH_COLUMNS
  path = next((name for name in paths if name in names), None)
  label = next((name for name in LABEL_COLUMNS if name in names), None)
  if path is None:
    raise ValueError(
      f'{file} has the columns {", ".join(names)}; expected one of '
      f'{", ".join(PATH_COLUMNS)} for the path.'
    )
  if label is None:
    log.warning(
      '%s has the columns %s, and none of %s: its videos have no label',
      *(file, ', '.join(names), ', '.join(LABEL_COLUMNS)),
    )
  rows = {}
  for number, line in numbered:
    values = cells(line, separator)
    if not any(values):  # As spreadsheets end.
      continue
    if len(values) != len(names):
      raise ValueError(
        f'{file}, line {number}: {len(values)} cells under {len(names)} column '
        f'names: {line!r}'
      )
    cell = dict(zip(names, values, strict=True))
    try:
      row = row_of_cells(cell, path, label)
    except ValueError as error:
      raise ValueError(f'{file}, line {number}: {error}') from error
    rows[(row.path, row.start) if frames else number] = row
  if not rows:
    raise ValueError(f'{file} has a header and no rows.')
  return list(rows.values())


def row_of_cells(cell: Mapping[str, str], path: str, label: str | None) -> Row:
  """The row that cells make, by the names of their columns."""
  name = cell.get(label)
  return Row(
    path=cell[path],
    label=None if name in ('', '-1') else name,
    start=seconds(cell, 'start'),
    end=seconds(cell, 'end'),
    fold=whole(cell, 'fold'),
    split=cell.get('split') or None,
  )


# --- Names of classes ---------------------------------------------------------


def read_class_names(file: pathlib.Path) -> dict[int, str]:
  """Class names by number, in any published form.

  json: a list of names, or {name: number} with numbers that may be strings and
  names that may carry quotes of their own. Text: a name a line, numbered from
  0; `name<tab>number`; `number name`.
  """
  text = read_text(file)
  if file.suffix.lower() == '.json':
    content = json.loads(text)
    pairs = enumerate(content)
    if isinstance(content, Mapping):
      pairs = ((int(number), name) for name, number in content.items())
  else:
    lines = [line.strip() for line in text.split('\n') if line.strip()]
    pairs = [name_on_line(line) for line in lines]
    if None in pairs:  # Some name has no number: then none has.
      pairs = enumerate(lines)
  pairs = [(number, name.strip().strip('"')) for number, name in pairs]
  names = dict(pairs)
  if not names or len(set(names.values())) < len(pairs):
    raise ValueError(f'{file} holds no class names, or the same one twice.')
  return names


def name_on_line(line: str) -> tuple[int, str] | None:
  """Number and name on one line; None where there is no number."""
  match = re.fullmatch(r'(\d+)[\s,:]+(.+)', line)
  if match:
    return int(match[1]), match[2]
  match = re.fullmatch(r'(.+?)\s*[\t,]\s*(\d+)', line)
  return (int(match[2]), match[1]) if match else None


def named(
  rows: list[Row], names: Mapping[int, str] | None, file: pathlib.Path
) -> list[Row]:
  """The rows with names where they had numbers.

  Raises:
    ValueError: they are numbers and there are no names for them. The same
      number means different classes in different lists, so none is guessed.
  """
  if not all(re.fullmatch(r'\d+', row.label) for row in rows if row.label):
    return rows
  if not any(row.label for row in rows):
    return rows
  if names is None:
    raise ValueError(
      f'{file} numbers its classes, and publishers number them differently: '
      'give the file that came with it and names them as --class_names.'
    )
  unknown = sorted({int(r.label) for r in rows if r.label} - set(names))
  if unknown:
    raise ValueError(
      f'{file} has the labels {unknown[:5]}; --class_names has names for '
      f'{min(names)} to {max(names)}.'
    )
  return [
    dataclasses.replace(row, label=names[int(row.label)]) if row.label else row
    for row in rows
  ]


def unquote(text: str) -> str:
  """The text without blanks and one pair of quotes around it."""
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] == '"':
    return text[1:-1].replace('""', '"')
  return text
