# SPDX-License-Identifier: Apache-2.0
"""Finds the videos of a data set and their labels: lists or class folders."""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import json
import logging
import os
import re

from flatten_jax.inputs import lists
from flatten_jax.inputs.lists import Row

SPLITS = {
  'train': ('train', 'training'),
  'val': ('val', 'validation', 'validate', 'valid'),
  'test': ('test', 'testing'),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
  """One video to read; times in seconds, `end` 0 for the whole video."""

  id: str
  path: str
  label: int  # -1: unknown
  start: float = 0.0
  end: float = 0.0


@dataclasses.dataclass(frozen=True)
class Videos:
  """Videos of one split, and the names that their labels number."""

  records: tuple[Record, ...]
  class_names: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> Record:
    return self.records[index]

  @property
  def num_classes(self) -> int:
    """How many classes the labels number, seen in this split or not."""
    return len(self.class_names)


def open_splits(data: Mapping) -> dict[str, Videos]:
  """The splits that `config.data` describes: 'train', perhaps 'val', 'test'.

  Raises:
    ValueError: where something is missing or does not fit together: says what.
    FileNotFoundError: where a folder, a list or all videos of one are absent.
  """
  splits = find_rows(data)
  for name, rows in splits.items():
    if not rows:
      raise ValueError(f'The {name} split holds no videos.')
  class_names = find_class_names(data, splits)
  numbers = {name: i for i, name in enumerate(class_names)}
  warn_of_overlap(splits)
  return {
    split: Videos(
      tuple(
        Record(
          row.id,
          row.path,
          -1 if row.label is None else numbers[row.label],
          row.start,
          row.end,
        )
        for row in rows
      ),
      class_names,
    )
    for split, rows in splits.items()
  }


@dataclasses.dataclass(frozen=True)
class Found(Row):
  """A row whose path leads to a file (or would, were it not missing)."""

  id: str = ''


# --- Where the rows come from ------------------------------------------------


def find_rows(data: Mapping) -> dict[str, list[Found]]:
  """Rows of each split: explicit lists, else whatever `root` is."""
  files = {name: data[name] for name in SPLITS if data[name]}
  if files:
    if 'train' not in files:
      raise ValueError('data.train is empty: expected a list of videos.')
    return {name: open_list(file, data) for name, file in files.items()}
  root = os.path.expanduser(data['root'])
  if not root:
    raise ValueError(
      'Set data.root to a folder of class folders or to a list of videos, or '
      'data.train and data.test to lists.'
    )
  if os.path.isfile(root):
    return divide(open_list(root, data), data)
  if not os.path.isdir(root):
    raise FileNotFoundError(f'data.root: there is no {root}')
  entries = sorted(os.listdir(root))
  inside = match_splits(root, entries)
  if 'train' in inside:
    return {
      name: open_list(path, data)
      if os.path.isfile(path)
      else class_folders(path)
      for name, path in inside.items()
    }
  return divide(class_folders(root), data)


def match_splits(root: str, entries: list[str]) -> dict[str, str]:
  """Folders or lists in `root` that are named like splits."""
  found = {}
  for split, names in SPLITS.items():
    for entry in entries:
      stem, suffix = os.path.splitext(entry)
      if stem.lower() in names and suffix.lower() in (
        '',
        '.csv',
        '.txt',
        '.tsv',
      ):
        found.setdefault(split, os.path.join(root, entry))
  return found


def class_folders(root: str) -> list[Found]:
  """Videos anywhere below `root/<class>/`, labelled by the class folder."""
  rows = []
  classes = [e for e in os.scandir(root) if e.is_dir() and e.name[0] != '.']
  for folder in sorted(classes, key=lambda entry: entry.name):
    videos = [
      Found(path=os.path.join(base, name), label=folder.name)
      for base, dirs, names in os.walk(folder.path, followlinks=True)
      for name in sorted(names)
      if lists.has_video_suffix(name) and name[0] != '.'
    ]
    if not videos:
      raise ValueError(
        f'The class folder {folder.path} holds no videos; remove it, or put '
        f'files like *.mp4 there.'
      )
    rows += videos
  if not rows:
    raise ValueError(
      f'{root} holds no class folders with videos; expected '
      f'{os.path.join(root, "<class>", "*.mp4")}, or lists train.csv, test.csv.'
    )
  return [
    dataclasses.replace(row, id=os.path.relpath(row.path, root)) for row in rows
  ]


def open_list(file: str, data: Mapping) -> list[Found]:
  """The rows of a list, with paths that lead to files."""
  file = os.path.expanduser(file)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'There is no list {file}')
  base = os.path.expanduser(data['prefix']) or os.path.dirname(file)
  folders = Folders(base)
  rows = lists.read_list(file, lambda path: folders.find(path) is not None)
  found, missing = [], []
  for row in rows:
    path = folders.find(row.path)
    if path is None:
      missing.append(row.path)
      path = os.path.join(base, row.path)
    values = dataclasses.asdict(row) | {'path': path}
    found.append(Found(**values, id=row.path))
  if len(missing) == len(rows):
    raise FileNotFoundError(
      f'None of the {len(rows)} videos of {file} exists; the first would be '
      f'{found[0].path}. Set data.prefix to the folder that its paths start from.'
    )
  if missing:
    logging.warning(
      '%d of the %d videos of %s are missing, the first is %s',
      len(missing),
      len(rows),
      file,
      missing[0],
    )
  return found


class Folders:
  """Looks files up with one directory listing per folder, not one per file."""

  def __init__(self, base: str):
    self.base = base
    self.listings: dict[str, dict[str, str]] = {}

  def find(self, path: str) -> str | None:
    """The file that `path` means, with or without its suffix; None if none."""
    folder, name = os.path.split(os.path.join(self.base, path))
    if folder not in self.listings:
      self.listings[folder] = self.listing(folder)
    real = self.listings[folder].get(name)
    return real and os.path.join(folder, real)

  @staticmethod
  def listing(folder: str) -> dict[str, str]:
    """Names, and stems of videos, in a folder -> file names."""
    try:
      names = sorted(os.listdir(folder))
    except OSError:
      return {}
    stems = {
      os.path.splitext(name)[0]: name
      for name in names
      if lists.has_video_suffix(name)
    }
    return stems | {name: name for name in names}


# --- Dividing one list into train and test -------------------------------------


def divide(rows: list[Found], data: Mapping) -> dict[str, list[Found]]:
  """Splits by the list's own split column, by fold, or by holdout."""
  if any(row.split for row in rows):
    return by_split_column(rows)
  fold = data['fold']
  if fold >= 0 and any(row.fold is not None for row in rows):
    folds = sorted({row.fold for row in rows if row.fold is not None})
    if fold not in folds:
      raise ValueError(f'data.fold must be one of {folds}, not {fold}.')
    test = [row.fold == fold for row in rows]
  elif fold >= 0:
    if fold >= data['folds']:
      raise ValueError(f'data.fold must be below data.folds, {data["folds"]}.')
    test = [rank % data['folds'] == fold for rank, _ in rank_in_class(rows)]
  else:
    test = [
      rank < max(1, round(data['holdout'] * size))
      for rank, size in rank_in_class(rows)
    ]
  return {
    'train': [row for row, held in zip(rows, test, strict=True) if not held],
    'test': [row for row, held in zip(rows, test, strict=True) if held],
  }


def by_split_column(rows: list[Found]) -> dict[str, list[Found]]:
  """Rows by what their `split` says."""
  splits: dict[str, list[Found]] = {}
  for row in rows:
    name = next((s for s, names in SPLITS.items() if row.split in names), None)
    if name is None:
      raise ValueError(
        f'{row.id}: split {row.split!r} is none of {list(SPLITS)}'
      )
    splits.setdefault(name, []).append(row)
  return splits


def rank_in_class(rows: list[Found]) -> list[tuple[int, int]]:
  """For each row its rank among its class in hash order, and the class's size.

  The order depends on the ids alone: not on the machine, nor on the listing.
  """
  classes: dict[str | None, list[int]] = {}
  for i, row in enumerate(rows):
    classes.setdefault(row.label, []).append(i)
  ranks: list[tuple[int, int]] = [(0, 0)] * len(rows)
  for members in classes.values():
    members.sort(key=lambda i: hashlib.sha256(rows[i].id.encode()).digest())
    for rank, i in enumerate(members):
      ranks[i] = rank, len(members)
  return ranks


# --- Labels --------------------------------------------------------------------


def find_class_names(
  data: Mapping, splits: dict[str, list[Found]]
) -> tuple[str, ...]:
  """The classes in the order of their numbers; relabels rows by name."""
  seen = {
    split: {row.label for row in rows if row.label is not None}
    for split, rows in splits.items()
  }
  every = set().union(*seen.values())
  if data['class_names']:
    names = read_class_names(os.path.expanduser(data['class_names']))
    if lists.numbers_only(every):
      rename = {label: names[int(label)] for label in every}
      for split, rows in splits.items():
        splits[split] = [
          dataclasses.replace(row, label=rename.get(row.label)) for row in rows
        ]
      return names
  elif lists.numbers_only(seen['train']):
    names = tuple(sorted(seen['train'], key=int))
  else:
    names = tuple(sorted(seen['train']))
  for split, labels in seen.items():
    unknown = sorted(labels - set(names))
    if unknown:
      raise ValueError(
        f'The {split} split has classes that training does not: '
        f'{", ".join(unknown[:10])}. Training has {", ".join(names[:10])} ...'
      )
  if len(names) < 2:
    raise ValueError(f'There is only one class, {names}; expected two or more.')
  return names


def read_class_names(file: str) -> tuple[str, ...]:
  """Names in the order of their numbers, from text or json."""
  text = lists.read_text(file)
  if file.endswith('.json'):
    content = json.loads(text)
    if isinstance(content, list):
      return tuple(content)
    pairs = {int(number): name.strip('"') for name, number in content.items()}
  else:
    pairs = {}
    for i, line in enumerate(filter(None, map(str.strip, text.split('\n')))):
      match = re.fullmatch(r'(\d+)[\s,]+(.+)|(.+?)[\t,]\s*(\d+)', line)
      if match and match[1]:
        pairs[int(match[1])] = match[2].strip('"')
      elif match:
        pairs[int(match[4])] = match[3].strip('"')
      else:
        pairs[i] = line.strip('"')
  return tuple(pairs[i] for i in sorted(pairs))


def warn_of_overlap(splits: dict[str, list[Found]]) -> None:
  """Says so where a video is both trained and tested on."""
  train = {(row.path, row.start) for row in splits['train']}
  for split, rows in splits.items():
    shared = sum((row.path, row.start) in train for row in rows)
    if split != 'train' and shared:
      logging.warning('%d videos of %s are in train as well', shared, split)


def summary(splits: Mapping[str, Videos]) -> Iterable[str]:
  """One line a split, for the log."""
  for name, videos in splits.items():
    yield f'{name}: {len(videos)} videos, {videos.num_classes} classes'
