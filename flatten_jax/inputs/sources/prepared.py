# SPDX-License-Identifier: Apache-2.0
"""Reads prepared sets: folders of encoded videos that TFDS describes.

`python -m data.prepare` makes them, and lays an index beside each split, so
that opening a set reads no video. Any other TFDS folder will do whose records
have a `video` (the bytes of a file) and a `label`; its records are read once.
"""

from collections.abc import Mapping
import contextlib
import csv
import dataclasses
import functools
import logging
import os
import threading

from tqdm import tqdm

from flatten_jax.inputs.sources.lists import Row
from flatten_jax.inputs.sources.splits import SPLITS, make_splits
from flatten_jax.inputs.video.container import VideoError

log = logging.getLogger('flatten_jax')

INFO, PLAN = 'dataset_info.json', 'plan.json'
ROLES = {'1': 'train', '2': 'test'}
# TFDS imports its parts when they are first used; where two threads made it do
# so at a time, they waited for each other for ever (4.9.10).
OPENING = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
  """A video that is a record of a prepared set."""

  folder: str
  split: str
  record: int
  file: str = ''  # What its file was called.

  @property
  def suffix(self) -> str:
    """What the name of its file ended in."""
    return os.path.splitext(self.file)[1]

  def __str__(self) -> str:
    return f'{self.folder}/{self.split}[{self.record}] {self.file}'.rstrip()

  def read(self) -> bytes:
    """The bytes of its file."""
    with OPENING:
      # A process must not read through what another one opened.
      source = open_source(self.folder, self.split, os.getpid())
    try:
      record = source[self.record]
    except Exception as error:  # Whatever the reader of records has to say.
      cause = ' '.join(str(error).split()) or type(error).__name__
      raise VideoError(str(self), f'damaged record: {cause}') from error
    if self.file and record['file'] != os.fsencode(self.file):
      raise VideoError(str(self), 'another video is there: not its index')
    return record['video']


@dataclasses.dataclass(frozen=True, slots=True)
class Absent:
  """A video that is annotated, and that the preparation did not get."""

  folder: str
  id: str
  cause: str
  suffix = ''

  def __str__(self) -> str:
    return f'{self.folder}/{self.id}'

  def read(self) -> bytes:
    """Says why it is not there."""
    raise VideoError(str(self), f'{self.cause} when the set was prepared')


@functools.lru_cache(maxsize=16)
def open_source(folder: str, split: str, process: int):
  """The records of a split, to be read at random by any thread of `process`."""
  source = open_builder(folder).as_data_source(split)
  with contextlib.suppress(Exception):
    source[0]  # Makes TFDS import the rest of what it needs.
  return source


@functools.lru_cache(maxsize=16)
def open_builder(folder: str):
  """TFDS's view of a prepared folder."""
  # Takes most of a second, and only prepared sets need it.
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(folder)


def is_prepared(folder: str) -> bool:
  """Whether a folder is a prepared set.

  Raises:
    ValueError: it is one that was not finished.
  """
  if os.path.isfile(os.path.join(folder, INFO)):
    return True
  if os.path.isfile(os.path.join(folder, PLAN)):
    raise ValueError(
      f'{folder} is a data set whose preparation was interrupted: give the '
      'same `python -m data.prepare` command again.'
    )
  return False


def open_rows(
  folder: str, data: Mapping
) -> tuple[dict[str, list[Row]], dict[int, str]]:
  """The rows of each split of a prepared set, and the names of its classes.

  Labels are numbers. A video that is absent stays in what is tested on, where
  it counts as missing, as it does in a list; in training it is left out.

  Args:
    folder: the set.
    data: `config.data`. `fold` chooses among published divisions, or divides a
      set that has no splits.
  """
  if data['class_names']:
    raise ValueError(
      f'{folder} holds its own class names: leave data.class_names empty.'
    )
  folder = os.path.abspath(folder)
  names = open_builder(folder).info.features['label'].names
  numbers = {name: str(i) for i, name in enumerate(names)}
  tables = {
    split: read_split(folder, split)
    for split in open_builder(folder).info.splits
  }
  cells = [cell for table in tables.values() for cell in table]
  if any('role_1' in cell for cell in cells):
    tables = divide_by_role(folder, cells, data['fold'])
  tables = named_like_ours(tables)
  splits = {
    split: [row_of(folder, cell, numbers) for cell in table]
    for split, table in tables.items()
  }
  if 'train' not in splits:
    splits = make_splits(
      [row for rows in splits.values() for row in rows], data
    )
  here = [row for row in splits['train'] if not isinstance(row.path, Absent)]
  if len(here) < len(splits['train']):
    log.warning(
      '%d of %d training videos of %s are absent; see its report.txt',
      len(splits['train']) - len(here),
      len(splits['train']),
      folder,
    )
  return splits | {'train': here}, dict(enumerate(names))


def read_split(folder: str, split: str) -> list[dict[str, str]]:
  """What is known of each video of a split, without reading any."""
  file = os.path.join(folder, f'index-{split}.csv')
  if not os.path.isfile(file):
    return index_records(folder, split)
  with open(file, newline='', encoding='utf-8', errors='surrogateescape') as f:
    return [cell | {'split': split} for cell in csv.DictReader(f)]


def index_records(folder: str, split: str) -> list[dict[str, str]]:
  """The same, of a set that has no index: from its records."""
  source = open_source(folder, split, os.getpid())
  info = open_builder(folder).info
  missing = {'video', 'label'} - set(info.features)
  if missing:
    raise ValueError(
      f'{folder} is a TFDS set with the features {", ".join(info.features)}; '
      'expected `video`, the bytes of a file, and `label`.'
    )
  log.info('%s has no index: all of its records are read once', folder)
  names = info.features['label'].names
  cells = []
  for number in tqdm(range(len(source)), f'Reading {split}', unit=' videos'):
    record = source[number]
    label = int(record['label'])
    cells.append(
      {
        'record': str(number),
        'split': split,
        'id': os.fsdecode(record.get('id', f'{split}/{number}')),
        'label': names[label] if label >= 0 else '',
        'file': os.fsdecode(record.get('file', '')),
        'start': str(record.get('start', 0)),
        'end': str(record.get('end', 0)),
      }
    )
  return cells


def row_of(folder: str, cell: Mapping[str, str], numbers: Mapping) -> Row:
  """One line of an index as a row."""
  if cell['record']:
    number = int(cell['record'])
    path = Stored(folder, cell['split'], number, cell['file'])
  else:
    path = Absent(folder, cell['id'], cell['cause'])
  return Row(
    id=cell['id'],
    label=numbers[cell['label']] if cell['label'] else None,
    fold=int(cell['fold']) if cell.get('fold') else None,
    start=float(cell['start']),
    end=float(cell['end']),
    path=path,
  )


def divide_by_role(
  folder: str, cells: list[dict[str, str]], fold: int
) -> dict[str, list[dict[str, str]]]:
  """Train and test of one of several published divisions."""
  count = sum(key.startswith('role_') for key in cells[0])
  if not 0 <= fold < count:
    raise ValueError(
      f'{folder} has {count} published divisions into train and test: choose '
      f'one with data.fold = 0 to {count - 1}, not {fold}.'
    )
  tables = {'train': [], 'test': []}
  for cell in cells:
    split = ROLES.get(cell[f'role_{fold + 1}'])
    if split:
      tables[split].append(cell)
  return tables


def named_like_ours(tables: dict[str, list]) -> dict[str, list]:
  """'validation' and the like become 'val'; other names stay."""
  ours = {name: split for split, names in SPLITS.items() for name in names}
  return {ours.get(split, split): table for split, table in tables.items()}
