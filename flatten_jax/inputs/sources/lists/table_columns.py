# SPDX-License-Identifier: Apache-2.0
"""Chooses the columns of path, label, split, group and times in a table."""

from collections.abc import Callable, Sequence
import functools
import logging
import math
import os

from flatten_jax.inputs.sources.lists import columns
from flatten_jax.inputs.sources.rows import (
  UNKNOWN,
  Group,
  has_video_suffix,
  is_number,
  known_label,
)
from flatten_jax.inputs.sources.splits import split_named

log = logging.getLogger('flatten_jax')

COARSE = 5  # Groups of a coarser column, at least.
TRIMMED = '<youtube_id>_<time_start>_<time_end>'
Field = dict[str, str]  # Column name to cell, of one row.


def first_of(known: Sequence[str], names: Sequence[str]) -> str | None:
  """Returns the first known name of a column, or None."""
  return next((name for name in known if name in names), None)


def choose_path(
  fields: list[Field], names: list[str], exists: Callable[[str], bool]
) -> str | None:
  """Returns the column of the paths: with most existing files, or known."""
  sample = fields[:: len(fields) // 64 + 1]
  choices = [name for name in columns.PATH_COLUMNS if name in names]
  if set(columns.KINETICS_COLUMNS) <= set(names):
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
      return sum(exists(columns.kinetics_name(field)) for field in sample)
    except ValueError:  # It is raised again with its line, if this is chosen.
      return 0

  return max(choices, key=found, default=None)  # The first of equals.


def choose_label(
  file: str | os.PathLike, fields: list[Field], names: list[str]
) -> tuple[str | None, str | None]:
  """Returns the column of the labels, and that of their numbers if both are.

  Names come before numbers: a list with both needs no file of class names.
  """
  values = {
    name: [known_label(field.get(name)) for field in fields]
    for name in columns.LABEL_COLUMNS
    if name in names
  }
  if not values and len(names) == 1:
    (name,) = names
    others = {
      *columns.COUNT_COLUMNS,
      *columns.FOLD_COLUMNS,
      *columns.SPLIT_COLUMNS,
    }
    repeats = len({field.get(name) for field in fields}) < len(fields)
    if repeats and name not in others and columns.time_column(name) is None:
      return name, None
  if not values:
    return None, None
  first, *_ = values
  texts = [
    name
    for name, labels in values.items()
    if not all(map(is_number, {*labels} - {None}))
  ]
  if first in texts or not texts:
    return first, None
  pairs = set(zip(values[first], values[texts[0]], strict=True))
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
    splits = {columns.known_cell(field.get(name)) for field in fields} - {''}
    splits = set(map(split_named, splits)) if len(splits) < 20 else {None}
    several = name in columns.SPLIT_COLUMNS or len(splits) > 1
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
) -> dict[str, str]:
  """Returns the columns of start, end and duration; frames are refused."""
  found: dict[str, str] = {}
  frames = []
  for name in names:
    kind, unit = columns.time_column(name) or (None, 1.0)
    if kind and math.isnan(unit):
      frames.append((kind, name))
    elif kind:
      found.setdefault(kind, name)
  if 'end' in found or 'start' not in found:
    found.pop('duration', None)  # That of the file.
  if frames and not found:
    starts = [name for kind, name in frames if kind == 'start']
    values = {
      columns.known_cell(field.get(name)) for field in fields for name in starts
    }
    said = ', '.join(name for _, name in frames)
    if not values <= {'', '0', '1', '0.0', '1.0'} or not starts:
      raise ValueError(
        f'{file} has times in frames ({said}); expected seconds, in columns '
        'start and end.'
      )
    log.warning(
      '%s: every part begins with the first frame; the videos are read whole, '
      'without %s',
      *(file, said),
    )
  return found


@functools.lru_cache(65536)
def group_of(cell: str | None, column: str | None) -> Group | None:
  """Returns the group in a cell of its column; None if it is unknown."""
  cell = (cell or '').strip()
  return None if cell.lower() in UNKNOWN else Group(column or '', cell)


def choose_group(
  file: str | os.PathLike, fields: list[Field], names: list[str], wanted: str
) -> str | None:
  """Returns the column of videos that stay together: the `wanted` one.

  Without one it is the first of `columns.GROUP_COLUMNS` in which groups have
  several videos, or a later one whose groups are made of whole groups of it.
  """
  if wanted == 'none':
    return None
  if wanted:
    name = columns.column_name(wanted)
    if name not in names:
      text = '%s has no column %s for groups; it has %s'
      log.warning(text, file, wanted, ', '.join(names))
    return name if name in names else None
  known = {
    name: [group_of(field.get(name), name) for field in fields]
    for name in columns.GROUP_COLUMNS
    if name in names
  }
  found = {
    name: cells
    for name, cells in known.items()
    if 1 < len({*cells} - {None}) < len(cells) - cells.count(None)
  }
  if not found:  # It may divide the videos of all lists together.
    return next(iter(known), None)
  chosen = next(iter(found))
  for name, cells in found.items():
    pairs = set(zip(found[chosen], cells, strict=True))
    fewer = COARSE <= len({*cells}) < len({*found[chosen]}) == len(pairs)
    if fewer and not chosen.startswith('group'):
      chosen = name
  if others := [name for name in found if name != chosen]:
    log.info(
      '%s: videos of one %s stay together; not regarded: %s '
      '(--config.data.group=NAME names another column)',
      *(file, chosen, ', '.join(others)),
    )
  return chosen
