# SPDX-License-Identifier: Apache-2.0
"""Divides one list of videos into training and test videos."""

import collections
from collections.abc import Mapping
import hashlib

from flatten_jax.inputs.sources import hmdb51_splits
from flatten_jax.inputs.sources.lists import Row

SPLITS = {
  'train': ('train', 'training', 'trainlist'),
  'val': ('val', 'validation', 'validate', 'valid'),
  'test': ('test', 'testing', 'testlist'),
}


def split_named(name: str) -> str | None:
  """Returns 'train', 'val' or 'test' for any of its names, else None."""
  name = name.strip().lower()
  return next((s for s, names in SPLITS.items() if name in names), None)


def make_splits(rows: list[Row], data: Mapping) -> dict[str, list[Row]]:
  """Splits rows by `data.split_dir`, by fold, by column or by holding out."""
  fold = data['fold']
  if data['split_dir']:
    return hmdb51_splits.make_splits(rows, data['split_dir'], fold)
  if fold >= 0:
    folds = sorted({row.fold for row in rows} - {None})
    if fold not in (folds or range(data['folds'])):
      choices = folds or f'below {data["folds"]}'
      raise ValueError(f'data.fold must be {choices}, not {fold}.')
    if folds:
      held_out = [row.fold == fold for row in rows]
    else:
      ranks = rank_in_class(rows)
      held_out = [rank % data['folds'] == fold for rank, _ in ranks]
  elif any(row.split for row in rows):
    return by_split_column(rows)
  else:
    held_out = [
      rank < min(max(round(data['holdout'] * size), 1), size - 1)
      for rank, size in rank_in_class(rows)
    ]
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
        f'{row.id} has the split {row.split!r}; expected train, val or test.'
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
