# SPDX-License-Identifier: Apache-2.0
"""HMDB51's published divisions of a folder of videos into train and test.

They come as `<class>_test_split{1,2,3}.txt` with lines `video.avi <code> `,
where 1 is training, 2 is test and 0 is neither.
"""

import dataclasses
import logging
import os
import re

from flatten_jax.inputs.sources.lists import Row

log = logging.getLogger('flatten_jax')

NAME = re.compile(r'(?P<label>.+)_test_split_?(?P<number>[1-9])\.txt')
CODES = {'0': None, '1': 'train', '2': 'test'}


def count(folder: str) -> int:
  """How many divisions the files of a folder describe.

  Raises:
    ValueError: there are no such files.
  """
  numbers = [int(match['number']) for _, match in split_files(folder)]
  return max(numbers)


def make_splits(
  rows: list[Row], folder: str, fold: int
) -> dict[str, list[Row]]:
  """The training and the test videos of one division.

  Args:
    rows: the videos, by class folder.
    folder: where the files are.
    fold: which division, from 0; 0 is what the files call 1.

  Returns:
    The rows of 'train' and 'test'. Test videos without a file stay in, and
    count as missing where they are scored.

  Raises:
    ValueError: there are no such files, or a line is not of that form.
  """
  number, divisions = fold + 1, count(folder)
  if not 1 <= number <= divisions:
    raise ValueError(
      f'{folder} divides the videos in {divisions} ways: choose one with '
      f'data.fold = 0 to {divisions - 1}, not {fold}.'
    )
  here = {(row.label, os.path.basename(row.path)): row for row in rows}
  splits, missing = {'train': [], 'test': []}, 0
  for file, match in split_files(folder):
    if int(match['number']) != number:
      continue
    for name, split in read(file):
      row = here.get((match['label'], name))
      missing += row is None and split is not None
      if row:
        splits.get(split, []).append(row)
      elif split == 'test':
        splits['test'].append(absent(match['label'], name, rows))
  if missing:
    log.warning('%d videos of division %d are missing', missing, number)
  return splits


def split_files(folder: str) -> list[tuple[str, re.Match]]:
  """The files of all divisions, sorted, with what their names say."""
  folder = os.path.expanduser(folder)
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'data.split_dir: there is no folder {folder}')
  files = [
    (os.path.join(folder, name), match)
    for name in sorted(os.listdir(folder))
    if (match := NAME.fullmatch(name))
  ]
  if not files:
    raise ValueError(
      f'Expected <class>_test_split1.txt and the like in {folder}'
    )
  return files


def read(file: str) -> list[tuple[str, str | None]]:
  """(video, split) for each line; names may hold spaces, the code does not."""
  found = []
  with open(file, encoding='utf-8', errors='surrogateescape') as lines:
    for line in lines:
      if not line.strip():
        continue
      name, _, code = line.strip().rpartition(' ')
      if code not in CODES:
        raise ValueError(
          f'{file}: expected "video.avi 0", 1 or 2, not {line.strip()!r}'
        )
      found.append((name.strip(), CODES[code]))
  return found


def absent(label: str, name: str, rows: list[Row]) -> Row:
  """A video that should be beside those of its class, and is not."""
  beside = next((row for row in rows if row.label == label), rows[0])
  path = os.path.join(os.path.dirname(beside.path), name)
  return dataclasses.replace(
    beside, id=os.path.join(label, name), label=label, path=path
  )
