# SPDX-License-Identifier: Apache-2.0
"""Reads lists for annotation readers: labels become class names."""

from collections.abc import Callable, Mapping, Sequence
import pathlib

from data.annotations import Video
from flatten_jax.inputs.sources import labels
from flatten_jax.inputs.sources.lists import multi_label as multi_labels, read
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import split_in


def read_list(
  file: pathlib.Path,
  names: Mapping[int, str] | None = None,
  exists: Callable[[str], bool] = lambda path: False,
  multi_label: bool = False,
) -> list[Row]:
  """Reads a list of videos; numbers become `names`, if these are given.

  Args:
    file: the list.
    names: class names by number.
    exists: checks a path that the list may mean.
    multi_label: reads several labels of a video, see `data.multi_label`.

  Raises:
    ValueError: the list cannot be read, or a label is not among the names.
  """
  rows = read.read_list(file, exists, multi_label=multi_label)
  if multi_label:
    rows = multi_labels.merged(rows)
  return rows if names is None else with_names(file, rows, names)


def with_names(
  file: pathlib.Path, rows: Sequence[Row], names: Mapping[int, str]
) -> list[Row]:
  """Returns rows of a list whose labels are class names.

  Labels are names or their numbers, or their first words: 'c092' is 'c092
  Sitting down' of Charades.

  Raises:
    ValueError: a label is none of these.
  """
  known = {labels.canonical(name): name for name in names.values()}
  known |= {str(i): name for i, name in names.items()}
  found = {label for row in rows for label in row.classes}
  if not {*map(labels.canonical, found)} & known.keys():
    ordered = list(names.values())
    known |= {code: ordered[i] for code, i in labels.by_code(ordered).items()}
  unknown = sorted(x for x in found if labels.canonical(x) not in known)
  if unknown:
    raise ValueError(
      f'{file} has the labels {", ".join(unknown[:5])}, which are not in '
      f'--class_names ({len(names)} names, {min(names)} to {max(names)}).'
    )

  def name_of(label: str) -> str:
    return known[labels.canonical(label)]

  return [
    row._replace(
      label=name_of(row.label) if row.label else None,
      labels=None if row.labels is None else tuple(map(name_of, row.labels)),
    )
    for row in rows
  ]


def read_split_list(
  file: pathlib.Path, names: Mapping[int, str] | None
) -> list[Video]:
  """Reads the list of one split of a published set.

  Raises:
    ValueError: labels are numbers and there are no names. The same number means
      different classes in different lists, so none is guessed.
  """
  rows = read_list(file, names)
  numbers = {label for row in rows for label in row.classes}
  if names is None and numbers and labels.all_numbers(numbers):
    raise ValueError(
      f'{file} numbers its classes, and publishers number them differently: '
      'give the file that came with it and names them as --class_names.'
    )
  return [as_video(row, split_in(file.stem) or 'videos') for row in rows]


def as_video(row: Row, split: str) -> Video:
  """Returns the video of a row of a list."""
  return Video(
    id=row.id,
    split=split,
    label=row.label,
    name=row.id,
    start=row.start,
    end=row.end,
    fold=row.fold,
    skip=row.skip,
    num_frames=row.num_frames,
    fps=row.fps,
    group=row.group.name if row.group else '',
    group_column=row.group.column if row.group else '',
    weight=row.weight or '',
    labels=row.labels,
  )
