# SPDX-License-Identifier: Apache-2.0
"""Holds training videos back for validation, in whole groups if it can."""

from collections.abc import Mapping
import logging

from flatten_jax.inputs.sources import drawing, grouping, stratification
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import listed_folds

log = logging.getLogger('flatten_jax')

# Fewer training videos, in all or of an average class, are not divided.
LEAST, LEAST_OF_CLASS = 20, 5


def hold_back(
  splits: dict[str, list[Row]], data: Mapping
) -> dict[str, list[Row]]:
  """Moves a share `data.val_holdout` of the training videos to 'val'.

  It takes whole groups, or folds if there are no other groups. Where these are
  too few or too large it takes a share of each class, as without groups. Videos
  whose fold is negative or empty stay in training.
  """
  share, train = data['val_holdout'], splits.get('train')
  if not share or not train or 'val' in splits:
    return splits
  classes = len({label for row in train for label in row.classes})
  if len(train) < max(LEAST, LEAST_OF_CLASS * classes):
    log.warning(
      'val: nothing is held back from training: %d videos of %d classes are '
      'too few (%d, and %d a class, are needed)',
      *(len(train), classes, LEAST, LEAST_OF_CLASS),
    )
    return splits
  folds = listed_folds(train)
  eligible = [not folds or row.fold in folds for row in train]
  held = draw_val(train, data, eligible)
  parts = {True: [], False: []}
  for row, is_held in zip(train, held, strict=True):
    parts[is_held].append(row)
  ordered = {'train': parts[False], 'val': parts[True]}
  return ordered | {s: r for s, r in splits.items() if s != 'train'}


def draw_val(
  train: list[Row], data: Mapping, eligible: list[bool]
) -> list[bool]:
  """Draws validation videos among the eligible ones of training."""
  share, reason = data['val_holdout'], ''
  groups = grouping.find(train, data['group'])
  if groups := groups or grouping.find(grouping.by_fold(train), data['group']):
    pairs = zip(groups.names, eligible, strict=True)
    fixed = frozenset(name for name, may in pairs if not may)
    try:
      parts = drawing.whole_groups(train, groups.names, [share], fixed)
    except drawing.CannotDraw as error:
      parts, reason = [], str(error)
    if sum(parts) > 2 * share * len(train):
      parts, reason = [], f'{sum(parts)} videos would be too many'
    if parts:
      held = [part == 1 for part in parts]
      names = {n for n, h in zip(groups.names, held, strict=True) if h}
      log.info(
        'val: %d of %d groups (%d of %d videos) held back from training; %s',
        *(len(names), len({*groups.names}), sum(held), len(train)),
        groups.source,
      )
      return held
    reason = f', not by whole groups ({groups.source}): {reason}'
  free = [row for row, may in zip(train, eligible, strict=True) if may]
  share = min(share * len(train) / len(free), 0.5)
  drawn = iter(
    map(bool, stratification.of_each_label(free, [share]))
    if stratification.needed(free)
    else drawing.of_each_class(free, share)
  )
  held = [may and next(drawn) for may in eligible]
  log.info(
    'val: %d of %d videos, of each class, held back from training%s',
    *(sum(held), len(train), reason),
  )
  return held
