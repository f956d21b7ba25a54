# SPDX-License-Identifier: Apache-2.0
"""Reads the labels of lists whose videos have several, see `data.multi_label`.

| producer | labels |
|---|---|
| a table, most often | `run;jump`, also `run|jump`; numbers also `3 7`, `3,7` |
| JSON, pandas | `["run", "jump"]`, `['run', 'jump']` |
| Charades | `c092 11.90 21.20;c147 0.00 12.60`, each with its seconds |
| MMAction2 (`multi_class=True`), PySlowFast, as text | `path 3 7` |
| MMAction2 (frames), as text | `name num_frames 3 7` |

An empty cell is a video that shows none of the classes.
"""

import ast
from collections.abc import Iterable, Sequence
import contextlib
import logging
import os
import re

from flatten_jax.inputs.sources.lists import plain
from flatten_jax.inputs.sources.rows import Row, is_number, known_label

log = logging.getLogger('flatten_jax')

TIMED = re.compile(r'(\S+)\s+\d+\.\d+\s+\d+\.\d+')
NUMBERS = re.compile(r'\d+(\s*[\s,]\s*\d+)*')
LINE = re.compile(rf'{plain.FILE}(?:\s*[\s,;|]\s*(?P<rest>.*))?', re.IGNORECASE)


def split_labels(cell: str | None) -> tuple[str, ...] | None:
  """Returns the labels in a cell, each once; None if they are unknown."""
  cell = plain.unquote(cell or '')
  if cell and known_label(cell) is None:
    return None
  parts = _listed(cell) or re.split('[;|]', cell)
  if NUMBERS.fullmatch(cell):
    parts = re.split(r'[\s,]+', cell)
  parts = [TIMED.sub(r'\1', part.strip()) for part in parts]
  return tuple(dict.fromkeys(filter(None, map(known_label, parts))))


def _listed(cell: str) -> list[str]:
  """Returns the items of a list of Python, NumPy or JSON; [] if it is none."""
  if cell.startswith('['):
    # NumPy writes no commas.
    cell = re.sub(r'(?<=[\'"])\s+(?=[\'"])', ', ', cell)
    with contextlib.suppress(ValueError, SyntaxError):
      return [str(item) for item in ast.literal_eval(cell)] or ['']
  return []


def read_lines(file: str | os.PathLike, numbered: plain.Numbered) -> list[Row]:
  """Reads lines of a path and its labels, without a header.

  Raises:
    ValueError: a line has no path.
  """
  cells = []
  for number, line in numbered:
    if match := LINE.fullmatch(line.strip()):
      path, rest = match['path'], match['rest'] or ''
    else:
      path, *others = re.split(r'\s*[\t,]\s*|\s+', line.strip(), maxsplit=1)
      rest = ''.join(others)
    if not path:
      raise ValueError(f'{file}, line {number} has no path: {line!r}')
    cells.append((plain.unquote(path), rest.strip(' ,;|\t')))
  rows = _frames(cells) or [
    Row(path, labels=split_labels(rest)) for path, rest in cells
  ]
  counted = ' num_frames,' * (rows[0].num_frames is not None)
  log.info('Read %s as path,%s labels; %s', file, counted, described(rows))
  return rows


def _frames(cells: Sequence[tuple[str, str]]) -> list[Row]:
  """Reads `name num_frames label label ...`; [] if lines are not all so."""
  rows = []
  for path, rest in cells:
    count, *numbers = re.split(r'[\s,]+', rest)
    is_file = re.fullmatch(plain.FILE, path, re.IGNORECASE)
    if is_file or not numbers or not all(map(is_number, (count, *numbers))):
      return []
    labels = tuple(dict.fromkeys(numbers))
    rows.append(Row(path, num_frames=int(count), labels=labels))
  return rows


def merged(rows: Sequence[Row]) -> list[Row]:
  """Joins rows of one video or part: lists may have a line for each label.

  Rows of different splits or folds stay apart, as in lists of one label.
  """
  found: dict[tuple, Row] = {}
  for row in rows:
    key = row.id, row.start, row.end, row.split, row.fold
    known = found.setdefault(key, row)
    if row.labels is not None:
      labels = tuple(dict.fromkeys(known.classes + row.classes))
      found[key] = known._replace(labels=labels)
  commas = [x for row in found.values() for x in row.classes if ',' in x]
  if commas and all(len(row.classes) < 2 for row in found.values()):
    log.warning(
      '%d videos have labels like %r, and none has several: a comma is part of '
      'a label, and several are written run;jump or run|jump',
      *(len(commas), commas[0]),
    )
  return [*found.values()]


def described(rows: Sequence[Row]) -> str:
  """Returns '12 videos, 5 classes, 1.9 a video'."""
  classes = {name for row in rows for name in row.classes}
  mean = sum(len(row.classes) for row in rows) / len(rows)
  return f'{len(rows)} videos, {len(classes)} classes, {mean:.2g} a video'


def hint(
  rows: Iterable[Row], flag: str = '--config.data.multi_label=True'
) -> None:
  """Logs `flag` if labels that are read as one each look like several."""
  found = [row for row in rows if len(split_labels(row.label) or ()) > 1]
  if found:
    log.warning(
      '%d videos have labels like %r, each of which counts as one class; if '
      'these are several labels of a video, set %s',
      *(len(found), found[0].label, flag),
    )
