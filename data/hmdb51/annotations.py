# SPDX-License-Identifier: Apache-2.0
"""Reads the published splits of HMDB51 and UCF101: their own, or UniFormer's.

For their own files see `published_splits`. UniFormer's for HMDB51 are
`split{1,2,3}/{train,val}.txt` with lines `name num_frames label`.
"""

from collections.abc import Mapping
import pathlib
import re

from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  sorted_names,
)
from data.lists import read_list
from flatten_jax.inputs.sources import published_splits
from flatten_jax.inputs.sources.published_splits import Entry


def read(sources: Sources) -> Annotations:
  """Returns every video once, with its role in each split.

  The bytes of a video are stored once, whatever its roles.
  """
  files = find_files(sources, ('.txt',))
  entries = published_splits.read(files)
  if not entries:
    names = sources.read_class_names()
    lists = filter(split_number, files)
    entries = [entry for file in lists for entry in read_uniformer(file, names)]
  if not entries:
    raise ValueError(
      f'Expected {published_splits.EXPECTED}, or split1/train.txt and the like '
      f'(UniFormer), in {", ".join(map(str, sources.annotations))}'
    )
  # {(class, video): {number of the split: role}}
  roles: dict[tuple[str, str], dict[int, int]] = {}
  for label, name, number, role in entries:
    roles.setdefault((label, name), {})[number] = int(role)
  count = max(entry.number for entry in entries)
  videos = [
    Video(
      id=f'{label}/{name}',
      split='videos',
      label=label,
      name=f'{label}/{name}',
      roles=tuple(given.get(i + 1, 0) for i in range(count)),
    )
    for (label, name), given in sorted(roles.items())
  ]
  return Annotations(videos, sorted_names(videos))


def split_number(file: pathlib.Path) -> int | None:
  """Returns the number of the folder split1, split2 or split3 of a list."""
  match = re.fullmatch(r'split_?([1-9])', file.parent.name.lower())
  return int(match[1]) if match else None


def read_uniformer(
  file: pathlib.Path, names: Mapping[int, str] | None
) -> list[Entry]:
  """Returns the entries of a list.

  The class is the label's name or, without names, the folder of the video.
  """
  role = '1' if file.stem.lower() == 'train' else '2'
  found = []
  for row in read_list(file, names):
    folder, _, name = row.id.rpartition('/')
    label = row.label if names else folder
    if not label:
      raise ValueError(
        f'{file} numbers its classes and {row.id} has no class folder: give '
        'the names of the classes as --class_names.'
      )
    found.append(Entry(label, name, split_number(file), role))
  return found
