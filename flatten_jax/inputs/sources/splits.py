# SPDX-License-Identifier: Apache-2.0
"""Divides one list of videos into training and test videos."""

import collections
from collections.abc import Mapping
import functools
import hashlib
import logging
import re

from flatten_jax.inputs.sources import hmdb51_splits
from flatten_jax.inputs.sources.rows import Row

log = logging.getLogger('flatten_jax')

SPLITS = {
  'train': ('train', 'training', 'trn'),
  'val': ('val', 'validation', 'validate', 'valid', 'dev', 'development'),
  'test': ('test', 'testing', 'tst', 'eval', 'evaluation'),
}


@functools.lru_cache(4096)
def split_named(name: str) -> str | None:
  """Returns 'train', 'val' or 'test' for any of its names, else None."""
  name = re.sub('(?<=.)[ _-]?(list|set|split)$', '', name.strip().lower())
  return next((s for s, names in SPLITS.items() if name in names), None)


def listed_folds(rows: list[Row]) -> list[int]:
  """Returns the folds of a list's column `fold`, sorted.

  Rows whose fold is negative or empty are for training only, in every fold.
  """
  return sorted({row.fold for row in rows if (row.fold or 0) >= 0} - {None})


@functools.lru_cache(4096)
def split_in(name: str) -> str | None:
  """Returns the split in a name like 'k400_val_list' or 'Train256', or None.

  A name with words of two splits has none.
  """
  words = re.sub('(?<=[a-z])(?=[A-Z])', ' ', name).lower()
  found = set(filter(None, map(split_named, re.findall('[a-z]+', words))))
  return found.pop() if len(found) == 1 else None


def make_splits(rows: list[Row], data: Mapping) -> dict[str, list[Row]]:
  """Splits rows by `data.split_dir`, by fold, by column or by holding out."""
  fold, folds = data['fold'], listed_folds(rows)
  if data['split_dir']:
    return hmdb51_splits.make_splits(rows, data['split_dir'], fold)
  has_column = any(row.split for row in rows)
  if fold >= 0:
    if fold not in (folds or range(data['folds'])):
      choices = folds or f'below {data["folds"]}'
      raise ValueError(f'data.fold must be {choices}, not {fold}.')
    if folds:
      held_out = [row.fold == fold for row in rows]
      outside = sum(row.fold not in folds for row in rows)
      if outside:
        text = '%d of %d videos have no fold, or a negative one: training only'
        log.info(text, outside, len(rows))
    else:
      ranks = rank_in_class(rows)
      held_out = [rank % data['folds'] == fold for rank, _ in ranks]
    if has_column:
      log.info('data.fold=%d divides the videos, not the column split', fold)
    if all(held_out):
      raise ValueError(
        f'All videos are in fold {fold}: none is left to train on.'
      )
  else:
    if folds:
      log.warning(
        'The folds %s of the list are not used: data.fold=-1. Test videos are '
        '%s. Set data.fold, or use --mode=cross_validate',
        ', '.join(map(str, folds)),
        'those of the column split' if has_column else 'drawn from each class',
      )
    if has_column:
      return by_split_column(rows)
    held_out = [
      rank < min(max(round(data['holdout'] * size), 1), size - 1)
      for rank, size in rank_in_class(rows)
    ]
    if not any(held_out):
      raise ValueError(
        'No class has two videos, one of which could be held out for the test '
        f'({len({row.label for row in rows})} classes, {len(rows)} videos).'
      )
  splits = {'train': [], 'test': []}
  for row, held in zip(rows, held_out, strict=True):
    splits['test' if held else 'train'].append(row)
  return splits


def by_split_column(rows: list[Row]) -> dict[str, list[Row]]:
  """Groups rows by their `split`."""
  splits = {split: [] for split in SPLITS}
  for row in rows:
    split = split_named(row.split or '')
    if split is None:
      raise ValueError(
        f'{row.id} has the split {row.split or ""!r}; expected train, val or '
        'test.'
      )
    splits[split].append(row)
  return {s: rows for s, rows in splits.items() if rows or s == 'train'}


def rank_in_class(rows: list[Row]) -> list[tuple[int, int]]:
  """Returns each row's rank in its class, and the size of the class.

  Ranks follow a hash of the ids: the same on every machine, in any list order.
  """

  def id_hash(i: int) -> bytes:
    name = rows[i].id.replace('\\', '/')
    return hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()

  classes = collections.defaultdict(list)
  ranks = {}
  for i in sorted(range(len(rows)), key=id_hash):
    members = classes[rows[i].label]
    ranks[i] = len(members)
    members.append(i)
  return [(ranks[i], len(classes[row.label])) for i, row in enumerate(rows)]
