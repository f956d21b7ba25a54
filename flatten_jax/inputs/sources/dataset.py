# SPDX-License-Identifier: Apache-2.0
"""Opens data sets: prepared sets, class folders and lists become `Videos`."""

from collections.abc import Mapping
import dataclasses
import logging
import os

from flatten_jax.inputs.sources import (
  folders,
  hmdb51_splits,
  labels,
  lists,
  prepared,
)
from flatten_jax.inputs.sources.lists import Row
from flatten_jax.inputs.sources.splits import (
  SPLITS,
  listed_folds,
  make_splits,
  split_named,
)
from flatten_jax.inputs.video.container import VideoPath
from flatten_jax.inputs.video.frame_folder import FramesPath
from flatten_jax.inputs.video.still_images import is_image

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
  """The videos of one split, and the class names of the data set.

  `images` are trained on as well; their numbers follow the videos'.
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
    """Number of classes of the data set, whether in this split or not."""
    return len(self.class_names)


def open_splits(data: Mapping) -> dict[str, Videos]:
  """Opens the splits of `config.data`: 'train', perhaps 'val', 'test'."""
  splits, numbered = find_rows(data)
  for split, rows in splits.items():
    if not rows:
      raise ValueError(f'The {split} split holds no videos.')
  names_file = os.path.expanduser(data['class_names'])
  indices, names = labels.number_classes(splits, names_file, numbered)
  train = {(row.path, row.start) for row in splits['train']}
  folders.log_frames([row.path for rows in splits.values() for row in rows])
  videos = {}
  for split, rows in splits.items():
    records = (
      Record(row.id, row.path, index, row.start, row.end)
      for row, index in zip(rows, indices[split], strict=True)
    )
    videos[split] = Videos(tuple(records), names)
    shared = sum((row.path, row.start) in train for row in rows)
    if split != 'train' and shared:
      log.warning('%d videos of %s are in train as well', shared, split)
  sizes = ', '.join(f'{len(rows)} {split}' for split, rows in splits.items())
  log.info('%d classes; videos: %s', len(names), sizes)
  return videos


def fold_numbers(data: Mapping) -> list[int]:
  """Returns the possible values of `data.fold`.

  They are published splits (HMDB51 has three), the numbers in a list's `fold`
  column that are not negative, or `data.folds` folds that are drawn by class.
  """
  if data['motion_clips']:
    raise ValueError(
      'The embedded set is divided already: it has no folds. For several runs '
      'of it use other seeds (--config.seed), or --mode=ablate --seeds=3.'
    )
  if any(data[split] for split in SPLITS):
    raise ValueError(
      'data.train and data.test divide the videos already. For folds set '
      'data.root to a class folder, a list or a prepared set.'
    )
  if data['split_dir']:
    return list(range(hmdb51_splits.count(data['split_dir'])))
  root = os.path.expanduser(data['root'])
  found = []
  if os.path.isfile(root):
    found = listed_folds(open_list(root, data))
  elif os.path.isdir(root) and prepared.is_prepared(root):
    found = prepared.fold_numbers(root)
  elif os.path.isdir(root) and 'train' in match_splits(root):
    raise ValueError(f'{root} is divided already: it has splits of its own.')
  return found or list(range(data['folds']))


# --- Sources of rows ----------------------------------------------------------


def find_rows(data: Mapping) -> tuple[dict[str, list[Row]], dict | None]:
  """Returns the rows of each split, and the class names by number if known."""
  files = {split: data[split] for split in SPLITS if data[split]}
  if files:
    refuse_fold(data, 'data.train and data.test')
    if 'train' not in files:
      raise ValueError(f'data.train is not set, but {", ".join(files)} is.')
    return {split: open_list(file, data) for split, file in files.items()}, None
  root = os.path.expanduser(data['root'])
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
  found = match_splits(root)
  if 'train' not in found:
    return make_splits(class_folders(root), data), None
  refuse_fold(data, root)
  return {
    split: open_list(path, data)
    if os.path.isfile(path)
    else class_folders(path, complete=split == 'train')
    for split, path in found.items()
  }, None


def refuse_fold(data: Mapping, place: str) -> None:
  """Raises ValueError if a fold is requested of data that is split already."""
  if data['fold'] >= 0:
    raise ValueError(
      f'data.fold={data["fold"]} would change nothing: the videos are split by '
      f'{place}. Leave it at -1, or set data.root to class folders.'
    )


def match_splits(root: str) -> dict[str, str]:
  """Finds folders or lists in `root` that are named like splits."""
  found = {}
  for entry in sorted(os.listdir(root)):
    stem, suffix = os.path.splitext(entry)
    split = split_named(stem)
    if split and suffix.lower() in ('', '.csv', '.tsv', '.txt'):
      found.setdefault(split, os.path.join(root, entry))
  return {split: found[split] for split in SPLITS if split in found}


def class_folders(root: str, complete: bool = True) -> list[Row]:
  """Returns the videos in folders of classes, labelled by that folder.

  If `complete`, there must be several classes, each with videos.
  """
  rows = []
  for path in folders.find_videos(root, depth=2):
    name = os.path.relpath(path, root)
    label, _, inside = name.partition(os.sep)
    if inside:
      rows.append(Row(id=name, label=label, path=path))
  if not rows and (image := next(folders.walk(root, is_image), None)):
    raise ValueError(
      f'{root} holds images, like {os.path.relpath(image, root)}, and no '
      'videos in class folders. Frames of videos are read from folders, '
      f'{os.path.join(root, "<class>", "<video>", "img_00001.jpg")}, or from '
      'those in a list with lines like `video num_frames label`; still images '
      'are added to videos by data.images.'
    )
  if not rows:
    raise ValueError(
      f'{root} has no videos in class folders; expected '
      f'{os.path.join(root, "<class>", "*.mp4")}, or lists train.csv, test.csv.'
    )
  rows.sort(key=lambda row: (row.label, os.fspath(row.path)))
  if not complete:
    return rows
  classes = {
    entry.name
    for entry in os.scandir(root)
    if entry.is_dir() and not entry.name.startswith('.')
  }
  empty = sorted(classes - {row.label for row in rows})
  if empty:
    raise ValueError(
      f'These class folders of {root} hold no videos: {", ".join(empty[:5])}. '
      'Remove them or put videos there.'
    )
  if len(classes) == 1:
    near = [e for e in sorted(os.listdir(root)) if e.endswith(('.csv', '.txt'))]
    hint = f' Or is {near[0]} a list? Then set data.root to it.' if near else ''
    raise ValueError(
      f'{root} has only one class folder, {rows[0].label}; expected one for '
      f'each class.{hint}'
    )
  return rows


def open_list(file: str, data: Mapping) -> list[Row]:
  """Reads a list and finds its files; missing ones count as unreadable."""
  file = os.path.expanduser(file)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'There is no list {file}')
  base = os.path.expanduser(data['prefix']) or os.path.dirname(file)
  find = folders.finder(base)
  rows = lists.read_list(file, lambda path: find(path) is not None)
  paths = [find(row.id) for row in rows]
  rows = [
    dataclasses.replace(
      row, path=place(row, path or os.path.join(base, row.id))
    )
    for row, path in zip(rows, paths, strict=True)
  ]
  missing = paths.count(None)
  if missing == len(rows):
    raise FileNotFoundError(
      f'None of the {len(rows)} videos of {file} exists; the first would be '
      f'{rows[0].path}. Set data.prefix to the folder where its paths begin.'
    )
  if missing:
    log.warning('%d of %d videos of %s are missing', missing, len(rows), file)
  return rows


def place(row: Row, path: str | FramesPath) -> str | FramesPath:
  """Adds to a folder of frames what a list says about it."""
  if not isinstance(path, FramesPath):
    return path
  return FramesPath(path.path, row.fps, row.skip, row.num_frames)
