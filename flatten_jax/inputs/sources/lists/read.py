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

Lists may also have a header, or be JSON (`tables.py`). Paths may hold spaces,
separators and other signs, so lines are split from the right. If several
readings are possible, the one with most existing files is taken.
"""

from collections.abc import Callable
import contextlib
import csv
import logging
import os
import re

from flatten_jax.inputs.sources.lists import (
  columns,
  multi_label as multi_labels,
  plain,
  tables,
)
from flatten_jax.inputs.sources.lists.plain import Numbered
from flatten_jax.inputs.sources.lists.table_columns import Field
from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.rows import Row

log = logging.getLogger('flatten_jax')


def read_list(
  file: str | os.PathLike,
  exists: Callable[[str], bool] = lambda path: False,
  group: str = '',
  multi_label: bool = False,
) -> list[Row]:
  """Reads the rows of a list; their `path` is left empty.

  Args:
    file: the list.
    exists: checks whether a path, as written in the list, leads to a video.
    group: the column of videos that stay together, see `data.group`.
    multi_label: reads several labels of a video, see `multi_label.py`.
  """
  text = read_text(file)
  if not text.strip():
    raise ValueError(f'{file} is empty: expected lines like `path label`.')
  is_json = re.search(r'\.jsonl?(\.gz)?$', os.fspath(file).lower())
  if is_json or re.match(r'\s*(\[\s*\{|\{\s*")', text):
    fields = tables.read_json(file, text)
    if fields is not None:
      numbered = list(enumerate(fields, 1))
      return tables.read_table(file, numbered, exists, group, multi_label)
    if is_json:
      raise ValueError(f'{file} is not valid JSON, and no JSON lines.')
  lines = without_comments(file, text)
  first = lines[0][1].lstrip('# ')
  second = lines[min(1, len(lines) - 1)][1]
  for separator in ('\t', ',', ';', '|', ' '):
    names = columns.split_row(first, separator)
    if tables.is_header(names, columns.split_row(second, separator)):
      cells = read_cells(file, names, lines[1:], separator)
      return tables.read_table(file, cells, exists, group, multi_label)
  if multi_label:
    return multi_labels.read_lines(file, lines)
  return plain.read_lines(file, lines, exists)


def read_cells(
  file: str | os.PathLike, names: list[str], lines: Numbered, separator: str
) -> list[tuple[int, Field]]:
  """Returns the number of each row below a header, and its cells by column."""
  rows = [(i, columns.split_row(line, separator)) for i, line in lines]
  if any(line.count('"') % 2 for _, line in lines):
    with contextlib.suppress(csv.Error):  # Else the lines are the rows.
      longer = [*columns.split_rows(lines, separator)]
      inner = [
        columns.split_row(part, separator)
        for _, cells in longer
        for cell in cells
        for part in cell.split('\n')[1:-1]
      ]
      # Two quotes that belong to no cell would hide the rows between them.
      if all(len(cells) != len(names) for cells in inner):
        log.info('%s: %d lines end in quotes', file, len(rows) - len(longer))
        rows = longer
  return tables.read_cells(file, names, rows)


def without_comments(file: str | os.PathLike, text: str) -> Numbered:
  """Returns all lines but empty ones, and those that begin with '# '."""
  lines = [(i, s) for i, s in enumerate(text.split('\n'), 1) if s.strip()]
  if re.fullmatch(r'"?sep=."?', lines[0][1].strip()):  # Excel's.
    lines = lines[1:]
  kept = [(i, s) for i, s in lines if not re.match(r'\s*#(\s|#|$)', s)]
  if lines and lines[:1] != kept[:1]:  # A header may begin with '#'.
    names = re.split(r'[\s,;|]+', lines[0][1].strip('# '))
    if columns.HEADER.issuperset(map(columns.column_name, names)):
      kept = lines[:1] + kept
  if not kept:
    raise ValueError(f'{file} holds comments only: expected `path label`.')
  if len(kept) < len(lines):
    log.info('%s: passed over %d comments', file, len(lines) - len(kept))
  return kept
