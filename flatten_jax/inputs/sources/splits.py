# SPDX-License-Identifier: Apache-2.0
"""Divides one list of videos into training and test videos."""

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
  if fold >= 0 and any(row.fold is not None for row in rows):
    folds = sorted({row.fold for row in rows if row.fold is not None})
    if fold not in folds:
      raise ValueError(f'data.fold must be one of {folds}, not {fold}.')
    held_out = [row.fold == fold for row in rows]
  elif fold >= 0:
    if fold >= data['folds']:
      raise ValueError(f'data.fold must be below {data["folds"]}, not {fold}.')
    held_out = [rank % data['folds'] == fold for rank, _ in rank_in_class(rows)]
  elif any(row.split for row in rows):
    return by_split_column(rows)
  else:
    held_out = [
      rank < min(max(round(data['holdout'] * size), 1), size - 1)
      for rank, size in rank_in_class(rows)
    ]
  pairs = list(zip(rows, held_out, strict=True))
  return {
    'train': [row for row, held in pairs if not held],
    'test': [row for row, held in pairs if held],
  }


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
  classes: dict[str | None, list[int]] = {}
  for i, row in enumerate(rows):
    classes.setdefault(row.label, []).append(i)
  ranks = [(0, 0)] * len(rows)
  for members in classes.values():
    members.sort(key=lambda i: id_hash(rows[i].id))
    for rank, i in enumerate(members):
      ranks[i] = rank, len(members)
  return ranks


def id_hash(name: str) -> bytes:
  """Returns a hash that is the same in every process, unlike Python's own."""
  name = name.replace('\\', '/')
  return hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()
