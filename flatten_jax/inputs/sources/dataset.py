# SPDX-License-Identifier: Apache-2.0
"""Finds the videos of a data set and their labels.

They are in a prepared folder, in class folders or in lists; what comes after
does not know the difference.
"""

from collections.abc import Mapping
import dataclasses
import logging
import os

from flatten_jax.inputs.sources import folders, labels, lists, prepared
from flatten_jax.inputs.sources.lists import Row
from flatten_jax.inputs.sources.splits import SPLITS, make_splits
from flatten_jax.inputs.video.container import VideoPath

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
  """One video to read."""

  id: str
  path: VideoPath  # a file, or a place in a prepared set
  label: int  # -1: unknown
  start: float = 0.0  # seconds
  end: float = 0.0  # seconds; 0: to the end of the video


@dataclasses.dataclass(frozen=True)
class Videos:
  """The videos of one split, and the names that their labels stand for.

  `images` are images to train on as well; their numbers follow the videos'.
  """

  records: tuple[Record, ...]
  class_names: tuple[str, ...]
  images: 'Videos | None' = None

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> Record:
    if self.images and index >= len(self):
      return self.images[index - len(self)]
    return self.records[index]

  @property
  def num_classes(self) -> int:
    """How many classes there are, whether in this split or not."""
    return len(self.class_names)


def open_splits(data: Mapping) -> dict[str, Videos]:
  """The splits that `config.data` describes: 'train', perhaps 'val', 'test'.

  Args:
    data: a dict or ConfigDict with the keys `root`, `train`, `val`, `test`,
      `prefix`, `fold`, `folds`, `holdout` and `class_names`.

  Raises:
    ValueError: where something is missing or does not fit together: says what.
    FileNotFoundError: where a folder, a list or all videos of one are absent.
  """
  splits, numbered = find_rows(data)
  for name, rows in splits.items():
    if not rows:
      raise ValueError(f'The {name} split holds no videos.')
  names_file = expand(data['class_names'])
  indices, names = labels.number_classes(splits, names_file, numbered)
  warn_of_overlap(splits)
  videos = {
    split: Videos(
      tuple(
        Record(row.id, row.path, index, row.start, row.end)
        for row, index in zip(rows, indices[split], strict=True)
      ),
      names,
    )
    for split, rows in splits.items()
  }
  sizes = ', '.join(f'{len(rows)} {split}' for split, rows in splits.items())
  log.info('%d classes; videos: %s', len(names), sizes)
  return videos


def expand(path: str) -> str:
  """The path with `~` replaced."""
  return os.path.expanduser(path)


# --- Where the rows come from -------------------------------------------------


def find_rows(
  data: Mapping,
) -> tuple[dict[str, list[Row]], dict[int, str] | None]:
  """The rows of each split: lists that are named, else whatever `root` is.

  Also the names of numbered classes, where the data brings them along.
  """
  files = {split: data[split] for split in SPLITS if data[split]}
  if files:
    refuse_fold(data, 'data.train and data.test')
    if 'train' not in files:
      raise ValueError(f'data.train is not set, but {", ".join(files)} is.')
    return {split: open_list(file, data) for split, file in files.items()}, None
  root = expand(data['root'])
  if not root:
    raise ValueError(
      'There is no data: set data.root to a prepared folder, a folder of class '
      'folders or a list of videos, or data.train and data.test to lists.'
    )
  if os.path.isfile(root):
    return make_splits(open_list(root, data), data), None
  if not os.path.isdir(root):
    raise FileNotFoundError(f'data.root: there is no {root}')
  if prepared.is_prepared(root):
    return prepared.open_rows(root, data)
  inside = match_splits(root)
  if 'train' not in inside:
    return make_splits(class_folders(root), data), None
  refuse_fold(data, root)
  return {
    split: open_list(path, data)
    if os.path.isfile(path)
    else class_folders(path, complete=split == 'train')
    for split, path in inside.items()
  }, None


def refuse_fold(data: Mapping, place: str) -> None:
  """Raises where a fold is asked for of what is divided already."""
  if data['fold'] >= 0:
    raise ValueError(
      f'data.fold={data["fold"]} would change nothing: the videos are divided '
      f'by {place}. Leave it at -1, or set data.root to class folders.'
    )


def match_splits(root: str) -> dict[str, str]:
  """Folders or lists in `root` that are named like splits."""
  found = {}
  for entry in sorted(os.listdir(root)):
    stem, suffix = os.path.splitext(entry.lower())
    for split, names in SPLITS.items():
      if stem in names and suffix in ('', '.csv', '.tsv', '.txt'):
        found.setdefault(split, os.path.join(root, entry))
  return {split: found[split] for split in SPLITS if split in found}


def class_folders(root: str, complete: bool = True) -> list[Row]:
  """Videos anywhere below `root/<class>/`; the folder's name is the label.

  Args:
    root: the folder of class folders.
    complete: whether all classes must be there, each with videos.
  """
  classes = sorted(
    entry.name
    for entry in os.scandir(root)
    if entry.is_dir() and not entry.name.startswith('.')
  )
  rows, empty = [], []
  for name in classes:
    paths = folders.videos_below(os.path.join(root, name))
    if not paths:
      empty.append(name)
    rows += [
      Row(id=os.path.relpath(path, root), label=name, path=path)
      for path in paths
    ]
  if not rows:
    raise ValueError(
      f'{root} has no videos in class folders; expected '
      f'{os.path.join(root, "<class>", "*.mp4")}, or lists train.csv, test.csv.'
    )
  if empty and complete:
    raise ValueError(
      f'These class folders of {root} hold no videos: {", ".join(empty[:5])}. '
      'Remove them or put videos there.'
    )
  if len(classes) == 1 and complete:
    near = [e for e in sorted(os.listdir(root)) if e.endswith(('.csv', '.txt'))]
    hint = f' Or is {near[0]} a list? Then set data.root to it.' if near else ''
    raise ValueError(
      f'{root} has only one class folder, {classes[0]}; expected one for each '
      f'class.{hint}'
    )
  return rows


def open_list(file: str, data: Mapping) -> list[Row]:
  """The rows of a list, with paths that lead to files where they exist.

  Missing files stay in: they are counted as unreadable where they are used.
  """
  file = expand(file)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'There is no list {file}')
  base = expand(data['prefix']) or os.path.dirname(file)
  files = folders.Folders(base)
  rows = lists.read_list(file, lambda path: files.find(path) is not None)
  missing = 0
  for i, row in enumerate(rows):
    path = files.find(row.id)
    missing += path is None
    rows[i] = dataclasses.replace(row, path=path or os.path.join(base, row.id))
  if missing == len(rows):
    raise FileNotFoundError(
      f'None of the {len(rows)} videos of {file} exists; the first would be '
      f'{rows[0].path}. Set data.prefix to the folder where its paths begin.'
    )
  if missing:
    log.warning('%d of %d videos of %s are missing', missing, len(rows), file)
  return rows


def warn_of_overlap(splits: dict[str, list[Row]]) -> None:
  """Says so where a video is both trained and tested on."""
  train = {(row.path, row.start) for row in splits['train']}
  for split, rows in splits.items():
    shared = sum((row.path, row.start) in train for row in rows)
    if split != 'train' and shared:
      log.warning('%d videos of %s are in train as well', shared, split)
