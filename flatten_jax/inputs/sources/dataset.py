# SPDX-License-Identifier: Apache-2.0
"""Opens data sets: prepared sets, class folders and lists become `Videos`."""

import collections
from collections.abc import Mapping
import contextlib
import logging
import os
import re

from flatten_jax.inputs.flow import prepared_flow
from flatten_jax.inputs.sources import (
  class_folders,
  class_names,
  drawing,
  duplicates,
  folders,
  grouping,
  labels,
  prepared,
  published_splits,
  validation,
)
from flatten_jax.inputs.sources.lists import multi_label as multi_labels, paths
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import (
  SPLITS,
  by_split_column,
  listed_folds,
  make_splits,
  split_in,
  split_named,
)
from flatten_jax.inputs.sources.videos import Record, Videos

log = logging.getLogger('flatten_jax')

LIST_SUFFIXES = ('csv', 'tsv', 'txt', 'json', 'jsonl')


def open_splits(data: Mapping) -> dict[str, Videos]:
  """Opens the splits of `config.data`: 'train', perhaps 'val', 'test'.

  A prepared set of 'val' or 'test' alone has no 'train'.
  """
  prepared_flow.check(data)
  given, numbered = find_rows(data)
  for split, rows in given.items():
    if not rows:
      raise ValueError(f'The {split} split holds no videos.')
  grouping.check_wanted(given, data['group'])
  splits = validation.hold_back(given, data)
  names_file = os.path.expanduser(data['class_names'])
  multi_label = data['multi_label']
  if multi_label:
    splits = labels.as_several(splits)
  else:
    multi_labels.hint(row for rows in splits.values() for row in rows)
  indices, names = labels.number_classes(splits, names_file, numbered)
  if not names_file and numbered is None and labels.all_numbers(names):
    class_names.hint(data, {int(name) for name in names})
  duplicates.check(given, data['group'])
  folders.log_frames([row.path for rows in splits.values() for row in rows])
  videos = {}
  for split, rows in splits.items():
    places = zip(rows, indices[split], strict=True)
    records = (_record(row, found, multi_label) for row, found in places)
    weighted = data['weighted'] and split == 'train'
    weights = drawing.weights(rows) if weighted else ()
    videos[split] = Videos(
      tuple(records), names, weights=weights, multi_label=multi_label
    )
  sizes = ', '.join(f'{len(rows)} {split}' for split, rows in splits.items())
  log.info('%d classes; videos: %s', len(names), sizes)
  return videos


def _record(
  row: Row, found: tuple[int, ...] | None, multi_label: bool
) -> Record:
  """Returns a row as a video to read, with the numbers of its classes."""
  (label,) = found if found and not multi_label else (-1,)
  labels = found if multi_label else None
  return Record(row.id, row.path, label, row.start, row.end, labels)


def fold_numbers(data: Mapping) -> list[int]:
  """Returns the possible values of `data.fold`.

  They are published splits (HMDB51 has three), the numbers in a list's `fold`
  column that are not negative, or `data.folds` folds that are drawn.
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
    return list(range(published_splits.count(data['split_dir'])))
  root = os.path.expanduser(data['root'])
  found = []
  if os.path.isfile(root):
    found = listed_folds(open_list(root, data))
  elif os.path.isdir(root) and prepared.is_prepared(root):
    found = prepared.fold_numbers(root)
  elif os.path.isdir(root):
    rows, lists_of = open_folder(root)
    if lists_of or any(row.split for row in rows):
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
    return open_lists(files, data), None
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
  rows, lists_of = open_folder(root)
  if not lists_of and not any(row.split for row in rows):
    # A text may be a note; a table next to videos often has their groups.
    if hint := class_folders.list_hint(root, ('.csv', '.tsv', '.jsonl')):
      log.warning(
        '%s is read by its class folders, which tell no groups or folds.%s',
        *(root, hint),
      )
    return make_splits(rows, data), None
  refuse_fold(data, root)
  return open_lists(lists_of, data) if lists_of else by_split_column(rows), None


def refuse_fold(data: Mapping, place: str) -> None:
  """Raises ValueError if a fold is requested of data that is split already."""
  if data['fold'] >= 0:
    raise ValueError(
      f'data.fold={data["fold"]} would change nothing: the videos are split by '
      f'{place}. Leave it at -1, or set data.root to class folders.'
    )


def open_folder(root: str) -> tuple[list[Row], dict[str, str]]:
  """Returns the videos in class folders, or else the lists of the splits."""
  lists_of = match_lists(root)
  if 'train' not in lists_of:
    return class_folders.read_folder(root), {}
  if any(split_in(name) == 'train' for name in folders.subfolders(root)):
    # Else the folders hold videos, and the lists the classes.
    with contextlib.suppress(ValueError):
      rows = class_folders.read_folder(root)
      if any(row.split for row in rows):
        log.info('%s is read by its folders, not by its lists', root)
        return rows, {}
  return [], lists_of


def match_lists(root: str) -> dict[str, str]:
  """Finds the lists in `root` that are named like splits."""
  found, others = collections.defaultdict(list), collections.defaultdict(list)
  for name in sorted(os.listdir(root)):
    stem, _, suffix = name.partition('.')
    if suffix.lower().removesuffix('.gz') not in LIST_SUFFIXES:
      continue
    if split := split_named(stem):
      found[split].append(name)
    elif (split := split_in(stem)) and re.search('list|split|videos', stem):
      others[split].append(name)
  if 'train' not in found:  # As in sets of Hugging Face.
    for folder in filter(split_in, folders.subfolders(root)):
      files = (f'{folder}/metadata.{suffix}' for suffix in LIST_SUFFIXES)
      here = [file for file in files if os.path.isfile(f'{root}/{file}')]
      others[split_in(folder)] += here
  if 'train' not in found and all(len(names) < 2 for names in others.values()):
    found = others | found
  elif any(others.values()):
    names = [name for names in others.values() for name in names]
    log.warning(
      '%s: %d lists that are not read: %s. For their splits set data.train and '
      'data.test to them',
      *(root, len(names), ', '.join(names[:5])),
    )
  for first, *more in filter(None, found.values()):
    if more:
      log.warning('%s: %s is read, and not %s', root, first, ', '.join(more))
  return {
    split: os.path.join(root, found[split][0])
    for split in SPLITS
    if found.get(split)
  }


def open_lists(files: Mapping[str, str], data: Mapping) -> dict[str, list[Row]]:
  """Opens a list for each split."""
  splits = {split: open_list(file, data) for split, file in files.items()}
  for split, rows in splits.items():
    named = {row.split for row in rows} - {None}
    if len(named) > 1:
      raise ValueError(
        f'{files[split]}, the list of the {split} split, has several splits of '
        f'its own: {", ".join(sorted(named)[:5])}. Set data.root to it, and '
        'data.train, data.val and data.test to nothing.'
      )
  return splits


def open_list(file: str, data: Mapping) -> list[Row]:
  """Reads a list and finds its files; missing ones count as unreadable."""
  file = os.path.expanduser(file)
  prefix = os.path.expanduser(data['prefix'])
  if os.path.isdir(file):  # data.train and data.test may be folders.
    return class_folders.read_folder(file, complete=False)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'There is no list {file}')
  if prefix and not os.path.isdir(prefix):
    raise FileNotFoundError(f'data.prefix: there is no folder {prefix}')
  return paths.open_list(file, prefix, data['group'], data['multi_label'])
