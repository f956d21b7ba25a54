# SPDX-License-Identifier: Apache-2.0
"""Reads lists whose columns have names: CSV with a header, JSON, JSON lines."""

from collections.abc import Callable, Iterable, Sequence
import json
import logging
import math
import os
import re
from typing import Any

from flatten_jax.inputs.sources.lists import (
  columns,
  multi_label as multi_labels,
  table_columns,
)
from flatten_jax.inputs.sources.lists.table_columns import TRIMMED, Field
from flatten_jax.inputs.sources.rows import (
  Row,
  has_video_suffix,
  is_number,
  known_label,
)

log = logging.getLogger('flatten_jax')


def is_header(cells: Sequence[str], following: Sequence[str]) -> bool:
  """Checks whether the first line is column names, given the second."""
  if len(cells) < 2 or any(is_number(c) or has_video_suffix(c) for c in cells):
    return False
  names = {columns.column_name(cell) for cell in cells}
  known = {*columns.LABEL_COLUMNS, *columns.SPLIT_COLUMNS, *columns.TIMES}
  return not names.isdisjoint(columns.PATH_COLUMNS) or (
    not names.isdisjoint(known) and any(map(has_video_suffix, following))
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
  if isinstance(content, dict):
    if {*content} & {*columns.PATH_COLUMNS}:
      content = [content]
    elif not any(isinstance(value, dict | list) for value in content.values()):
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
    fields.append(
      {
        columns.column_name(key): '' if value is None else str(value).strip()
        for key, value in map(_joined, item.items())
        if not isinstance(value, dict | list)
      }
    )
  return fields


def _joined(item: tuple[str, Any]) -> tuple[str, Any]:
  """Returns a column and its value; a list of labels is one cell, 'a;b'."""
  key, value = item
  is_label = columns.column_name(key) in columns.LABEL_COLUMNS
  several = isinstance(value, list) and all(
    isinstance(label, str | int) for label in value
  )
  return (key, ';'.join(map(str, value))) if is_label and several else item


def read_cells(
  file: str | os.PathLike,
  header: Sequence[str],
  lines: Iterable[tuple[int, list[str]]],
) -> list[tuple[int, Field]]:
  """Returns the number of each line, and its cells by column."""
  names = [columns.column_name(name) for name in header]
  twice = {name for name in names if name and names.count(name) > 1}
  if twice & {
    *columns.PATH_COLUMNS,
    *columns.LABEL_COLUMNS,
    *columns.SPLIT_COLUMNS,
  }:
    raise ValueError(f'{file} has two columns {", ".join(sorted(twice))}.')
  fields = []
  for number, values in lines:
    if not any(values):  # Spreadsheets end with such lines.
      continue
    while len(values) > len(names) and not values[-1]:
      values.pop()
    if values == header:  # Of joined lists.
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
  group: str = '',
  multi_label: bool = False,
) -> list[Row]:
  """Reads rows by column name; in Kinetics, id and times give the path.

  A list of frames, as of PySlowFast, becomes one of the folders they are in.
  """
  if not numbered:
    raise ValueError(f'{file} has a header and no rows.')
  fields = [field for _, field in numbered]
  names = list(dict.fromkeys(name for field in fields for name in field))
  if lists_frames := 'frame_id' in names:
    path = 'path'
    for field in fields:
      field['path'] = os.path.dirname(field.get('path', ''))
  else:
    path = table_columns.choose_path(fields, names, exists)
  if path is None:
    raise ValueError(
      f'{file} has the columns {", ".join(names)}; expected path, video_path, '
      'file_name or the like for the path.'
    )
  rest = [name for name in names if name != path]
  label, number = table_columns.choose_label(file, fields, rest)
  rest = [name for name in rest if name != label]
  used = {
    'path': path,
    'label': label,
    'fold': table_columns.first_of(columns.FOLD_COLUMNS, names),
    'split': table_columns.choose_split(file, fields, rest),
    'num_frames': table_columns.first_of(columns.COUNT_COLUMNS, names),
    'fps': table_columns.first_of(columns.FPS_COLUMNS, names),
    'weight': table_columns.first_of(('weight',), names),
  }
  if path != TRIMMED:
    used |= table_columns.choose_times(file, fields, names)
  used = {key: name for key, name in used.items() if name}
  rest = [name for name in names if name not in {*used.values(), number}]
  if name := table_columns.choose_group(file, fields, rest, group):
    used['group'] = name
  rows = []
  for line, field in numbered:
    try:
      rows.append(read_row(field, used, number, multi_label))
    except ValueError as error:
      raise ValueError(f'{file}, line {line}: {error}') from error
  report(file, rows, names, used, number)
  # The frames of a video are rows that are alike now.
  return list(dict.fromkeys(rows)) if lists_frames else rows


def read_row(
  field: Field,
  used: dict[str, str],
  number: str | None,
  multi_label: bool = False,
) -> Row:
  """Reads one row, given the columns by their meaning."""
  cells = {
    key: field.get(name)
    if key in ('path', 'label', 'group', 'weight')
    else columns.known_cell(field.get(name))
    for key, name in used.items()
  }
  if used['path'] == TRIMMED:
    cells['path'] = columns.kinetics_name(field)
  if not cells['path']:
    raise ValueError(f'no {used["path"]}: {list(field.values())}')
  label = known_label(cells.get('label'))
  if label and used['label'] == 'template':
    label = label.replace('[', '').replace(']', '')
  if number and known_label(field.get(number)) is None:
    label = None  # HACS: -1 is a video without the action.
  labels = None
  if multi_label:
    label, labels = None, multi_labels.split_labels(cells.get('label'))
    labels = labels if 'label' in used else None
  if label and ',' in label and re.fullmatch(r'\d+(\s*,\s*\d+)+', label):
    raise ValueError(
      f'expected one label, not {label!r}; with data.multi_label=True, several'
    )
  times = dict.fromkeys(columns.TIMES, 0.0)
  for kind in times.keys() & used.keys():
    name = used[kind]
    _, unit = columns.time_column(name)
    times[kind] = columns.parse_seconds(cells[kind], name, unit)
  start, end = times['start'], times['end']
  if times['duration']:
    end = start + times['duration']
  if end <= start and cells.get('end') and end + start:
    raise ValueError(f'the end {end:g} s is not after the start {start:g} s')
  return Row(
    id=cells['path'],
    label=label,
    fold=columns.parse_int(cells.get('fold'), used.get('fold', '')),
    split=cells.get('split') or None,
    start=start,
    end=end,
    num_frames=columns.parse_int(
      cells.get('num_frames'), used.get('num_frames', '')
    ),
    fps=columns.parse_fps(cells.get('fps'), used.get('fps', '')),
    group=table_columns.group_of(cells.get('group'), used.get('group')),
    weight=cells.get('weight'),
    labels=labels,
  )


def report(
  file: str | os.PathLike,
  rows: list[Row],
  names: list[str],
  used: dict[str, str],
  number: str | None,
) -> None:
  """Logs what was read as what, and the columns that were not read."""
  known = {*used.values(), number}
  if used['path'] == TRIMMED:
    known |= {*columns.KINETICS_COLUMNS}
  rest = [name for name in names if name and name not in known]
  read = ', '.join(
    key if key == name else f'{key} ({name})' for key, name in used.items()
  )
  log.info(
    'Read %s as %s; %d videos, %d classes%s',
    *(file, read, len(rows), len({c for row in rows for c in row.classes})),
    f'; ignored columns: {", ".join(rest)}' if rest else '',
  )
  timed = 'start' in used or 'end' in used
  suspects = []
  for name in filter(columns.is_suspect, rest):
    kind, unit = columns.time_column(name) or ('', 0.0)
    told = kind and (timed or math.isnan(unit) or kind == 'duration')
    suspects += [] if told else [name]
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
