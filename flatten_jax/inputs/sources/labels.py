# SPDX-License-Identifier: Apache-2.0
"""Maps the labels of lists, numbers or names, to class indices with names.

Splits are matched by name, never by position: published lists number the same
classes in different orders.
"""

from collections.abc import Iterable, Sequence
import json
import logging
import os
import re

from flatten_jax.inputs.sources import lists
from flatten_jax.inputs.sources.csv_fields import LABEL_COLUMNS
from flatten_jax.inputs.sources.lists import Row

log = logging.getLogger('flatten_jax')


def number_classes(
  splits: dict[str, list[Row]],
  names_file: str = '',
  numbered: dict[int, str] | None = None,
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
  """Returns the class index of every row, and the names of the classes.

  Rows without a label have index -1. Without class names by number, `numbered`
  or in a file, the classes are those of the training rows, in the order of
  their numbers or names.
  """
  for rows in splits.values():
    refuse_other_encodings({row.label for row in rows if row.label})
  unlabelled = sum(row.label is None for row in splits['train'])
  if unlabelled:
    raise ValueError(
      f'{unlabelled} of {len(splits["train"])} training videos have no label. '
      'Expected class folders, lists of `path label`, or lists with a column '
      f'{", ".join(LABEL_COLUMNS)}.'
    )
  if names_file:
    numbered = read_class_names(names_file)
  if numbered:
    names = tuple(numbered[number] for number in sorted(numbered))
  else:
    names = sorted_names(row.label for row in splits['train'])
  refuse_other_encodings(names)
  if len(names) < 2:
    raise ValueError(f'There is only one class, {names[0]!r}; expected more.')
  by_name = index_by_name(names)
  by_number = {number: i for i, number in enumerate(sorted(numbered or {}))}
  indices = {}
  for split, rows in splits.items():
    found = {row.label for row in rows if row.label}
    if numbered and all_numbers(found):
      key, known = int, by_number
    else:
      key, known = canonical, by_name
    unknown = sorted(label for label in found if key(label) not in known)
    if unknown:
      raise ValueError(
        f'The {split} split has {len(unknown)} classes that are not among the '
        f'{len(names)} known ones: {", ".join(unknown[:5])}. Known are '
        f'{", ".join(map(str, [*known][:5]))}{", ..." * (len(known) > 5)}.'
      )
    indices[split] = [
      known[key(row.label)] if row.label else by_name.get(folder_of(row), -1)
      for row in rows
    ]
  unused = sorted(set(range(len(names))) - set(indices['train']))
  if unused:
    log.warning(
      '%d of %d classes have no training video: %s',
      *(len(unused), len(names), ', '.join(names[i] for i in unused[:5])),
    )
  return indices, names


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


def index_by_name(names: Sequence[str]) -> dict[str, int]:
  """Maps canonical names to indices; refuses names that then are the same."""
  lookup = {canonical(name): i for i, name in enumerate(names)}
  if len(lookup) < len(names):
    raise ValueError('Two classes differ in nothing but "_", blanks or quotes.')
  return lookup


def read_class_names(file: str | os.PathLike) -> dict[int, str]:
  """Reads class names by number, in any published form.

  Text: a name a line (numbered from 0), `number name`, `name<tab>number` or the
  same with commas; json: a list of names or {name: number}.
  """
  text = lists.read_text(file)
  if os.fspath(file).lower().endswith('.json'):
    content = json.loads(text)
    pairs = enumerate(content)
    if isinstance(content, dict):
      pairs = ((int(number), name) for name, number in content.items())
  else:
    lines = [line.strip() for line in text.split('\n') if line.strip()]
    pairs = [name_on_line(line) for line in lines]
    if None in pairs:  # If one name has no number, none has.
      pairs = enumerate(lines)
  pairs = [(number, name.strip().strip('"')) for number, name in pairs]
  names = dict(pairs)
  if not names or len(set(names.values())) < len(pairs):
    raise ValueError(f'{file} holds no class names, or the same one twice.')
  return names


def name_on_line(line: str) -> tuple[int, str] | None:
  """Reads number and name from one line; None if it has no number."""
  if match := re.fullmatch(r'(\d+)[\s,:]+(.+)', line):
    return int(match[1]), match[2]
  match = re.fullmatch(r'(.+?)\s*[\t,]\s*(\d+)', line)
  return (int(match[2]), match[1]) if match else None


def all_numbers(labels: Iterable[str]) -> bool:
  """Checks whether all labels are numbers."""
  return all(lists.is_number(label) for label in labels)


def canonical(name: str) -> str:
  """Returns the same text for names that differ in blanks, '_' or quotes."""
  return name.strip().strip('"').replace('_', ' ').strip()


def folder_of(row: Row) -> str:
  """Returns the folder of a video, which may be named like its class."""
  return canonical(row.id.replace('\\', '/').rpartition('/')[0].split('/')[-1])
