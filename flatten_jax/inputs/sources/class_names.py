# SPDX-License-Identifier: Apache-2.0
"""Reads files that give numbered classes their names."""

from collections.abc import Mapping
import contextlib
import csv
import itertools
import json
import logging
import os
import re

from flatten_jax.inputs.sources.lists import columns
from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.rows import is_number

log = logging.getLogger('flatten_jax')

# Words of a header; 'stop' and 'start' of lists may be classes.
HEADER = frozenset(
  {*columns.LABEL_COLUMNS, 'id', 'idx', 'index', 'number', 'name', 'names'}
  | {'classes', 'class_names', 'actions', 'categories'}
)
NAMES_FILE = re.compile('(?i)(class|label|categor|name).*(txt|csv|json)$')


def read(file: str | os.PathLike) -> dict[int, str]:
  """Reads class names by number, in any published form.

  Text: a name a line (numbered from 0), `number name`, `name<tab>number` or the
  same with commas, perhaps under a header, that tells other columns of a table;
  json: a list of names, or of their parts (as of Diving48), {name: number} or
  {number: name}.
  """
  text = read_text(file)
  if os.fspath(file).lower().endswith('.json'):
    content = json.loads(text)
    if not isinstance(content, dict):
      content = [
        ' '.join(map(str, name)) if isinstance(name, list) else name
        for name in (content if isinstance(content, list) else [content])
      ]
    pairs = list(enumerate(content))
    if isinstance(content, dict):
      pairs = [(number, name) for name, number in content.items()]
      if all(is_number(str(name)) for _, name in pairs):
        pairs = [(name, number) for number, name in pairs]
    if not all(is_number(str(i)) and isinstance(n, str) for i, n in pairs):
      raise ValueError(
        f'{file} is JSON of an unknown form: expected ["wave", "clap"] or '
        '{"wave": 0, "clap": 1}.'
      )
  else:
    lines = read_lines(file, text)
    pairs = numbered_lines(lines) or list(enumerate(lines))
  pairs = [(int(i), name.strip().strip('"')) for i, name in pairs]
  names = dict(pairs)
  if not names or len(set(names.values())) < len(pairs):
    raise ValueError(
      f'{file} holds no class names, or the same name or number twice.'
    )
  return names


def read_lines(file: str | os.PathLike, text: str) -> list[str]:
  """Returns the lines of a text, without header and a table's quotes."""
  lines = [line.strip() for line in text.split('\n') if line.strip()]
  if re.search(r'(?i)\.[ct]sv(\.gz)?$', os.fspath(file)):
    sign = next((s for s in '\t;' if s in text.split('\n', 1)[0]), ',')
    rows = [next(csv.reader([line], delimiter=sign)) for line in lines]
    lines = [sign.join(row) for row in names_and_numbers(rows)]
  first = re.split(r'[\t,;]', lines[0]) if lines else []
  words = {*map(columns.column_name, first)} - {''}
  if words and words <= HEADER:
    log.info('%s: %r is taken for a header', file, lines[0])
    lines = lines[1:]
  return lines


def names_and_numbers(rows: list[list[str]]) -> list[list[str]]:
  """Returns a table without other columns, if its header names these two."""
  if not rows or max(map(len, rows)) > len(rows[0]):
    return rows
  table = itertools.zip_longest(*rows, fillvalue='')  # Column by column.
  known = [c for c in table if columns.column_name(c[0]) in HEADER]
  numbers = [c for c in known if all(map(is_number, c[1:]))]
  names = [c for c in known if c not in numbers]
  if len(rows[0]) < 3 or not (numbers and names):
    return rows
  log.info('Class names are read from the column %r', names[0][0])
  return [list(row) for row in zip(numbers[0], names[0], strict=True)]


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
    if len(matches) > 2 and not matches[0]:
      matches = matches[1:]
    if not matches or None in matches:
      continue
    pairs = [(match['number'], match['name']) for match in matches]
    sure = pattern != NUMBERED[-1]  # 'level 1', 'level 2' are names.
    if sure or all(len({p[i] for p in pairs}) == len(pairs) for i in (0, 1)):
      return pairs
  return []


def hint(data: Mapping, numbers: set[int]) -> None:
  """Logs a file next to a list that may name its numbered classes."""
  folder = os.path.expanduser(data['train'] or data['root'])
  folder = os.path.dirname(folder) if os.path.isfile(folder) else folder
  names = filter(NAMES_FILE.search, sorted(os.listdir(folder or '.')))
  for file in (os.path.join(folder, name) for name in names):
    with contextlib.suppress(ValueError, OSError):
      if numbers == {*read(file)}:
        log.warning(
          'The classes are numbers. %s may hold their names: then set '
          'data.class_names to it',
          file,
        )
