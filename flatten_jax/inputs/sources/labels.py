# SPDX-License-Identifier: Apache-2.0
"""Maps the labels of lists, numbers or names, to class indices with names.

Splits are matched by name, never by position: published lists number the same
classes in different orders.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import logging
import os
import re

from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.rows import Row, is_number, look

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
    first = next(row.id for row in splits['train'] if row.label is None)
    raise ValueError(
      f'{unlabelled} of {len(splits["train"])} training videos have no label, '
      f'like {first}. Expected class folders, lists of `path label`, or lists '
      'with a column label.'
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
  if not numbered and len(names) == sum(map(len, splits.values())) > 2:
    log.warning(
      'Each video has a class of its own, like %s and %s',
      *(splits['train'][0].label, splits['train'][1].label),
    )
  if not all_numbers(names) and any(map(is_number, names)):
    log.warning(
      'Some labels are numbers and others names: %s', ', '.join(names[:8])
    )
  by_name = index_by_name(names, explicit=bool(names_file))
  looks = {look_of(name): name for name in names}
  by_number = {number: i for i, number in enumerate(sorted(numbered or {}))}
  # UCF101 has numbers in its training lists and only folders in its test lists.
  by_folder = index_by_folder(splits['train'], by_name)
  indices = {}
  for split, rows in splits.items():
    found = {row.label for row in rows if row.label}
    if numbered and all_numbers(found):
      key, known = int, by_number
    else:
      key, known = canonical, by_name
    unknown = sorted(label for label in found if key(label) not in known)
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
        f'{", ".join(map(str, [*known][:5]))}{", ..." * (len(known) > 5)}.'
      )
    indices[split] = [
      known[key(row.label)] if row.label else by_folder.get(folder_of(row), -1)
      for row in rows
    ]
    guessed = sum(
      not row.label and i >= 0
      for row, i in zip(rows, indices[split], strict=True)
    )
    if guessed:
      log.info('%d videos of %s are labelled by their folder', guessed, split)
    if lost := indices[split].count(-1):
      log.warning(
        '%d of %d videos of %s have no label, and no score',
        *(lost, len(rows), split),
      )
  unused = sorted(set(range(len(names))) - set(indices['train']))
  if unused:
    log.warning(
      '%d of %d classes have no training video: %s',
      *(len(unused), len(names), ', '.join(names[i] for i in unused[:5])),
    )
  return indices, names


def index_by_folder(
  rows: Sequence[Row], by_name: Mapping[str, int]
) -> dict[str, int]:
  """Maps folders named like classes, or with one label only, to indices."""
  found: dict[str, set[str]] = {}
  for row in rows:
    found.setdefault(folder_of(row), set()).add(canonical(row.label))
  single = {f: label for f, (label, *more) in found.items() if f and not more}
  if len({*single.values()}) < len(single):
    single = {}  # The folders are not classes.
  known = {f: by_name[label] for f, label in single.items() if label in by_name}
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


def read_class_names(file: str | os.PathLike) -> dict[int, str]:
  """Reads class names by number, in any published form.

  Text: a name a line (numbered from 0), `number name`, `name<tab>number` or the
  same with commas, perhaps under a header; json: a list of names, {name:
  number} or {number: name}.
  """
  text = read_text(file)
  if os.fspath(file).lower().endswith('.json'):
    content = json.loads(text)
    pairs = list(enumerate(content))
    if isinstance(content, dict):
      pairs = [(number, name) for name, number in content.items()]
      if all(is_number(str(name)) for _, name in pairs):
        pairs = [(name, number) for number, name in pairs]
    if not all(
      is_number(str(number)) and isinstance(name, str) for number, name in pairs
    ):
      raise ValueError(
        f'{file} is JSON of an unknown form: expected ["wave", "clap"] or '
        '{"wave": 0, "clap": 1}.'
      )
  else:
    lines = [line.strip() for line in text.split('\n') if line.strip()]
    pairs = numbered_lines(lines) or list(enumerate(lines))
  pairs = [(int(i), name.strip().strip('"')) for i, name in pairs]
  names = dict(pairs)
  if not names or len(set(names.values())) < len(pairs):
    raise ValueError(
      f'{file} holds no class names, or the same name or number twice.'
    )
  return names


# Number and name on a line, or name and number, which is sure after a tab.
NUMBERED = (
  r'(?P<number>\d+)[\s,:;]+(?P<name>.+)',
  r'(?P<name>.+?)\s*[\t,;]\s*"?(?P<number>\d+)"?',
  r'(?P<name>.+?) +(?P<number>\d+)',
)


def numbered_lines(lines: list[str]) -> list[tuple[str, str]]:
  """Reads numbers and names, below a header or not; [] if there are none."""
  for pattern in NUMBERED:
    matches = [re.fullmatch(pattern, line) for line in lines]
    if len(matches) > 2 and not matches[0] and None not in matches[1:]:
      matches = matches[1:]
    if not matches or None in matches:
      continue
    pairs = [(match['number'], match['name']) for match in matches]
    numbers, names = zip(*pairs, strict=True)
    sure = pattern != NUMBERED[-1]  # 'level 1', 'level 2' are names.
    if sure or len({*numbers}) == len({*names}) == len(pairs):
      return pairs
  return []


def all_numbers(labels: Iterable[str]) -> bool:
  """Checks whether all labels are numbers."""
  return all(is_number(label) for label in labels)


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
