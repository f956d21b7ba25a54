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
    The part of each row, from 1 on; 0: none. No part has all videos of a label
    of two videos or more.
  """
  labels = [row.classes or ('',) for row in rows]
  totals = collections.Counter(c for classes in labels for c in classes)
  wanted = dict(enumerate(shares, 1))
  if (rest := 1 - sum(shares)) > 1e-9:
    wanted = {0: rest} | wanted
  filled = {part: collections.Counter() for part in wanted}
  parts: dict[int, int] = {}
  members = collections.defaultdict(list)
  for i in by_hash(rows):
    for label in labels[i]:
      members[label].append(i)

  def leaves_some(part: int, classes: Sequence[str]) -> bool:
    return not part or all(filled[part][c] + 1 < totals[c] for c in classes)

  for label in sorted(totals, key=lambda c: (totals[c], c)):
    for i in members[label]:
      if i in parts:
        continue
      allowed = [part for part in wanted if leaves_some(part, labels[i])]
      parts[i] = part = max(
        allowed or [0],
        key=lambda part: (
          wanted.get(part, 0) * totals[label] - filled[part][label]
        ),
      )
      filled.setdefault(part, collections.Counter()).update(labels[i])
  return [parts[i] for i in range(len(rows))]
