# SPDX-License-Identifier: Apache-2.0
"""Reads prepared sets: folders of encoded videos in the format of TFDS.

`python -m data.prepare` makes them, with an index for each split; TFDS folders
without one are read once. Records have a `video` (bytes) and a `label`.
"""

from collections.abc import Iterable, Mapping
import contextlib
import csv
import dataclasses
import functools
import io
import json
import logging
import os
import threading

from flatten_jax.inputs.sources.published_splits import ROLES
from flatten_jax.inputs.sources.rows import Group, Row
from flatten_jax.inputs.sources.splits import make_splits, split_named
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.progress import Progress

log = logging.getLogger('flatten_jax')

INFO, PLAN = 'dataset_info.json', 'plan.json'
# TFDS imports its parts lazily; two threads that make it do so at once wait for
# each other forever (4.9.10).
OPENING = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class PreparedVideo:
  """A video that is a record of a prepared set."""

  folder: str
  split: str
  record: int
  file: str = ''  # Its original file name.

  @property
  def suffix(self) -> str:
    """Suffix of the original file name."""
    return os.path.splitext(self.file)[1]

  def __str__(self) -> str:
    return f'{self.folder}/{self.split}[{self.record}] {self.file}'.rstrip()

  def read(self) -> bytes:
    """Returns the encoded video; VideoError: damaged, or another video."""
    with OPENING:
      # A process must not read through a handle that another one opened.
      source = open_source(self.folder, self.split, os.getpid())
    try:
      record = source[self.record]
    except Exception as error:  # The reader of records documents none.
      raise damaged(self, error) from error
    if self.file and record['file'] != os.fsencode(self.file):
      cause = 'the record holds another video than its index says'
      raise VideoError(str(self), cause)
    return record['video']


@dataclasses.dataclass(frozen=True, slots=True)
class MissingVideo:
  """An annotated video that the prepared set does not hold."""

  folder: str
  id: str
  cause: str
  suffix = ''

  def __str__(self) -> str:
    return f'{self.folder}/{self.id}'

  def read(self) -> bytes:
    """Raises VideoError with the cause."""
    raise VideoError(str(self), f'{self.cause} when the set was prepared')


def damaged(video: object, error: Exception) -> VideoError:
  """Returns what to raise if a record cannot be read."""
  cause = ' '.join(str(error).split()) or type(error).__name__
  return VideoError(str(video), f'damaged record: {cause}')


@functools.lru_cache(maxsize=16)
def open_source(folder: str, split: str, process: int):
  """Opens the records of a split for random access by threads of `process`."""
  source = open_builder(folder).as_data_source(split)
  with contextlib.suppress(Exception):
    source[0]  # Makes TFDS import the rest of what it needs.
  return source


@functools.lru_cache(maxsize=16)
def open_builder(folder: str):
  """Returns TFDS's builder for a prepared folder."""
  # Takes most of a second, and only prepared sets need it.
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(folder)


def is_prepared(folder: str) -> bool:
  """Checks whether a folder is a prepared set; refuses an unfinished one."""
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
  """Returns the rows of each split of a prepared set, and its class names.

  Labels are numbers. Missing videos are left out of training; elsewhere they
  are kept and count as missing, as in a list. A set to evaluate on has no
  'train'. `data.fold` selects a published split, or splits a set that has none.
  """
  if data['class_names']:
    raise ValueError(
      f'{folder} holds its own class names: leave data.class_names empty.'
    )
  folder = os.path.abspath(folder)
  names, several = classes_of(folder)
  if several and not data['multi_label']:
    raise ValueError(
      f'{folder} holds videos with several labels each: set '
      '--config.data.multi_label=True.'
    )
  # TFDS reads names without blanks around them; the index has them.
  numbers = {name.strip(): str(i) for i, name in enumerate(names)}
  tables = {
    split: read_split(folder, split)
    for split in open_builder(folder).info.splits
  }
  cells = [cell for table in tables.values() for cell in table]
  published, fold = count_roles(cells), data['fold']
  if published:
    if not 0 <= fold < published:
      raise ValueError(
        f'{folder} has {published} published splits into train and test: '
        f'choose one with data.fold = 0 to {published - 1}, not {fold}.'
      )
    tables = {'train': [], 'test': []}
    for cell in cells:
      if split := ROLES[cell[f'role_{fold + 1}']]:
        tables[split].append(cell)
  splits = {}
  for split, table in tables.items():
    rows = [row_of(folder, cell, numbers) for cell in table]
    splits[split_named(split) or split] = rows
  if not is_divided(splits):
    splits = make_splits([r for rows in splits.values() for r in rows], data)
  elif fold >= 0 and not published:
    log.warning('data.fold=%d changes nothing: %s is divided', fold, folder)
  train = splits.pop('train', [])
  found = [row for row in train if not isinstance(row.path, MissingVideo)]
  if len(found) < len(train):
    log.warning(
      '%d of %d training videos of %s are missing; see its report.txt',
      *(len(train) - len(found), len(train), folder),
    )
  return ({'train': found} if found else {}) | splits, dict(enumerate(names))


def is_divided(splits: Iterable[str]) -> bool:
  """Checks whether splits are published; one of another name is to divide."""
  named = [*map(split_named, splits)]
  return 'train' in named or None not in named


def classes_of(folder: str) -> tuple[list[str], bool]:
  """Returns the class names, and whether a video may have several of them."""
  features = open_builder(folder).info.features
  found = [name for name in ('labels', 'label') if name in features]
  if 'video' not in features or not found:
    raise ValueError(
      f'{folder} is a TFDS set with the features {", ".join(features)}; '
      'expected `video`, the bytes of a file, and `label` or `labels`.'
    )
  if found[0] == 'labels':
    return features['labels'].feature.names, True
  return features['label'].names, False


def fold_numbers(folder: str) -> list[int]:
  """Returns the published splits or else the folds of the videos, if any."""
  splits = list(open_builder(folder).info.splits)
  cells = [cell for split in splits for cell in read_split(folder, split)]
  if published := count_roles(cells):
    return list(range(published))
  if is_divided(splits):
    raise ValueError(f'{folder} is divided already: it has splits of its own.')
  folds = {int(cell['fold']) for cell in cells if cell.get('fold')}
  return sorted(fold for fold in folds if fold >= 0)


def count_roles(cells: list[dict[str, str]]) -> int:
  """Returns the number of columns role_1, role_2, ... of an index."""
  return sum(key.startswith('role_') for cell in cells[:1] for key in cell)


def read_split(folder: str, split: str) -> list[dict[str, str]]:
  """Reads the index of a split, which describes its videos."""
  file = os.path.join(folder, f'index-{split}.csv')
  if not os.path.isfile(file):
    return index_records(folder, split)
  with open(file, newline='', encoding='utf-8', errors='surrogateescape') as f:
    text = f.read()
  cells = [*csv.DictReader(io.StringIO(text))]
  stored = sum(bool(cell['record']) for cell in cells)
  expected = open_builder(folder).info.splits[split].num_examples
  if not text.endswith('\n') or stored != expected:
    raise ValueError(
      f'{file} is cut off: it names {stored} of the {expected} videos that are '
      'stored. Copy it again, or prepare the set in a new folder.'
    )
  return [cell | {'split': split} for cell in cells]


def index_records(folder: str, split: str) -> list[dict[str, str]]:
  """Indexes a set of TFDS that has no index, by reading all of its records."""
  source = open_source(folder, split, os.getpid())
  log.info('%s has no index: all of its records are read once', folder)
  names, several = classes_of(folder)
  cells = []
  for number in Progress(f'Reading {split}', 'videos', range(len(source))):
    record = source[number]
    cell = {
      'record': str(number),
      'split': split,
      'id': os.fsdecode(record.get('id', f'{split}/{number}')),
      'file': os.fsdecode(record.get('file', '')),
      'start': str(record.get('start', 0)),
      'end': str(record.get('end', 0)),
    }
    if several:
      cell['labels'] = json.dumps([names[i] for i in record['labels']])
    else:
      label = int(record['label'])
      cell['label'] = names[label] if label >= 0 else ''
    cells.append(cell)
  return cells


def row_of(folder: str, cell: Mapping[str, str], numbers: Mapping) -> Row:
  """Converts one line of an index to a row."""
  if cell['record']:
    number = int(cell['record'])
    path = PreparedVideo(folder, cell['split'], number, cell['file'])
  else:
    path = MissingVideo(folder, cell['id'], cell['cause'])
  labels = None
  if cell.get('labels'):
    names = json.loads(cell['labels'])
    labels = tuple(numbers[name.strip()] for name in names)
  return Row(
    id=cell['id'],
    label=numbers[cell['label'].strip()] if cell.get('label') else None,
    fold=int(cell['fold']) if cell.get('fold') else None,
    start=float(cell['start']),
    end=float(cell['end']),
    path=path,
    weight=cell.get('weight') or None,
    labels=labels,
    group=Group(cell['group_column'], cell['group'])
    if cell.get('group')
    else None,
  )
