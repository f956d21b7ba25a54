# SPDX-License-Identifier: Apache-2.0
"""Draws a share of videos that have several labels each.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the
Stratification of Multi-Label Data", 2011): labels take turns, the rarest first,
and each of its videos goes to the part that still lacks most of that label.
"""

import collections
from collections.abc import Sequence

from flatten_jax.inputs.sources.drawing import by_hash
from flatten_jax.inputs.sources.rows import Row


def needed(rows: Sequence[Row]) -> bool:
  """Returns whether videos have several labels, so no classes to draw from."""
  return any(row.labels is not None for row in rows)


def of_each_label(rows: Sequence[Row], shares: Sequence[float]) -> list[int]:
  """Draws parts of these shares, of all videos and of each label.

  Like all draws, it follows hashes of the ids.

  Args:
    rows: the videos.
    shares: of the parts; what they leave of 1 is for training alone.

  Returns:
    The part of each row, from 1 on; 0: none. A label of two videos or more has
    one in each part, as far as these suffice, and never all in one.
  """
  labels = [row.classes or ('',) for row in rows]
  totals = collections.Counter(c for classes in labels for c in classes)
  parts = dict(enumerate(shares, 1))
  if (rest := 1 - sum(shares)) > 1e-9:
    parts = {0: rest} | parts
  filled = {part: collections.Counter() for part in (0, *parts)}
  members = collections.defaultdict(list)
  for i in by_hash(rows):
    for label in labels[i]:
      members[label].append(i)
  found: dict[int, int] = {}

  def lacks(part: int, label: str) -> float:
    wanted = parts[part] * totals[label]
    return (max(wanted, 1) if part else wanted) - filled[part][label]

  def leaves_some(part: int, classes: Sequence[str]) -> bool:
    return not part or all(filled[part][c] + 1 < totals[c] for c in classes)

  for label in sorted(totals, key=lambda c: (totals[c], c)):
    for i in members[label]:
      if i in found:
        continue
      allowed = [part for part in parts if leaves_some(part, labels[i])]
      part = max(allowed, key=lambda p: lacks(p, label), default=0)
      found[i] = part
      filled[part].update(labels[i])
  return [found[i] for i in range(len(rows))]
