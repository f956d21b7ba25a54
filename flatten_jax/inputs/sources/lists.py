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

from collections.abc import Callable, Iterator
import logging
import os
import re

from flatten_jax.inputs.sources import csv_fields, tables
from flatten_jax.inputs.sources.csv_fields import LABEL_COLUMNS, PATH_COLUMNS
from flatten_jax.inputs.sources.rows import (
  VIDEO_SUFFIXES,
  Row,
  has_video_suffix,
  is_number,
  known_label,
)
from flatten_jax.inputs.sources.text_files import read_text

log = logging.getLogger('flatten_jax')

Numbered = list[tuple[int, str]]  # Lines and their numbers.


def read_list(
  file: str | os.PathLike,
  exists: Callable[[str], bool] = lambda path: False,
) -> list[Row]:
  """Reads the rows of a list; their `path` is left empty.

  `exists` checks whether a path, as written in the list, leads to a video.
  """
  text = read_text(file)
  if not text.strip():
    raise ValueError(f'{file} is empty: expected lines like `path label`.')
  if re.match(r'\s*(\[\s*\{|\{\s*")', text):
    fields = tables.read_json(file, text)
    if fields is not None:
      numbered = list(enumerate(fields, 1))
      return tables.read_table(file, numbered, exists)
  lines = without_comments(file, text)
  first = lines[0][1].lstrip('# ')
  second = lines[min(1, len(lines) - 1)][1]
  for separator in ('\t', ',', ';', '|', ' '):
    names = csv_fields.split_row(first, separator)
    if tables.is_header(names, csv_fields.split_row(second, separator)):
      rest = [
        (i, csv_fields.split_row(line, separator)) for i, line in lines[1:]
      ]
      cells = tables.read_cells(file, names, rest)
      return tables.read_table(file, cells, exists)
  rows = read_lines(file, lines, exists)
  log.info(
    'Read %s as %s; %d videos, %d classes',
    *(file, 'path, label' if rows[0].label else 'path', len(rows)),
    len({row.label for row in rows} - {None}),
  )
  return rows


def without_comments(file: str | os.PathLike, text: str) -> Numbered:
  """Returns all lines but empty ones, and those that begin with '# '."""
  lines = [(i, s) for i, s in enumerate(text.split('\n'), 1) if s.strip()]
  if re.fullmatch(r'"?sep=."?', lines[0][1].strip()):  # Excel's.
    lines = lines[1:]

  def is_comment(line: str) -> bool:
    if not re.match(r'\s*#(\s|#|$)', line):
      return False
    names = map(csv_fields.column_name, re.split(r'[\s,;|]+', line.strip('# ')))
    return not {*names} <= csv_fields.KNOWN  # A header may begin with '#'.

  kept = [(i, line) for i, line in lines if not is_comment(line)]
  if not kept:
    raise ValueError(f'{file} holds comments only: expected `path label`.')
  if len(kept) < len(lines):
    log.info('%s: passed over %d comments', file, len(lines) - len(kept))
  return kept


# --- Without a header ---------------------------------------------------------


SEPARATORS = ('::', '\t', ',', ';', '|', ' ')
SUFFIX = '|'.join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
FILE = rf'(?P<path>.+?(?:{SUFFIX})["\']?)'
NUMBER = r'(?P<number>\d+)'
LABEL = r'(?P<label>CELL)'
# Forms of a line, the most specific first. GAP is the separator with blanks
# around it, CELL is text without it, or quoted. Greedy paths split from the
# right. The last ones are taken only if more of their files exist.
FORMS = (
  rf'{FILE}GAP(?P<count>\d+)GAP(?P<label>-?\d+)',
  rf'{FILE}GAP(?P<count>\d+)GAP{LABEL}',
  rf'{FILE}GAP{LABEL}GAP{NUMBER}',
  rf'{FILE}GAP(?P<label>REST)',
  rf'(?P<label>WORD)GAP{FILE}',
  rf'(?P<path>.+)GAP(?P<count>\d+)GAP{LABEL}',
  rf'(?P<path>.+)GAP(?P<skip>\d+)GAP(?P<count>\d+)GAP{LABEL}',
  rf'(?P<path>.+)GAP{LABEL}',
  r'(?P<path>.+?)(?P<label>)',
  rf'{LABEL}GAP(?P<path>.+)',
)


def read_lines(
  file: str | os.PathLike,
  numbered: Numbered,
  exists: Callable[[str], bool],
) -> list[Row]:
  """Reads all lines in the form that fits best."""
  lines = [line.strip() for _, line in numbered]
  refuse_other_columns(file, numbered)
  sample = lines[:: len(lines) // 64 + 1]

  def credit(pattern: re.Pattern) -> tuple[float, ...]:
    rows = list(filter(None, (read_line(pattern, line) for line in sample)))
    if len(rows) < 0.9 * len(sample):  # Some lines may be damaged.
      return (-1.0,)
    if 'number' in pattern.groupindex and not names_numbers(pattern, lines):
      return (-1.0,)
    return (
      sum(exists(row.id) for row in rows),
      sum(has_video_suffix(row.id) for row in rows),
      sum(is_number(row.label or '') for row in rows),
    )

  best = max(patterns(), key=credit)  # The first of equals.
  rows = [read_line(best, line) for line in lines]
  if rows[0] and looks_like_header(rows[0], rows[1:], exists):
    log.warning('%s: %r is taken for a header', file, lines[0])
    rows, numbered = rows[1:], numbered[1:]
  if None in rows:
    number, line = numbered[rows.index(None)]
    raise ValueError(f'{file}, line {number} differs from the others: {line!r}')
  return rows


def patterns() -> Iterator[re.Pattern]:
  """Yields every form with every separator."""
  for form in FORMS:
    for separator in SEPARATORS:
      sign, blank = re.escape(separator), separator == ' '
      if blank and 'WORD' in form:
        continue  # 'my videos/a b.mp4' is a path.
      cell = r'\S+' if blank else rf'(?:(?!{sign}).)+'
      replaced = {
        'GAP': r'\s+' if blank else rf'\s*{sign}\s*',
        'WORD': rf'(?:(?!{sign})[^/\\])+',
        'REST': r'.+' if blank else 'CELL',
        'CELL': rf'(?:"(?:[^"]|"")*"|{cell})',
      }
      pattern = form
      for name, text in replaced.items():
        pattern = pattern.replace(name, text)
      end = '' if blank else rf'(?:\s*{sign})*'  # Empty last cells.
      yield re.compile(pattern + end, re.IGNORECASE)


def read_line(pattern: re.Pattern, line: str) -> Row | None:
  """Reads one line; None if it has another form."""
  match = pattern.fullmatch(line)
  if not match:
    return None
  fields = match.groupdict()
  return Row(
    unquote(fields['path']),
    known_label(unquote(fields['label'])),
    num_frames=int(fields['count']) if 'count' in fields else None,
    skip=int(fields.get('skip') or 0),
  )


def names_numbers(pattern: re.Pattern, lines: list[str]) -> bool:
  """Checks whether each label has one number, and each number one label."""
  matches = filter(None, map(pattern.fullmatch, lines))
  pairs = {(match['label'], match['number']) for match in matches}
  one, other = ({pair[i] for pair in pairs} for i in (0, 1))
  return len(one) == len(other) == len(pairs)


def looks_like_header(
  first: Row, rest: list[Row | None], exists: Callable[[str], bool]
) -> bool:
  """Checks whether the first line is unlike the others, as a header is."""
  rest = [row for row in rest if row]
  if not rest or exists(first.id) or has_video_suffix(first.id):
    return False
  sample = rest[:: len(rest) // 64 + 1]
  found = [row for row in sample if has_video_suffix(row.id) or exists(row.id)]
  known = csv_fields.column_name(first.id) in PATH_COLUMNS
  if not first.label:
    return known
  if csv_fields.column_name(first.label) in LABEL_COLUMNS and known:
    return True
  labels = {row.label for row in rest}
  numbers = labels and all(is_number(label or '-1') for label in labels)
  return first.label not in labels and (
    len(found) > 0.9 * len(sample)
    or bool(numbers and not is_number(first.label))
  )


NUMBERS = re.compile(
  rf'(?:{SUFFIX})["\']?((?:[\s,;|]+\d+)+)[\s,;|]*$', re.IGNORECASE
)
CELLS = re.compile(rf'(?:{SUFFIX})["\']?\s*([,;|\t])(.*)$', re.IGNORECASE)
TIMES = re.compile(rf'(?:{SUFFIX})["\']?\s+[\d:]*\d\.\d+\s+\S', re.IGNORECASE)


def refuse_other_columns(file: str | os.PathLike, numbered: Numbered) -> None:
  """Raises ValueError if a path is followed by more than count and label."""
  counts = {}
  for number, line in numbered:
    if match := NUMBERS.search(line):
      counts.setdefault(len(re.findall(r'\d+', match[1])), line.strip())
      continue
    match = CELLS.search(line)
    cells = csv_fields.split_row(match[2], match[1]) if match else []
    cells = [cell for cell in cells if cell]
    told = len(cells) < 2 or (len(cells) == 2 and any(map(is_number, cells)))
    if not told or TIMES.search(line):
      raise ValueError(
        f'{file}, line {number} has columns that cannot be told: '
        f'{line.strip()!r}. Name them in a first line, like path,label,start,'
        'end; or put a label with a separator into quotes.'
      )
  if len(counts) > 1 or max(counts, default=1) > 2:
    raise ValueError(
      f'{file} has videos with several labels, like {counts[max(counts)]!r}; '
      'expected one label a video.'
    )


def unquote(text: str) -> str:
  """Removes blanks and one pair of quotes around a text."""
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'':
    return text[1:-1].replace(text[0] * 2, text[0]).strip()
  return text
