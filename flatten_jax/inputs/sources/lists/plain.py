# SPDX-License-Identifier: Apache-2.0
"""Reads lists without a header: forms of lines, and how to choose one."""

from collections.abc import Callable, Iterator
import logging
import os
import re

from flatten_jax.inputs.sources.lists import columns
from flatten_jax.inputs.sources.lists.columns import LABEL_COLUMNS, PATH_COLUMNS
from flatten_jax.inputs.sources.rows import (
  VIDEO_SUFFIXES,
  Row,
  has_video_suffix,
  is_number,
  known_label,
)

log = logging.getLogger('flatten_jax')

Numbered = list[tuple[int, str]]  # Lines and their numbers.
SEPARATORS = ('::', '\t', ',', ';', '|', ' ')
SUFFIX = '|'.join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
FILE = rf'(?P<path>.+?(?:{SUFFIX})["\']?)'
NUMBER = r'(?P<number>\d+)'
LABEL = r'(?P<label>CELL)'
# Forms of a line, the most specific first. GAP is the separator with blanks
# around it, CELL is text without it, or quoted. Greedy paths split from the
# right. The last ones are taken only if more of their files exist.
FORMS = (
  rf'(?P<index>\d+)GAP{FILE}GAP{LABEL}',
  rf'{FILE}GAP(?P<num_frames>\d+)GAP(?P<label>-?\d+)',
  rf'{FILE}GAP(?P<num_frames>\d+)GAP{LABEL}',
  rf'{FILE}GAP{LABEL}GAP{NUMBER}',
  rf'{FILE}GAP(?P<label>REST)',
  rf'(?P<label>WORD)GAP{FILE}',
  rf'(?P<path>.+)GAP(?P<num_frames>\d+)GAP{LABEL}',
  rf'(?P<path>.+)GAP(?P<skip>\d+)GAP(?P<num_frames>\d+)GAP{LABEL}',
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
    # Some lines may be damaged.
    if len(rows) < 0.9 * len(sample) or not numbers_agree(pattern, lines):
      return (-1.0,)
    return (
      sum(exists(row.id) for row in rows),
      sum(has_video_suffix(row.id) for row in rows),
      sum(is_number(row.label or '') for row in rows),
    )

  best = max(patterns(), key=credit)  # The first of equals.
  rows = [read_line(best, line) for line in lines]
  first = rows[0] or Row(*re.split(r'\s*[,;|\t]\s*|\s+', lines[0], maxsplit=1))
  if looks_like_header(first, rows[1:], exists):
    log.warning('%s: %r is taken for a header', file, lines[0])
    rows, numbered = rows[1:], numbered[1:]
  if None in rows:
    number, line = numbered[rows.index(None)]
    raise ValueError(f'{file}, line {number} differs from the others: {line!r}')
  if all(re.search(r'[,;|\t]', row.id) and not exists(row.id) for row in rows):
    raise unknown_columns(file, *numbered[0])
  labels = {row.label for row in rows} - {None}
  log.info(
    'Read %s as %s; %d videos, %d classes',
    *(file, ', '.join(k for k in best.groupindex if labels or k != 'label')),
    *(len(rows), len(labels)),
  )
  return rows


def patterns() -> Iterator[re.Pattern]:
  """Yields every form with every separator."""
  for form in FORMS:
    for separator in SEPARATORS:
      sign, blank = re.escape(separator), separator == ' '
      if blank and ('WORD' in form or 'index' in form):
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
    num_frames=int(fields['num_frames']) if 'num_frames' in fields else None,
    skip=int(fields.get('skip') or 0),
  )


def numbers_agree(pattern: re.Pattern, lines: list[str]) -> bool:
  """Checks that numbers count the lines, as in pandas, or go with labels."""
  if not {'index', 'number'} & pattern.groupindex.keys():
    return True
  matches = list(filter(None, map(pattern.fullmatch, lines)))
  if 'index' in pattern.groupindex:
    indices = [int(match['index']) for match in matches]
    return indices == list(range(indices[0], indices[0] + len(lines)))
  pairs = {(match['label'], match['number']) for match in matches}
  return all(len({pair[i] for pair in pairs}) == len(pairs) for i in (0, 1))


def looks_like_header(
  first: Row, rest: list[Row | None], exists: Callable[[str], bool]
) -> bool:
  """Checks whether the first line is unlike the others, as a header is."""
  rest = [row for row in rest if row]
  if not rest or exists(first.id) or has_video_suffix(first.id):
    return False
  known = columns.column_name(first.id) in PATH_COLUMNS
  if not first.label:
    return known
  if known and columns.column_name(first.label) in LABEL_COLUMNS:
    return True
  sample = rest[:: len(rest) // 64 + 1]
  found = sum(has_video_suffix(row.id) or exists(row.id) for row in sample)
  labels = {row.label for row in rest}
  numbers = all(is_number(label or '-1') for label in labels)
  return not is_number(first.label) and (
    first.label not in labels and (numbers or found > 0.5 * len(sample))
  )


AFTER = re.compile(
  rf'.*(?:{SUFFIX})["\']?\s*(?P<sign>[\s,;|])(?P<rest>.+)', re.IGNORECASE
)
TIME = re.compile(r'[\d:]*\d[.:]\d+')


def refuse_other_columns(file: str | os.PathLike, numbered: Numbered) -> None:
  """Raises ValueError if a path is followed by more than count and label."""
  counts: dict[int, str] = {}
  pairs: dict[tuple[str, str], tuple[int, str]] = {}
  for number, line in numbered:
    if line.lstrip().startswith((',', ';', '|')):
      raise ValueError(f'{file}, line {number} has no path: {line!r}')
    if not (match := AFTER.fullmatch(line.strip())):
      continue
    blank = match['sign'] == ' '
    rest = match['rest'].strip()
    cells = rest.split() if blank else columns.split_row(rest, match['sign'])
    cells = [cell for cell in cells if cell]
    whole = [is_number(cell) for cell in cells]
    if all(whole):
      counts.setdefault(len(cells), line.strip())
      continue
    told = len(cells) < 2 or not any(map(TIME.fullmatch, cells))
    if blank:
      told = told and (len(cells) < 3 or not all(whole[-2:]))
    elif len(cells) == 2 and whole[1]:
      pairs.setdefault((cells[0], cells[1]), (number, line))
    else:
      told = told and (len(cells) < 2 or (len(cells) == 2 and whole[0]))
    if not told:
      raise unknown_columns(file, number, line)
  if any(len({p[i] for p in pairs}) < len(pairs) for i in (0, 1)):
    raise unknown_columns(file, *next(iter(pairs.values())))
  if len(counts) > 1 or max(counts, default=1) > 2:
    raise ValueError(
      f'{file} has videos with several labels, like {counts[max(counts)]!r}; '
      'expected one label a video, or data.multi_label=True.'
    )


def unknown_columns(
  file: str | os.PathLike, number: int, line: str
) -> ValueError:
  """Returns the error of a line with more columns than path and label."""
  return ValueError(
    f'{file}, line {number} has columns that cannot be told: '
    f'{line.strip()[:200]!r}. Name them in a first line, like path,label,start,'
    'end; or put a label with a separator into quotes.'
  )


def unquote(text: str) -> str:
  """Removes blanks and one pair of quotes around a text."""
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'':
    return text[1:-1].replace(text[0] * 2, text[0]).strip()
  return text
