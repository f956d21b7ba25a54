# SPDX-License-Identifier: Apache-2.0
"""Reads the published splits of HMDB51 and UCF101, and applies them to videos.

HMDB51's are `<class>_test_split{1,2,3}.txt` with lines `video.avi <role> `,
where the role is 0 for unused, 1 for train and 2 for test. UCF101's are
`trainlist0{1,2,3}.txt` and `testlist0{1,2,3}.txt` with lines `class/video.avi`,
in those of training followed by the number of the class.
"""

from collections.abc import Iterable
import logging
import os
import re
from typing import NamedTuple

from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.rows import Row, has_video_suffix
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath

log = logging.getLogger('flatten_jax')

# pytorchvideo's documentation has an underscore before the number.
OF_CLASS = re.compile(r'(?P<label>.+)_test_split_?(?P<number>[1-9])\.txt')
OF_ALL = re.compile(r'(?P<split>train|test)list0?(?P<number>[1-9])\.txt')
ROLES = {'0': None, '1': 'train', '2': 'test'}
EXPECTED = (
  '<class>_test_split1.txt and the like (HMDB51), or trainlist01.txt, '
  'testlist01.txt and the like (UCF101)'
)


class Entry(NamedTuple):
  """The role of a video in one published split."""

  label: str  # name of its class
  name: str  # of its file
  number: int  # of the split, from 1 on
  role: str  # a key of ROLES


def read(files: Iterable[str | os.PathLike]) -> list[Entry]:
  """Returns the entries of all files of splits; others are passed over.

  Raises:
    ValueError: a line has another form; it is named.
  """
  entries = []
  for file in map(os.fspath, files):
    name = os.path.basename(file)
    if match := OF_CLASS.fullmatch(name):
      label, number = match['label'], int(match['number'])
      entries += [Entry(label, n, number, r) for n, r in read_roles(file)]
    elif match := OF_ALL.fullmatch(name):
      role = {'train': '1', 'test': '2'}[match['split']]
      number = int(match['number'])
      entries += [Entry(c, n, number, role) for c, n in read_paths(file)]
  return entries


def count(folder: str) -> int:
  """Returns the number of published splits in a folder."""
  return max(entry.number for entry in read_folder(folder))


def make_splits(
  rows: list[Row], folder: str, fold: int
) -> dict[str, list[Row]]:
  """Returns the rows of 'train' and 'test' in published split `fold + 1`.

  Test videos without a file are kept, and count as missing in evaluation.
  """
  entries = read_folder(folder)
  number, published = fold + 1, max(entry.number for entry in entries)
  if not 1 <= number <= published:
    raise ValueError(
      f'{folder} holds {published} published splits: choose one with '
      f'data.fold = 0 to {published - 1}, not {fold}.'
    )
  # Converted copies have other suffixes, and frames none.
  by_name = {(row.label, stem(file_name(row))): row for row in rows}
  by_name |= {(row.label, file_name(row)): row for row in rows}
  splits, missing = {'train': [], 'test': []}, 0
  for label, name, own_number, role in entries:
    if own_number != number:
      continue
    split, row = ROLES[role], by_name.get((label, name))
    row = row or by_name.get((label, stem(name)))
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
  """Returns the name of a row's video file, or folder of frames."""
  if isinstance(row.path, FramesPath):
    return row.path.name
  return os.path.basename(row.path)


def stem(name: str) -> str:
  """Returns the name of a video without the suffix of its file."""
  return os.path.splitext(name)[0] if has_video_suffix(name) else name


def read_folder(folder: str) -> list[Entry]:
  """Returns the entries of all files of splits in a folder, sorted by file."""
  folder = os.path.expanduser(folder)
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'data.split_dir: there is no folder {folder}')
  files = (os.path.join(folder, name) for name in sorted(os.listdir(folder)))
  if entries := read(files):
    return entries
  raise ValueError(f'Expected {EXPECTED}, in {folder}')


def read_roles(file: str) -> list[tuple[str, str]]:
  """Reads (video, role) from each line; only videos' names hold spaces."""
  form = re.compile(r'(.*\S)\s+([012])')
  return _read_lines(file, form, '`video.avi` and 0, 1 or 2')


def read_paths(file: str) -> list[tuple[str, str]]:
  """Reads (class, video) from each line, without the number of the class."""
  form = re.compile(r'([^/]+)/([^/]*\.[^/.\s]+)(?:\s+\d+)?')
  return _read_lines(file, form, '`class/video.avi`')


def _read_lines(
  file: str, form: re.Pattern, expected: str
) -> list[tuple[str, str]]:
  """Returns the two groups of each line that is not empty."""
  found = []
  for number, line in enumerate(read_text(file).split('\n'), start=1):
    match = form.fullmatch(line.strip())
    if match:
      found.append(match.groups())
    elif line.strip():
      raise ValueError(
        f'{file}, line {number}: expected {expected}, got {line!r}'
      )
  return found
