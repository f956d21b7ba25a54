# SPDX-License-Identifier: Apache-2.0
"""Reads lists whose columns have names: CSV with a header, JSON, JSON lines."""

from collections.abc import Callable, Iterable, Sequence
import json
import logging
import math
import operator
import os
import re

from flatten_jax.inputs.sources import csv_fields
from flatten_jax.inputs.sources.csv_fields import (
  COUNT_COLUMNS,
  FOLD_COLUMNS,
  FPS_COLUMNS,
  KINETICS_COLUMNS,
  LABEL_COLUMNS,
  PATH_COLUMNS,
  SPLIT_COLUMNS,
)
from flatten_jax.inputs.sources.rows import (
  Row,
  has_video_suffix,
  is_number,
  known_label,
)
from flatten_jax.inputs.sources.splits import split_named

log = logging.getLogger('flatten_jax')

TRIMMED = '<youtube_id>_<time_start>_<time_end>'
Field = dict[str, str]  # Column name to cell, of one row.


def is_header(cells: Sequence[str], following: Sequence[str]) -> bool:
  """Checks whether the first line is column names, given the second."""
  names = {csv_fields.column_name(cell) for cell in cells}
  if len(cells) < 2 or any(map(is_number, cells)):
    return False
  if any(map(has_video_suffix, cells)):
    return False
  known = {*LABEL_COLUMNS, *SPLIT_COLUMNS, *csv_fields.TIMES}
  return bool(names & {*PATH_COLUMNS}) or (
    bool(names & known) and any(map(has_video_suffix, following))
  )


def read_json(file: str | os.PathLike, text: str) -> list[Field] | None:
  """Reads JSON or JSON lines as cells by column; None if it is neither.

  Raises:
    ValueError: it is JSON, but not a list of videos.
  """
  try:
    content = json.loads(text)
  except ValueError:
    try:
      content = [json.loads(line) for line in text.split('\n') if line.strip()]
    except ValueError:
      return None
  if isinstance(content, dict) and {*content} & {*PATH_COLUMNS}:
    content = [content]
  if isinstance(content, dict) and not any(
    isinstance(value, dict | list) for value in content.values()
  ):
    content = [{'path': p, 'label': label} for p, label in content.items()]
  if not isinstance(content, list) or not all(
    isinstance(item, dict) for item in content
  ):
    raise ValueError(
      f'{file} is JSON of an unknown form: expected a list of objects, like '
      '[{"path": "a.mp4", "label": "wave"}, ...], or one object a line.'
    )
  fields = []
  for item in content:
    segment = item.get('segment')
    if isinstance(segment, list) and len(segment) == 2:
      item = {'start': segment[0], 'end': segment[1], **item}
    cells = {
      csv_fields.column_name(key): '' if value is None else str(value).strip()
      for key, value in item.items()
      if not isinstance(value, dict | list)
    }
    fields.append(cells)
  return fields


def read_cells(
  file: str | os.PathLike,
  names: Sequence[str],
  lines: Iterable[tuple[int, list[str]]],
) -> list[tuple[int, Field]]:
  """Returns the number of each line, and its cells by column."""
  names = [csv_fields.column_name(name) for name in names]
  twice = {name for name in names if name and names.count(name) > 1}
  if twice & {*PATH_COLUMNS, *LABEL_COLUMNS, *SPLIT_COLUMNS}:
    raise ValueError(f'{file} has two columns {", ".join(sorted(twice))}.')
  fields = []
  for number, values in lines:
    if not any(values):  # Spreadsheets end with such lines.
      continue
    while len(values) > len(names) and not values[-1]:
      values.pop()
    if len(values) == len(names) and all(
      map(operator.eq, map(csv_fields.column_name, values), names)
    ):
      log.warning('%s, line %d repeats the header: passed over', file, number)
      continue
    if len(values) != len(names):
      raise ValueError(
        f'{file}, line {number}: {len(values)} fields under {len(names)} '
        f'column names: {values}. A field with a separator needs quotes.'
      )
    cells = dict(zip(names, values, strict=True))
    cells.pop('', None)
    fields.append((number, cells))
  return fields


def read_table(
  file: str | os.PathLike,
  numbered: list[tuple[int, Field]],
  exists: Callable[[str], bool],
) -> list[Row]:
  """Reads rows by column name; in Kinetics, id and times give the path.

  A list of frames, as of PySlowFast, becomes one of the folders they are in.
  """
  if not numbered:
    raise ValueError(f'{file} has a header and no rows.')
  fields = [field for _, field in numbered]
  names = list(dict.fromkeys(name for field in fields for name in field))
  lists_frames = 'frame_id' in names
  if lists_frames:
    for field in fields:
      field['path'] = os.path.dirname(field.get('path', ''))
  path = 'path' if lists_frames else choose_path(fields, names, exists)
  if path is None:
    raise ValueError(
      f'{file} has the columns {", ".join(names)}; expected one of '
      f'{", ".join(PATH_COLUMNS[:3])}, file_name or the like for the path.'
    )
  label, number = choose_label(file, fields, [n for n in names if n != path])
  used = {
    'fold': first_of(FOLD_COLUMNS, names),
    'split': choose_split(
      file, fields, [n for n in names if n not in (path, label)]
    ),
    'num_frames': first_of(COUNT_COLUMNS, names),
    'fps': first_of(FPS_COLUMNS, names),
    **({} if path == TRIMMED else choose_times(file, fields, names)),
  }
  rows = []
  for line, field in numbered:
    try:
      rows.append(read_row(field, path, label, number, used))
    except ValueError as error:
      raise ValueError(f'{file}, line {line}: {error}') from error
  used = {key: name for key, name in used.items() if name}
  if label:
    used = {'label': label} | used
  report(file, rows, names, {'path': path} | used, number)
  # The frames of a video are rows that are alike now.
  return list(dict.fromkeys(rows)) if lists_frames else rows


def read_row(
  field: Field,
  path: str,
  label: str | None,
  number: str | None,
  used: dict[str, str | None],
) -> Row:
  """Reads one row, given the columns by their meaning."""
  name = csv_fields.kinetics_name(field) if path == TRIMMED else field.get(path)
  if not name:
    raise ValueError(f'no {path}: {list(field.values())}')
  text = known_label(field.get(label or ''))
  if label == 'template' and text:
    text = text.replace('[', '').replace(']', '')
  if number and known_label(field.get(number)) is None:
    text = None  # HACS: -1 is a video without the action.
  if text and re.fullmatch(r'\d+(\s*,\s*\d+)+', text):
    raise ValueError(f'expected one label, not {text!r}')
  times = {}
  for kind in csv_fields.TIMES:
    column = used.get(kind)
    unit = csv_fields.time_column(column)[1] if column else 1.0
    times[kind] = csv_fields.parse_seconds(field, column or '', unit)
  start, end = times['start'], times['end']
  if times['duration']:
    end = start + times['duration']
  if end <= start and field.get(used.get('end') or '') and end + start:
    raise ValueError(f'the end {end:g} s is not after the start {start:g} s')
  return Row(
    id=name,
    label=text,
    fold=csv_fields.parse_int(field, used['fold'] or ''),
    split=field.get(used['split'] or '') or None,
    start=start,
    end=end,
    num_frames=csv_fields.parse_int(field, used['num_frames'] or ''),
    fps=csv_fields.parse_fps(field, used['fps']),
  )


# --- Which column is what -----------------------------------------------------


def first_of(known: Sequence[str], names: Sequence[str]) -> str | None:
  """Returns the first known name of a column, or None."""
  return next((name for name in known if name in names), None)


def choose_path(
  fields: list[Field], names: list[str], exists: Callable[[str], bool]
) -> str | None:
  """Returns the column of the paths: with most existing files, or known."""
  sample = fields[:: len(fields) // 64 + 1]
  choices = [name for name in PATH_COLUMNS if name in names]
  if set(KINETICS_COLUMNS) <= set(names):
    choices.insert(choices.index('youtube_id'), TRIMMED)
  if not choices:
    choices = [
      name
      for name in names
      if all(has_video_suffix(field.get(name, '')) for field in sample)
    ]

  def found(choice: str) -> int:
    if choice != TRIMMED:
      return sum(exists(field[choice]) for field in sample if field.get(choice))
    try:
      return sum(exists(csv_fields.kinetics_name(field)) for field in sample)
    except ValueError:  # It is raised again with its line, if this is chosen.
      return 0

  return max(choices, key=found, default=None)  # The first of equals.


def choose_label(
  file: str | os.PathLike, fields: list[Field], names: list[str]
) -> tuple[str | None, str | None]:
  """Returns the column of the labels, and that of their numbers if both are.

  Names come before numbers: a list with both needs no file of class names.
  """
  choices = [name for name in LABEL_COLUMNS if name in names]
  if not choices and len(names) == 1:
    (name,) = names
    if (
      csv_fields.time_column(name) is None
      and name not in {*COUNT_COLUMNS, *FOLD_COLUMNS, *SPLIT_COLUMNS}
      and len({field.get(name) for field in fields}) < len(fields)
    ):
      choices = names
  if not choices:
    return None, None
  first = choices[0]

  def labels(choice: str) -> list[str | None]:
    return [known_label(field.get(choice)) for field in fields]

  def numbers(choice: str) -> bool:
    return all(is_number(label) for label in labels(choice) if label)

  texts = [choice for choice in choices if not numbers(choice)]
  if not numbers(first) or not texts:
    return first, None
  pairs = set(zip(labels(first), labels(texts[0]), strict=True))
  known = {pair for pair in pairs if pair[0]}
  ones, others = ({pair[i] for pair in known} for i in (0, 1))
  if len(known) == len(ones) == len(others) or ones == {'1'}:
    return texts[0], first
  log.warning(
    '%s: the labels are the numbers of %r; %r names %d classes for %d numbers',
    *(file, first, texts[0], len(others), len(ones)),
  )
  return first, None


def choose_split(
  file: str | os.PathLike, fields: list[Field], names: list[str]
) -> str | None:
  """Returns the column 'split', or another that holds names of splits."""
  if 'split' in names:
    return 'split'
  found = []
  for name in names:
    values = {field.get(name, '') for field in fields} - {''}
    splits = set(map(split_named, values))
    several = name in SPLIT_COLUMNS or len(splits) > 1
    if None not in splits and 'train' in splits and several:
      found.append(name)
  if len(found) > 1:
    raise ValueError(
      f'{file} has several columns of splits: {", ".join(found)}. Name the one '
      'that counts split, and remove the others.'
    )
  return found[0] if found else None


def choose_times(
  file: str | os.PathLike, fields: list[Field], names: list[str]
) -> dict[str, str | None]:
  """Returns the columns of start, end and duration; frames are refused."""
  found: dict[str, str | None] = {}
  frames = []
  for name in names:
    kind, unit = csv_fields.time_column(name) or (None, 1.0)
    if kind and math.isnan(unit):
      frames.append((kind, name))
    elif kind:
      found.setdefault(kind, name)
  if 'end' in found or 'start' not in found:
    found.pop('duration', None)  # That of the file.
  if frames and not found:
    starts = [name for kind, name in frames if kind == 'start']
    values = {field.get(name, '') for field in fields for name in starts}
    if not values <= {'', '0', '1', '0.0', '1.0'} or not starts:
      raise ValueError(
        f'{file} has times in frames ({", ".join(n for _, n in frames)}); '
        'expected seconds, in columns start and end.'
      )
    log.warning(
      '%s: every part begins with the first frame; the videos are read whole, '
      'without %s',
      *(file, ', '.join(name for _, name in frames)),
    )
  return found


def report(
  file: str | os.PathLike,
  rows: list[Row],
  names: list[str],
  used: dict[str, str],
  number: str | None,
) -> None:
  """Logs what was read as what, and the columns that were not read."""
  rest = [name for name in names if name and name not in used.values()]
  if used['path'] == TRIMMED:
    rest = [name for name in rest if name not in KINETICS_COLUMNS]
  rest = [name for name in rest if name != number]
  columns = ', '.join(
    key if key == name else f'{key} ({name})' for key, name in used.items()
  )
  log.info(
    'Read %s as %s; %d videos, %d classes%s',
    *(file, columns, len(rows), len({row.label for row in rows} - {None})),
    f'; ignored columns: {", ".join(rest)}' if rest else '',
  )
  timed = 'start' in used or 'end' in used
  known = ('duration', 1.0), *((kind, math.nan) for kind in csv_fields.TIMES)
  suspects = [
    name
    for name in rest
    if csv_fields.is_suspect(name)
    and not (csv_fields.time_column(name) and timed)
    and csv_fields.time_column(name) not in known
  ]
  if suspects:
    log.warning(
      '%s: columns that look like times or splits are not read: %s. For parts '
      'of videos expected start and end (seconds), for splits split or fold',
      *(file, ', '.join(suspects)),
    )
  if 'label' not in used:
    log.warning(
      '%s has the columns %s, and none like label or class: its videos have no '
      'label',
      *(file, ', '.join(names)),
    )
