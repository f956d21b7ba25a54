# SPDX-License-Identifier: Apache-2.0
"""Rows of the order report: scores, their differences, and what they say."""

from typing import Any

import numpy as np
import tabulate

from flatten_jax.evaluation import certainty
from flatten_jax.evaluation.metrics import percent

Z = 1.96  # Standard errors of a 95 % interval.
NOTE = (
  'Features are what this network makes of one central view; for each row a '
  'linear classifier was fitted to those of {train} training videos. Networks '
  'that are trained for each row may find more: --mode=ablate '
  '--variants=row_major,random,average,one_frame.'
)


def row(
  key: str, name: str, hits: np.ndarray, reference: np.ndarray | None = None
) -> dict[str, Any]:
  """Returns one row of the report.

  Args:
    key: 'test', 'clip', 'random', 'average', 'one_frame', 'length' or 'class'.
    name: for people.
    hits: whether each test video was right, bool [N].
    reference: the same videos of the row 'clip'.

  Returns:
    'row', 'name', 'top1' in percent, its 95 % interval, 'low' and 'high'
    (Wilson), and 'difference': points more than the reference, and the interval
    of that.
  """
  right, count = int(hits.sum()), len(hits)
  found = {'row': key, 'name': name, 'top1': 100 * right / count}
  found['low'], found['high'] = certainty.interval(right, count)
  if reference is not None:
    found['difference'] = difference(hits, reference)
  return found


def difference(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
  """Returns how many points more `ours` is right, low and high (95 %).

  Both are hits on the same videos: those that one of them alone has right tell
  the difference (Agresti & Min, 2005: half a video is added to each kind).
  """
  count = len(ours)
  more, less = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
  middle = (more - less) / (count + 2)
  variance = (more + less + 1) / (count + 2) - middle**2
  half = Z * np.sqrt(variance / (count + 2))
  points = ((more - less) / count, middle - half, middle + half)
  return [100 * float(value) for value in points]


def read(
  rows: list[dict[str, Any]],
  hits: dict[str, np.ndarray],
  of_frames: str = 'appearance',
) -> str:
  """Returns in sentences what the rows say about the videos.

  A difference whose interval contains 0 is not called one.

  Args:
    rows: of `row`.
    hits: of every row, by its key.
    of_frames: what a frame by itself shows.
  """
  top1 = {entry['row']: entry['top1'] for entry in rows}
  often = f'the most frequent class of training {percent(top1["class"], 1)} %'
  if _is_better(hits, 'clip', 'class'):
    said = _about_order(top1, hits)
    said += _about_single_frames(top1, hits, often, of_frames)
  else:
    said = [
      'Features in order are not better than the most frequent class of '
      f'training, as far as {len(hits["class"])} videos can tell: they say '
      'nothing about order.'
    ]
  if _is_better(hits, 'length', 'class'):
    half = (top1['clip'] + top1['class']) / 2
    said.append(
      f'The length of a video alone gives {percent(top1["length"], 1)} %, '
      f'{often}: {"an artefact" if top1["length"] > half else "a part"}, '
      'unless length belongs to the class. Cut videos to one length, or see '
      'parts of one length, with data.sampling=dense.'
    )
  return ' '.join(said)


def _is_better(hits: dict[str, np.ndarray], ours: str, theirs: str) -> bool:
  return difference(hits[ours], hits[theirs])[1] > 0


def _about_order(
  top1: dict[str, float], hits: dict[str, np.ndarray]
) -> list[str]:
  """Returns what random order changes."""
  if 'random' not in hits:
    return []
  points, low, high = difference(hits['clip'], hits['random'])
  interval = f'95 % interval {low:.1f} to {high:.1f}'
  if low <= 0:
    return [
      f'Order makes no difference that {len(hits["clip"])} videos can tell: in '
      f'random order {points:.1f} points are lost ({interval}).'
    ]
  decides = points > (top1['clip'] - top1['class']) / 2
  return [
    f'Order {"decides" if decides else "helps"}: in random order {points:.1f} '
    f'points are lost ({interval}).'
  ]


def _about_single_frames(
  top1: dict[str, float],
  hits: dict[str, np.ndarray],
  often: str,
  of_frames: str,
) -> list[str]:
  """Returns what frames tell without the others."""
  names = {'one_frame': 'one frame', 'average': 'the mean of frames'}
  keys = [key for key in names if key in hits]
  for key in keys:
    if not _is_better(hits, 'clip', key):
      points, low, high = difference(hits[key], hits['clip'])
      name = names[key][0].upper() + names[key][1:]
      return [
        f'{name} is as good as the clip, as far as {len(hits[key])} videos can '
        f'tell ({points:+.1f} points, 95 % interval {low:.1f} to {high:.1f}): '
        f'these videos are about {of_frames}.'
      ]
  if not keys:
    return []
  best = max(keys, key=top1.get)
  found = f'{names[best]} gives {percent(top1[best], 1)} %, {often}'
  if _is_better(hits, best, 'class'):
    title = of_frames[0].upper() + of_frames[1:]
    return [f'{title} tells a part: {found}.']
  return [
    f'Frames alone tell nothing that {len(hits[best])} videos can tell: '
    f'{found}.'
  ]


def text(order: dict[str, Any], form: str = 'plain') -> str:
  """Returns the table, what it says and how it was made.

  Args:
    order: 'order' of an entry of results.json.
    form: of the table, as tabulate names it: 'plain' or 'pipe'.
  """
  rows = [
    {
      'row': entry['name'],
      'top-1 %': percent(entry['top1'], 1),
      '95 %': f'{entry["low"]:.0f} - {entry["high"]:.0f}',
      'points against in order': _change(entry.get('difference')),
    }
    for entry in order['rows']
  ]
  table = tabulate.tabulate(
    rows,
    'keys',
    form,
    disable_numparse=True,
    colalign=('left', 'right', 'right', 'right'),
  )
  return '\n\n'.join(filter(None, (table, order['reading'], order['note'])))


def _change(points: list[float] | None) -> str:
  if points is None:
    return ''
  value, low, high = points
  return f'{value:+.1f} ({low:+.0f} to {high:+.0f})'
