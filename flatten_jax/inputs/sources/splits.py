# SPDX-License-Identifier: Apache-2.0
"""Divides one list of videos into training and test videos."""

from collections.abc import Mapping
import functools
import logging
import re

from flatten_jax.inputs.sources import (
  drawing,
  grouping,
  published_splits,
  stratification,
)
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
    return published_splits.make_splits(rows, data['split_dir'], fold)
  has_column = any(row.split for row in rows)
  if fold < 0 and folds:
    fold = fold_to_test(rows, data, folds, has_column)
  if fold >= 0:
    if fold not in (folds or range(data['folds'])):
      choices = folds or f'below {data["folds"]}'
      raise ValueError(f'data.fold must be {choices}, not {fold}.')
    if has_column:
      log.info('data.fold=%d divides the videos, not the column split', fold)
    held_out = in_fold(rows, folds, fold) if folds else draw(rows, data, fold)
  elif has_column:
    return by_split_column(rows)
  else:
    held_out = draw(rows, data, fold)
  splits = {'train': [], 'test': []}
  for row, held in zip(rows, held_out, strict=True):
    splits['test' if held else 'train'].append(row)
  return splits


def fold_to_test(
  rows: list[Row], data: Mapping, folds: list[int], has_column: bool
) -> int:
  """Returns the first fold if `data.fold` names none, or -1 to use none."""
  count = sum(row.fold == folds[0] for row in rows)
  if count == len(rows):
    log.warning('All videos are in fold %d, which divides nothing', folds[0])
    return -1
  if has_column or data['group'] == 'none':
    log.warning(
      'The folds %s of the list are not used: data.fold=-1. Test videos are '
      '%s. Set data.fold, or use --mode=cross_validate',
      ', '.join(map(str, folds)),
      'those of the column split' if has_column else 'drawn from each class',
    )
    return -1
  log.info(
    'test: fold %d (%d of %d videos) held out; column fold. '
    '--mode=cross_validate tests each of the folds %s, --config.data.fold=K '
    'another',
    *(folds[0], count, len(rows), ', '.join(map(str, folds))),
  )
  return folds[0]


def in_fold(rows: list[Row], folds: list[int], fold: int) -> list[bool]:
  """Returns which rows are in a fold of the list."""
  held_out = [row.fold == fold for row in rows]
  if outside := sum(row.fold not in folds for row in rows):
    text = '%d of %d videos have no fold, or a negative one: training only'
    log.info(text, outside, len(rows))
  if all(held_out):
    raise ValueError(
      f'All videos are in fold {fold}: none is left to train on.'
    )
  return held_out


def draw(rows: list[Row], data: Mapping, fold: int) -> list[bool]:
  """Draws the test videos, in whole groups if there are any.

  Args:
    rows: the videos.
    data: `config.data`.
    fold: of `data.folds` that are drawn; -1: a share `data.holdout` is.

  Raises:
    ValueError: the columns of the list do not allow it.
  """
  groups = grouping.find(rows, data['group'])
  if groups:
    try:
      parts = drawing.whole_groups(rows, groups.names, shares_of(data, fold))
    except drawing.CannotDraw as error:
      fewer = ' or fewer data.folds' if fold >= 0 else ''
      text = f'Videos of one group ({groups.source}) cannot stay together: '
      if groups.given:
        raise ValueError(
          f'{text}{error}. Name another column as data.group{fewer}, or write '
          '--config.data.group=none: test videos are drawn from each class '
          'then, and their score is too high if groups look alike.'
        ) from error
      log.warning(
        '%s%s. Test videos are drawn from each class, so their score may be '
        'too high',
        *(text, error),
      )
    else:
      held_out = [part == max(fold, 0) + 1 for part in parts]
      log.info('test: %s', told(rows, groups, held_out))
      warn_of_classes(rows, parts)
      return held_out
  elif data['group'] != 'none':
    grouping.warn_of_parts(rows)
  if stratification.needed(rows):
    parts = stratification.of_each_label(rows, shares_of(data, fold))
    held_out = [part == max(fold, 0) + 1 for part in parts]
    text = 'test: %d of %d videos, drawn of each label'
    log.info(text, sum(held_out), len(rows))
  elif fold >= 0:
    ranks = drawing.rank_in_class(rows)
    held_out = [rank % data['folds'] == fold for rank, _ in ranks]
  else:
    held_out = drawing.of_each_class(rows, data['holdout'])
    log.info(
      'test: %d of %d videos, drawn from each class', sum(held_out), len(rows)
    )
  if all(held_out):
    raise ValueError(
      f'All videos are in fold {fold}: none is left to train on.'
    )
  if fold < 0 and not any(held_out):
    raise ValueError(
      'No class has two videos, one of which could be held out for the test '
      f'({len({c for row in rows for c in row.classes})} classes, {len(rows)} '
      'videos). Add videos, or write a list for each: '
      '--config.data.train=train.csv --config.data.test=test.csv.'
    )
  return held_out


def shares_of(data: Mapping, fold: int) -> list[float]:
  """Returns the share of the test videos, or that of every fold."""
  if fold >= 0:
    return [1 / data['folds']] * data['folds']
  return [data['holdout']]


def told(
  rows: list[Row], groups: grouping.Grouping, held_out: list[bool]
) -> str:
  """Describes the groups that are held out, in a line."""
  names = sorted({n for n, h in zip(groups.names, held_out, strict=True) if h})
  some = ', '.join(names[:8]) + ', ...' * (len(names) > 8)
  return (
    f'groups {some} ({len(names)} of {len({*groups.names})}, with '
    f'{sum(held_out)} of {len(rows)} videos) held out; {groups.source}'
  )


def warn_of_classes(rows: list[Row], parts: list[int]) -> None:
  """Warns of classes that are not tested, in any part."""
  pairs = zip(rows, parts, strict=True)
  tested = {label for row, part in pairs if part for label in row.classes}
  if untested := {label for row in rows for label in row.classes} - tested:
    log.warning(
      '%d classes are not tested, since no whole group of theirs could be held '
      'out: %s',
      *(len(untested), ', '.join(sorted(untested)[:5])),
    )


def by_split_column(rows: list[Row]) -> dict[str, list[Row]]:
  """Groups rows by their `split`."""
  splits = {split: [] for split in SPLITS}
  for row in rows:
    splits[split_of(row)].append(row)
  return {s: rows for s, rows in splits.items() if rows or s == 'train'}


def split_of(row: Row) -> str:
  """Returns the split that a row names; ValueError: it names none."""
  if split := split_named(row.split or ''):
    return split
  raise ValueError(
    f'{row.id} has the split {row.split or ""!r}; expected train, val or test.'
  )
