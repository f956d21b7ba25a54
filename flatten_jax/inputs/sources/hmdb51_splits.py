# SPDX-License-Identifier: Apache-2.0
"""Reads HMDB51's published splits and applies them to a folder of videos.

They come as `<class>_test_split{1,2,3}.txt` with lines `video.avi <role> `,
where the role is 0 for unused, 1 for train and 2 for test.
"""

import logging
import os
import re

from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath

log = logging.getLogger('flatten_jax')

# pytorchvideo's documentation has an underscore before the number.
NAME = re.compile(r'(?P<label>.+)_test_split_?(?P<number>[1-9])\.txt')
ROLES = {'0': None, '1': 'train', '2': 'test'}


def count(folder: str) -> int:
  """Returns the number of published splits in a folder."""
  return max(int(match['number']) for _, match in split_files(folder))


def make_splits(
  rows: list[Row], folder: str, fold: int
) -> dict[str, list[Row]]:
  """Returns the rows of 'train' and 'test' in published split `fold + 1`.

  Test videos without a file are kept, and count as missing in evaluation.
  """
  number, published = fold + 1, count(folder)
  if not 1 <= number <= published:
    raise ValueError(
      f'{folder} holds {published} published splits: choose one with '
      f'data.fold = 0 to {published - 1}, not {fold}.'
    )
  by_file = {(row.label, file_name(row)): row for row in rows}
  splits, missing = {'train': [], 'test': []}, 0
  for file, match in split_files(folder):
    if int(match['number']) != number:
      continue
    label = match['label']
    for name, role in read_roles(file):
      split, row = ROLES[role], by_file.get((label, name))
      missing += row is None and split is not None
      if row is None and split == 'test':
        sibling = next((row for row in rows if row.label == label), rows[0])
        row = sibling._replace(
          id=os.path.join(label, name),
          label=label,
          path=os.path.join(os.path.dirname(sibling.path), name),
        )
      if row and split:
        splits[split].append(row)
  if missing:
    log.warning('%d videos of split %d are missing', missing, number)
  return splits


def file_name(row: Row) -> str:
  """Returns the name of a row's video file, from which frames may come."""
  if isinstance(row.path, FramesPath):
    return row.path.name.removesuffix('.avi') + '.avi'
  return os.path.basename(row.path)


def split_files(folder: str) -> list[tuple[str, re.Match]]:
  """Returns the files of all splits, sorted, and the matches of their names."""
  folder = os.path.expanduser(folder)
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'data.split_dir: there is no folder {folder}')
  matches = filter(None, map(NAME.fullmatch, sorted(os.listdir(folder))))
  files = [(os.path.join(folder, match[0]), match) for match in matches]
  if not files:
    raise ValueError(
      f'Expected <class>_test_split1.txt and the like in {folder}'
    )
  return files


def read_roles(file: str | os.PathLike) -> list[tuple[str, str]]:
  """Reads (video, role) from each line; only videos' names hold spaces."""
  found = []
  for number, line in enumerate(read_text(file).split('\n'), start=1):
    match = re.fullmatch(r'(.*\S)\s+([012])', line.strip())
    if match:
      found.append(match.groups())
    elif line.strip():
      raise ValueError(
        f'{file}, line {number}: expected `video.avi` and 0, 1 or 2, got '
        f'{line!r}'
      )
  return found
