# SPDX-License-Identifier: Apache-2.0
"""From labels in lists, numbers or names, to class indices with names.

Splits are matched by name, never by position: published lists number the same
classes in different orders.
"""

from collections.abc import Iterable
import dataclasses
import json
import logging
import re

from flatten_jax.inputs.sources import lists
from flatten_jax.inputs.sources.lists import Row

log = logging.getLogger('flatten_jax')


def number_classes(
  splits: dict[str, list[Row]],
  names_file: str = '',
  numbered: dict[int, str] | None = None,
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
  """The class index of every row, and the names that the indices stand for.

  Args:
    splits: rows whose labels are all numbers or all names.
    names_file: gives the classes their numbers; see `read_class_names`. Without
      it, the classes are those of the training rows, in the order of their
      numbers or of their names.
    numbered: the names themselves, where they are known already.

  Returns:
    Indices, -1 where a row has no label; class names.

  Raises:
    ValueError: for classes that training does not have, for training rows
      without label, and where there are fewer than two classes.
  """
  splits = {
    split: [known_label(row) for row in rows] for split, rows in splits.items()
  }
  for rows in splits.values():
    refuse_other_encodings({row.label for row in rows if row.label})
  unlabelled = sum(row.label is None for row in splits['train'])
  if unlabelled:
    raise ValueError(
      f'{unlabelled} of {len(splits["train"])} training videos have no label. '
      'Expected class folders, lists of `path label`, or lists with a column '
      f'{", ".join(lists.LABEL_COLUMNS)}.'
    )
  numbered = read_class_names(names_file) if names_file else numbered
  names = class_names(splits, numbered)
  refuse_other_encodings(names)
  if len(names) < 2:
    raise ValueError(f'There is only one class, {names[0]!r}; expected more.')
  lookup = {canonical(name): i for i, name in enumerate(names)}
  if len(lookup) < len(names):
    raise ValueError('Two classes differ in nothing but "_" and blanks.')
  indices = {}
  for split, rows in splits.items():
    if numbered and all_numbers(rows):
      rows = [rename(row, numbered, split) for row in rows]
    refuse_unknown(split, rows, lookup, names)
    indices[split] = [index_of(row, lookup) for row in rows]
  warn_of_unused(indices['train'], names)
  return indices, names


def refuse_other_encodings(names: Iterable[str]) -> None:
  """Names the first class that no file of a run could be written with.

  Paths may hold any bytes, as they lead to files; names are text.
  """
  for name in sorted(names):
    try:
      name.encode()
    except UnicodeEncodeError:
      raise ValueError(
        f'The class name {name!r} is not UTF-8: save the list as UTF-8, or '
        'rename the folder.'
      ) from None


def class_names(
  splits: dict[str, list[Row]], numbered: dict[int, str] | None
) -> tuple[str, ...]:
  """Names in the order of class indices."""
  if numbered:
    return tuple(numbered[number] for number in sorted(numbered))
  labels = {row.label for row in splits['train']}
  by_number = all_numbers(splits['train'])
  return tuple(sorted(labels, key=int if by_number else None))


def read_class_names(file: str) -> dict[int, str]:
  """Class names by number, from any of the published forms.

  Text: a name a line (numbered from 0), `number name`, `name<tab>number`, with
  comma or blanks between; json: a list of names or {name: number}, where the
  names may have extra quotes and the numbers may be strings.
  """
  text = lists.read_text(file)
  if file.lower().endswith('.json'):
    content = json.loads(text)
    pairs = enumerate(content)
    if isinstance(content, dict):
      pairs = ((int(number), name) for name, number in content.items())
  else:
    lines = [line.strip() for line in text.split('\n') if line.strip()]
    pairs = [name_on_line(line) for line in lines]
    if None in pairs:  # Some name has no number: then none has.
      pairs = enumerate(lines)
  names = {number: name.strip().strip('"') for number, name in pairs}
  if not names or len(set(names.values())) < len(names):
    raise ValueError(f'{file} holds no class names, or the same one twice.')
  return names


def name_on_line(line: str) -> tuple[int, str] | None:
  """Number and name on one line; None where there is no number."""
  match = re.fullmatch(r'(\d+)[\s,:]+(.+)', line)
  if match:
    return int(match[1]), match[2]
  match = re.fullmatch(r'(.+?)\s*[\t,]\s*(\d+)', line)
  return (int(match[2]), match[1]) if match else None


def known_label(row: Row) -> Row:
  """The row, with None for labels that say 'unknown'."""
  unknown = row.label in ('', '-1')
  return dataclasses.replace(row, label=None) if unknown else row


def all_numbers(rows: list[Row]) -> bool:
  """Whether all labels that there are, are numbers."""
  return all(lists.is_number(row.label) for row in rows if row.label)


def rename(row: Row, numbered: dict[int, str], split: str) -> Row:
  """The row with a name for its number."""
  if row.label is None:
    return row
  name = numbered.get(int(row.label))
  if name is None:
    raise ValueError(
      f'The {split} split has the label {row.label}; the class names go from '
      f'{min(numbered)} to {max(numbered)}.'
    )
  return dataclasses.replace(row, label=name)


def canonical(name: str) -> str:
  """Equal for names that differ in how they write a blank, or in quotes."""
  return name.strip().strip('"').replace('_', ' ')


def index_of(row: Row, lookup: dict[str, int]) -> int:
  """The class index of a row; where it has no label, its folder may be one."""
  if row.label is not None:
    return lookup[canonical(row.label)]
  folder = row.id.replace('\\', '/').split('/')[-2:-1]
  return lookup.get(canonical(folder[0]), -1) if folder else -1


def refuse_unknown(
  split: str, rows: list[Row], lookup: dict[str, int], names: tuple[str, ...]
) -> None:
  """Names the classes of a split that are not among those of training."""
  unknown = sorted(
    {row.label for row in rows if row.label} - set(names),
    key=str,
  )
  unknown = [name for name in unknown if canonical(name) not in lookup]
  if unknown:
    raise ValueError(
      f'The {split} split has {len(unknown)} classes that are not among the '
      f'{len(names)} known ones: {", ".join(unknown[:5])}. Known are '
      f'{", ".join(names[:5])}{", ..." if len(names) > 5 else ""}.'
    )


def warn_of_unused(indices: list[int], names: tuple[str, ...]) -> None:
  """Says which classes cannot be learned."""
  unused = sorted(set(range(len(names))) - set(indices))
  if unused:
    log.warning(
      '%d of %d classes have no training video: %s',
      len(unused),
      len(names),
      ', '.join(names[i] for i in unused[:5]),
    )
