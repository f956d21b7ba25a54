# SPDX-License-Identifier: Apache-2.0
"""Finds videos that occur twice, by their real files."""

import collections
from collections.abc import Hashable, Iterable, Mapping, Sequence
import functools
import itertools
import logging
import math
import os

from flatten_jax.inputs.sources import grouping, labels
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.video.container import VideoPath
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath

log = logging.getLogger('flatten_jax')


def check(splits: Mapping[str, Sequence[Row]], group: str = '') -> None:
  """Logs videos that occur twice, or of which two splits have a part.

  So are videos of a group that training has too; `group` is `data.group`.

  Raises:
    ValueError: a video has two labels.
  """
  check_groups(splits, group)
  real = real_files(row.path for rows in splits.values() for row in rows)
  by_file: dict[Hashable, list] = collections.defaultdict(list)
  for split, rows in splits.items():
    for row in rows:
      by_file[real[row.path]].append((split, row))
  twice, shared = collections.defaultdict(list), collections.defaultdict(list)
  for same in by_file.values():
    if len(same) == 1:
      continue
    first, labelled = {}, {}
    train = [(row, *part(row)) for split, row in same if split == 'train']
    for split, row in same:
      begin, end = part(row)
      known = first.setdefault((split, begin, end), row)
      if known is not row:
        twice[split].append((known, row))
      if row.classes:
        refuse_two_labels(labelled.setdefault((begin, end), row), row)
      if split != 'train':
        overlap = (r for r, b, e in train if max(b, begin) < min(e, end))
        shared[split] += [
          (row, other) for other in itertools.islice(overlap, 1)
        ]
  for found, text in (
    (twice, '%d videos of %s are there twice, like %s and %s'),
    (shared, '%d videos of %s are in train as well, like %s (%s in train)'),
  ):
    for split, pairs in found.items():
      if pairs:
        log.warning(text, len(pairs), split, *map(name, pairs[0]))


def check_groups(splits: Mapping[str, Sequence[Row]], group: str) -> None:
  """Logs videos of a group, or else of a fold, that training videos have."""
  # Two folders of splits may have files of one name.
  rows = [
    row._replace(id=str(row.path)) for rows in splits.values() for row in rows
  ]
  found = grouping.find(rows, group)
  if not (found and found.given) and len({row.fold for row in rows}) > 1:
    found = grouping.find(grouping.by_fold(rows), group) or found
  if not found:
    return
  names = iter(found.names)
  # The rows first: zip takes no name after the last of them.
  pairs = {s: [*zip(rows, names, strict=False)] for s, rows in splits.items()}
  train = {name: row for row, name in pairs.pop('train', ())}
  for split, members in pairs.items():
    shared = [(row, train[name]) for row, name in members if name in train]
    if shared:
      log.warning(
        '%d of %d videos of %s are of groups that train has as well, like %s '
        '(%s in train): their score may be too high; %s',
        *(len(shared), len(members), split, *(row.id for row in shared[0])),
        found.source,
      )


def refuse_two_labels(one: Row, other: Row) -> None:
  """Raises ValueError if two rows of the same video have different labels."""
  first, second = ({*map(labels.canonical, r.classes)} for r in (one, other))
  if first != second:
    found = ' and '.join(repr(';'.join(row.classes)) for row in (one, other))
    expected = 'one label, or data.multi_label=True'
    if one.labels is not None:
      expected = 'all labels of a video at each of its names'
    raise ValueError(
      f'{name(one)} and {name(other)} are the same video, with the labels '
      f'{found}; expected {expected}.'
    )


def part(row: Row) -> tuple[float, float]:
  """Returns start and end of a row's part, in seconds or frames."""
  if isinstance(row.path, FramesPath) and row.path.claimed is not None:
    return row.path.skip, row.path.skip + row.path.claimed
  return row.start, row.end or math.inf


def name(row: Row) -> str:
  """Returns the path of a video as it is written, and its part."""
  part = f' from {row.start:g} s' if row.start else ''
  part += f' to {row.end:g} s' if row.end else ''
  return row.id + part


def real_files(paths: Iterable[VideoPath]) -> dict[VideoPath, Hashable]:
  """Returns what is the same for paths that lead to the same file.

  Lists each folder once; only files of the same number, like links, need a call
  of their own.
  """

  @functools.cache
  def numbers(folder: str) -> dict[str, int]:
    try:
      entries = list(os.scandir(folder or '.'))
    except OSError:
      return {}
    # A link has another number than its file: -1 is looked up.
    return {e.name: -1 if e.is_symlink() else e.inode() for e in entries}

  alike: dict[Hashable, list[VideoPath]] = collections.defaultdict(list)
  for path in dict.fromkeys(paths):
    number: Hashable = path
    if isinstance(path, str | os.PathLike):
      text = os.fspath(path)
      end = text.rfind(os.sep) + 1
      number = numbers(text[:end]).get(text[end:]) or text
      if number == -1:
        number = (status(path) or (0, text))[1]
    alike[number].append(path)
  return {
    path: number if len(same) == 1 else status(path) or str(path)
    for number, same in alike.items()
    for path in same
  }


def status(path: VideoPath) -> tuple[int, ...]:
  """Returns device and number of a file; empty if it cannot be read."""
  try:
    found = os.stat(path)
  except (OSError, TypeError):  # The latter: a record of a prepared set.
    return ()
  return found.st_dev, found.st_ino
