# SPDX-License-Identifier: Apache-2.0
"""Draws a share of the videos, of each class or in whole groups.

Draws follow hashes of names: the same on every machine, in any list order.
"""

import collections
from collections.abc import Mapping, Sequence
import hashlib
import math

from flatten_jax.inputs.sources.rows import Row

TRIALS = 400  # Orders in which groups are dealt out, of a few groups.
Sizes = Mapping[int, int]  # Class to number of videos; ALL to that of all.
ALL = -1


class CannotDraw(ValueError):
  """No choice of groups leaves training videos of every class."""


def weights(rows: Sequence[Row]) -> tuple[float, ...]:
  """Returns the weight of each training video, from its list.

  Raises:
    ValueError: a weight is missing, or not a number of 0 or more, or all are 0.
  """
  found = []
  for row in rows:
    try:
      found.append(float(row.weight or ''))
    except ValueError:
      found.append(math.nan)
    if not 0 <= found[-1] < math.inf:
      raise ValueError(
        'data.weighted needs a number of 0 or more in the column weight of '
        f'each training video; {row.id} has {row.weight or "none"}.'
      )
  if not any(found):
    raise ValueError('data.weighted: all training videos have the weight 0.')
  return tuple(found)


def name_hash(name: str) -> bytes:
  """Returns the digest of a name, which may have bytes that are not UTF-8."""
  return hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()


def by_hash(rows: Sequence[Row]) -> list[int]:
  """Returns the places of rows in the order of a hash of their ids."""
  hashes = [name_hash(row.id.replace('\\', '/')) for row in rows]
  return sorted(range(len(rows)), key=hashes.__getitem__)


def rank_in_class(rows: Sequence[Row]) -> list[tuple[int, int]]:
  """Returns each row's rank in its class, and the size of the class.

  Ranks follow a hash of the ids.
  """
  classes = collections.defaultdict(list)
  ranks = {}
  for i in by_hash(rows):
    members = classes[rows[i].label]
    ranks[i] = len(members)
    members.append(i)
  return [(ranks[i], len(classes[row.label])) for i, row in enumerate(rows)]


def of_each_class(rows: Sequence[Row], share: float) -> list[bool]:
  """Draws a share of each class, at least one video, and never all."""
  return [
    rank < min(max(round(share * size), 1), size - 1)
    for rank, size in rank_in_class(rows)
  ]


def whole_groups(
  rows: Sequence[Row],
  names: Sequence[str],
  shares: Sequence[float],
  fixed: frozenset[str] = frozenset(),
) -> list[int]:
  """Draws parts of these shares, of all videos and of each class.

  Args:
    rows: the videos.
    names: their groups, which are not divided.
    shares: of the parts; what they leave of 1 is for training alone.
    fixed: groups that are for training alone, as are those that hold all
      videos of a class.

  Returns:
    The part of each row, from 1 on; 0: none.

  Raises:
    CannotDraw: there are too few groups.
  """
  labels = sorted({label for row in rows for label in _labels(row)})
  numbers = {label: i for i, label in enumerate(labels)}
  groups: dict[str, collections.Counter] = collections.defaultdict(
    collections.Counter
  )
  for row, name in zip(rows, names, strict=True):
    groups[name].update((*(numbers[label] for label in _labels(row)), ALL))
  totals: collections.Counter = collections.Counter()
  for sizes in groups.values():
    totals.update(sizes)
  whole = {
    name
    for name, sizes in groups.items()
    if any(n == totals[c] for c, n in sizes.items() if c != ALL)
  }
  shares = [min(max(share, 0.01), 0.99) for share in shares]
  free = sorted(groups.keys() - fixed - whole)
  if len(free) < len(shares):
    wanted = '1' if len(shares) == 1 else f'{len(shares)}, one for each fold'
    raise CannotDraw(
      f'{len(free)} of {len(groups)} groups can be held out, not {wanted}'
      + (f'; {len(whole)} hold all videos of a class' if whole else '')
    )
  kept = collections.Counter()
  for name in groups.keys() - {*free}:
    kept.update(groups[name])
  best, least = None, float('inf')
  for trial in range(min(TRIALS, 1 + 40_000 // len(free))):
    hashes = {name_hash(f'{trial} {name}'): name for name in free}
    order = [hashes[key] for key in sorted(hashes)]
    parts, cost = deal_out(order, groups, totals, shares, kept)
    if cost < least:
      best, least = parts, cost
  if best is None:
    raise CannotDraw(
      f'no choice of {len(groups)} groups leaves training videos of each of '
      f'{len(labels)} classes'
    )
  return [best.get(name, 0) for name in names]


def _labels(row: Row) -> tuple[str, ...]:
  """Returns the labels of a row; those without any are drawn like a class."""
  return row.classes or ('',)


def deal_out(
  order: Sequence[str],
  groups: Mapping[str, Sizes],
  totals: Sizes,
  shares: Sequence[float],
  kept: Sizes,
) -> tuple[dict[str, int], float]:
  """Gives each group in turn to the part that lacks its classes the most.

  Returns:
    The part of each group, and the squared deviations from the wanted counts
    over these; infinite if a class has no training video.
  """
  rest = 1 - sum(shares)
  # If nothing else is for training alone, groups that are do not count.
  base = totals if rest > 1e-9 else {c: n - kept[c] for c, n in totals.items()}
  shares = (rest, *shares)
  wanted = [{c: s * n for c, n in base.items()} for s in shares]
  filled = [collections.Counter() for _ in shares]
  if rest > 1e-9:
    filled[0].update(kept)
  choices = range(0 if rest > 1e-9 else 1, len(shares))
  parts = {}
  for place, name in enumerate(order):
    sizes = groups[name]
    # The first ones begin the parts, so that none stays empty.
    open_parts = choices if place + 1 >= len(shares) else [place + 1]
    costs = [
      sum(
        n * (2 * filled[part][c] + n - 2 * wanted[part][c]) / wanted[part][c]
        for c, n in sizes.items()
      )
      for part in open_parts
    ]
    parts[name] = part = open_parts[costs.index(min(costs))]
    filled[part].update(sizes)
  for part in filled[1:]:
    if any(n == totals[c] for c, n in part.items()):
      return parts, float('inf')
  cost = sum(
    (filled[part][c] - n) ** 2 / n
    for part in choices
    for c, n in wanted[part].items()
    if n
  )
  return parts, cost
