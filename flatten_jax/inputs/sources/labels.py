# SPDX-License-Identifier: Apache-2.0
"""Maps the labels of lists, numbers or names, to class indices with names.

Splits are matched by name, never by position: published lists number the same
classes in different orders.
"""

from collections.abc import Iterable, Mapping, Sequence
import functools
import logging
import re

from flatten_jax.inputs.sources import class_names
from flatten_jax.inputs.sources.rows import Row, is_number, look

log = logging.getLogger('flatten_jax')


def number_classes(
  splits: dict[str, list[Row]],
  names_file: str = '',
  numbered: dict[int, str] | None = None,
) -> tuple[dict[str, list[tuple[int, ...] | None]], tuple[str, ...]]:
  """Returns the class indices of every row, and the names of the classes.

  A row has one index, or those of all its `labels`, in order; None if it has no
  label. Without class names by number, `numbered` or in a file, the classes are
  those of the training rows, in the order of their numbers or names.
  """
  train = splits.get('train', [])
  for rows in splits.values():
    refuse_other_encodings(_found(rows))
  refuse_unlabelled(train)
  if names_file:
    numbered = class_names.read(names_file)
  if numbered:
    names = tuple(numbered[number] for number in sorted(numbered))
  else:
    names = sorted_names(_found(train))
    doubt(names, sum(map(len, splits.values())))
  refuse_other_encodings(names)
  if len(names) < 2:
    only = f'only one class, {names[0]!r}' if names else 'no class'
    raise ValueError(f'There is {only}; expected more.')
  by_name = index_by_name(names, explicit=bool(numbered))
  by_number = {number: i for i, number in enumerate(sorted(numbered or {}))}
  # UCF101 has numbers in its training lists and only folders in its test lists.
  by_folder = {}
  if all(row.label for row in train):
    by_folder = index_by_folder(train, by_name)
  indices = {}
  for split, rows in splits.items():
    found = _found(rows)
    key, known = canonical, by_name
    if numbered and all_numbers(found):
      key, known = int, by_number
    elif names_file and not {*map(canonical, found)} & by_name.keys():
      known = by_code(names) or by_name
    unknown = sorted(label for label in found if key(label) not in known)
    refuse_unknown(split, unknown, names, [*known])
    index = {label: known[key(label)] for label in found}
    indices[split] = [_of_row(row, index, by_folder) for row in rows]
    lost = indices[split].count(None)
    if told := sum(not _is_labelled(row) for row in rows) - lost:
      log.info('%d videos of %s are labelled by their folder', told, split)
    if lost:
      text = '%d of %d videos of %s have no label, and no score'
      log.warning(text, lost, len(rows), split)
  used = {i for found in indices.get('train', ()) for i in found or ()}
  unused = sorted(set(range(len(names))) - used)
  if train and unused:
    by_line = names_file and 0 in by_number
    shifted = by_line and all_numbers(_found(train))
    log.warning(
      '%d of %d classes have no training video: %s%s',
      *(len(unused), len(names), ', '.join(names[i] for i in unused[:5])),
      f'. If {names[0]!r} is a header of {names_file}, remove it: it shifts '
      'the names by one'
      if shifted and unused == [len(names) - 1]
      else '',
    )
  return indices, names


def as_several(splits: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
  """Returns rows with `labels`, also where these are one label.

  A split whose cells are all empty is one without published labels.
  """
  found = {}
  for split, rows in splits.items():
    none = not any(row.classes for row in rows)
    found[split] = [
      row._replace(labels=None if none else row.labels)
      if row.label is None
      else row._replace(label=None, labels=row.classes)
      for row in rows
    ]
  return found


def _found(rows: Iterable[Row]) -> set[str]:
  return {label for row in rows for label in row.classes}


def _is_labelled(row: Row) -> bool:
  return bool(row.label) or row.labels is not None


def _of_row(
  row: Row, index: Mapping[str, int], by_folder: Mapping[str, int]
) -> tuple[int, ...] | None:
  """Returns the indices of a row's labels, or of its folder; None: unknown."""
  if _is_labelled(row):
    return tuple(sorted({index[label] for label in row.classes}))
  found = by_folder.get(folder_of(row))
  return None if found is None else (found,)


def by_code(names: Sequence[str]) -> dict[str, int]:
  """Maps first words to indices: 'c092' of Charades' 'c092 Sitting down'.

  Empty if they are not different.
  """
  codes = {name.split()[0]: i for i, name in enumerate(names)}
  return codes if len(codes) == len(names) else {}


def refuse_unlabelled(rows: Sequence[Row]) -> None:
  """Raises ValueError if training videos have no label."""
  unlabelled = [row.id for row in rows if not _is_labelled(row)]
  if unlabelled:
    several = any(row.labels is not None for row in rows)
    empty = (
      ' With data.multi_label, an empty cell is a video without any of the '
      'classes; -1 and nan are unknown labels.'
    )
    raise ValueError(
      f'{len(unlabelled)} of {len(rows)} training videos have no label, like '
      f'{unlabelled[0]}. Expected class folders, lists of `path label`, or '
      f'lists with a column label.{empty * several}'
    )


def refuse_unknown(
  split: str, unknown: Sequence[str], names: Sequence[str], known: Sequence
) -> None:
  """Raises ValueError for labels of a split that training does not have."""
  looks = {look_of(name): name for name in names}
  for label in unknown:
    if known_name := looks.get(look_of(label)):
      raise ValueError(
        f'The {split} split has the class {label!a}, and training '
        f'{known_name!a}, which looks alike. Write them the same way.'
      )
  if unknown:
    raise ValueError(
      f'The {split} split has {len(unknown)} classes that are not among the '
      f'{len(names)} known ones: {", ".join(unknown[:5])}. Known are '
      f'{", ".join(map(str, known[:5]))}{", ..." * (len(known) > 5)}.'
    )


def doubt(names: Sequence[str], num_videos: int) -> None:
  """Logs if labels are hardly classes."""
  if len(names) == num_videos > 2:
    log.warning(
      'Each video has a class of its own, like %s and %s', names[0], names[1]
    )
  if not all_numbers(names) and any(map(is_number, names)):
    log.warning(
      'Some labels are numbers and others names: %s', ', '.join(names[:8])
    )


def index_by_folder(
  rows: Sequence[Row], by_name: Mapping[str, int]
) -> dict[str, int]:
  """Maps folders named like classes, or of one label each, to indices."""
  pairs = {(folder_of(row), canonical(row.label)) for row in rows}
  folders = dict(pairs)
  if not len(folders) == len({*folders.values()}) == len(pairs):
    folders = {}  # They are not classes.
  known = {f: by_name[x] for f, x in folders.items() if f and x in by_name}
  return known | by_name


def refuse_other_encodings(names: Iterable[str]) -> None:
  """Raises ValueError for a class name that is not UTF-8, as a path may be."""
  for name in sorted(names):
    try:
      name.encode()
    except UnicodeEncodeError:
      raise ValueError(
        f'The class name {name!r} is not UTF-8: save the list as UTF-8, or '
        'rename the folder.'
      ) from None


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
  """Sorts distinct class names; numbers are sorted as numbers."""
  names = set(names)
  return tuple(sorted(names, key=int if all_numbers(names) else None))


def index_by_name(
  names: Sequence[str], explicit: bool = False
) -> dict[str, int]:
  """Maps canonical names to indices; refuses names that look alike.

  `explicit` names, from a file, may differ in case or hyphens.
  """
  lookup: dict[str, int] = {}
  looks: dict[str, str] = {}
  for i, name in enumerate(names):
    other = looks.setdefault(look_of(name), name)
    if lookup.setdefault(canonical(name), i) != i or (
      other != name and not explicit
    ):
      raise ValueError(
        f'The classes {other!a} and {name!a} differ in nothing but letter '
        'case, Unicode form, "_", "-", blanks, quotes or zeros. Write them the '
        'same way; if they are two classes, name both in a file '
        '(data.class_names), or more distinctly.'
      )
  return lookup


def all_numbers(labels: Iterable[str]) -> bool:
  """Checks whether all labels are numbers."""
  return all(is_number(label) for label in labels)


@functools.lru_cache(4096)
def canonical(name: str) -> str:
  """Returns the same text for names that differ in blanks, '_' or quotes."""
  return name.strip().strip('"').replace('_', ' ').strip()


def look_of(name: str) -> str:
  """Returns the same text for names that a reader would take for one."""
  name = ' '.join(re.sub('[_-]', ' ', look(name.strip().strip('"'))).split())
  return re.sub(r'^0+(?=\d+$)', '', name)


def folder_of(row: Row) -> str:
  """Returns the folder of a video, which may be named like its class."""
  return canonical(row.id.replace('\\', '/').rpartition('/')[0].split('/')[-1])
