# SPDX-License-Identifier: Apache-2.0
"""Finds videos that belong together: by a column, their file or their name."""

import collections
from collections.abc import Iterator, Mapping, Sequence
import itertools
import logging
import os
import posixpath
import re
from typing import NamedTuple

from flatten_jax.inputs.sources.lists.columns import column_name
from flatten_jax.inputs.sources.rows import Group, Row, look

log = logging.getLogger('flatten_jax')

# UCF101: clips of one group show one scene, v_Archery_g01_c02.avi.
NUMBERED = re.compile(r'(.+_g\d+)_c\d+$')


class Grouping(NamedTuple):
  """The group of each row, and where groups come from."""

  names: list[str]
  source: str  # like 'column speaker'
  given: bool  # by a column, and not by files or names


def find(rows: Sequence[Row], wanted: str = '') -> Grouping | None:
  """Returns the groups of rows; None if they divide nothing.

  Parts of one file are of one group. `wanted` is `data.group`.
  """
  if wanted == 'none':
    return None
  column = next((row.group.column for row in rows if row.group), '')
  spelled: dict[str, str] = {}
  for row in rows:
    if row.group:
      name = row.group.name
      spelled[look(name)] = min(spelled.get(look(name), name), name)
  # The least of a file's names does not depend on the order of the list.
  of_file: dict[str, str] = {}
  numbered = False
  files = files_of(rows)
  for row, file in zip(rows, files, strict=True):
    name = file
    if row.group:
      name = spelled[look(row.group.name)]
    elif not column and '_c' in file and (match := NUMBERED.match(stem(row))):
      name, numbered = match[1], True
    of_file[file] = min(of_file.get(file, name), name)
  names = [of_file[file] for file in files]
  if len({*names}) in (len(names), 1 if not wanted else 0):
    return None
  source = 'the parts of one file'
  if column or numbered:
    source = f'column {column}' if column else 'names like v_x_g01_c02'
  return Grouping(names, source, bool(column))


def check_wanted(splits: Mapping[str, Sequence[Row]], wanted: str) -> None:
  """Raises ValueError if no video has the group that `data.group` names."""
  if wanted in ('', 'none'):
    return
  rows = itertools.chain.from_iterable(splits.values())
  found = {row.group.column for row in rows if row.group}
  if column_name(wanted) not in found:
    raise ValueError(
      f'data.group={wanted} must be a column of the list of the videos, which '
      "has none of that name. Its columns are in its first line; '' finds one "
      'like group, subject or scene.'
    )


def files_of(rows: Sequence[Row]) -> list[str]:
  """Returns the file of each video, one name for all spellings of it."""
  written = [file_of(row) for row in rows]
  found = [
    row.path if isinstance(row.path, str) and row.path else name
    for row, name in zip(rows, written, strict=True)
  ]
  least: dict[str, str] = {}
  for file, name in zip(found, written, strict=True):
    least[file] = min(least.get(file, name), name)
  return [least[file] for file in found]


def file_of(row: Row) -> str:
  """Returns the file of a video as it is written in its list."""
  plain = not re.search(r'\\|\./|//', row.id)
  return row.id if plain else posixpath.normpath(row.id.replace('\\', '/'))


def stem(row: Row) -> str:
  """Returns the name of a video's file, without its suffix."""
  return os.path.splitext(posixpath.basename(file_of(row)))[0]


def by_fold(rows: Sequence[Row]) -> list[Row]:
  """Returns rows whose groups are their folds, if they have no other."""
  if any(row.group for row in rows):
    return [*rows]
  groups = {row.fold: Group('fold', str(row.fold)) for row in rows}
  return [
    row._replace(group=groups[row.fold])
    if row.fold is not None and row.fold >= 0
    else row
    for row in rows
  ]


# --- Names that look like parts of one recording ------------------------------

# Endings: ' (2)', '_001', '-part2', '_000010_000020'; and a date before one.
ENDING = re.compile(
  r'([ _.-]+\d{3,}(\.\d+)?[_-]\d{3,}(\.\d+)?s?'
  r'|[ _.-]*(part|pt|clip|seg|segment|shot|cut|chunk|take|split)?'
  r'[ _.-]*\(?\d+\)?)$',
  re.IGNORECASE,
)
DATE = re.compile(r'(19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d')
# Words that say nothing about what was recorded.
GENERIC = frozenset(
  {'a', 'v', 'at', 'vid', 'video', 'videos', 'movie', 'mov', 'clip', 'clips'}
  | {'img', 'image', 'dsc', 'dscn', 'dscf', 'mvi', 'gopr', 'gp', 'gh', 'gx'}
  | {'dji', 'pxl', 'cimg', 'sam', 'whatsapp', 'screen', 'capture', 'record'}
  | {'recording', 'rec', 'file', 'frame', 'frames', 'output', 'out', 'sample'}
  | {'test', 'train', 'val', 'data', 'action', 'gesture'}
)


def warn_of_parts(rows: Sequence[Row], looked_at: int = 10_000) -> None:
  """Warns of names that look like several parts of one recording."""
  rows = rows[:looked_at]
  parts = {
    key: members for key, members in recordings(rows) if len(members) > 1
  }
  count = sum(map(len, parts.values()))
  if count < max(2, len(rows) / 10):
    return
  members = max(parts.values(), key=len)
  examples = [row.id for row in sorted(members, key=lambda row: row.id)[:3]]
  log.warning(
    '%d of %d videos have names like parts of one recording: %s. If they are, '
    'near copies may be on both sides of a split, and scores too high: list '
    'the videos with a column group that names their recording, and set '
    'data.root to that list (--config.data.group=none: they are not)',
    *(count, len(rows), ', '.join(examples)),
  )


def recordings(
  rows: Sequence[Row],
) -> Iterator[tuple[tuple[str, str], list[Row]]]:
  """Yields videos of one class and folder whose names differ in their ending.

  A class whose names have one beginning is left out: that numbers its videos.
  """
  classes: dict[str, dict] = collections.defaultdict(dict)
  for row in rows:
    name = stem(row)
    start = ENDING.sub('', name)
    own = words(row.label or '')
    if start == name or not telling(start, own):
      start = ''
    key = posixpath.dirname(file_of(row)), start.lower()
    classes[row.label or ''].setdefault(key, []).append(row)
  for label, found in classes.items():
    if len(found) > 1:
      for (_, start), members in found.items():
        if start:
          yield (label, start), members


def telling(start: str, own: set[str]) -> bool:
  """Checks whether a name's beginning says more than its class or a date."""
  rest = words(DATE.sub('', start))
  # Names of classes are shortened, like 'fi' of fight.
  return not all(
    any(one.startswith(other) for x in own for one, other in ((x, w), (w, x)))
    for w in rest - GENERIC - own
  )


def words(text: str) -> set[str]:
  """Returns the words and numbers of a text, in lower case."""
  return set(re.findall(r'[a-z]+|\d+', text.lower()))
