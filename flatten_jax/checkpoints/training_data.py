# SPDX-License-Identifier: Apache-2.0
"""Recognizes the training data of a run when it is resumed.

A checkpoint keeps checksums of the videos' names, not of their contents: what
is compared costs nothing to read, also for large data sets.
"""

import collections
from collections.abc import Iterator
from concurrent import futures
import hashlib
import os
from typing import Any

from flatten_jax.inputs.sources.dataset import Record, Videos


def describe(train: Videos) -> dict[str, Any]:
  """Returns what a checkpoint keeps of its training videos and images.

  Names are relative to the folder that contains all, and have no suffix: data
  may move as a whole, or be encoded again.

  Returns:
    'order', a checksum of all names and labels in their order; 'classes', one
    of the names of each class; 'sizes', one of the files' sizes, if they are.
  """
  order, classes = [], collections.defaultdict(list)
  for i, (record, name) in enumerate(_named(train)):
    if train.weights and i < len(train):
      name = f'{name} {train.weights[i]!r}'
    label = record.label
    if record.labels is not None:
      label = ','.join(map(str, record.labels))
    order.append(f'{label} {name}')
    known = [c for c in record.classes if c < train.num_classes]
    names = [train.class_names[c] for c in known]
    for label in names or ['unlabelled']:
      classes[label].append(name)
  return {
    'order': _checksum(order),
    'classes': {c: _checksum(sorted(names)) for c, names in classes.items()},
    'sizes': _sizes([record.path for record, _ in _named(train)]),
  }


def changes(saved: dict[str, Any], ours: dict[str, Any]) -> str:
  """Returns how the training videos differ; '' if unknown, or not at all."""
  if not saved or saved['order'] == ours['order']:
    return ''
  before, now = saved['classes'], ours['classes']
  names = sorted({name for name, _ in before.items() ^ now.items()})
  if not names:
    return 'the same videos in another order'
  first = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
  return (
    f'other names or weights in {len(names)} of {len(now)} classes: {first}'
  )


def _named(train: Videos) -> Iterator[tuple[Record, str]]:
  """Yields each record with its name."""
  for records in (train.records, train.images.records if train.images else ()):
    paths = [os.path.normpath(f'/{x.id.lstrip("/")}') for x in records]
    shared = os.path.commonpath(map(os.path.dirname, paths)) if paths else ''
    for record, path in zip(records, paths, strict=True):
      name = os.path.splitext(path[len(shared) :].strip('/'))[0]
      yield record, f'{name} {record.start:g} {record.end:g}'


def _checksum(lines: list[str]) -> str:
  data = '\0'.join(lines).encode('utf-8', 'surrogatepass')
  return hashlib.sha256(data).hexdigest()[:16]


def _sizes(paths: list[Any]) -> str:
  """Returns a checksum of the files' sizes; '' for a prepared set."""

  def size(path):
    try:
      return str(os.stat(path).st_size)
    except OSError:
      return ''

  files = [path for path in paths if isinstance(path, str)]
  with futures.ThreadPoolExecutor(16) as pool:  # Network disks answer slowly.
    return _checksum(list(pool.map(size, files))) if files else ''
