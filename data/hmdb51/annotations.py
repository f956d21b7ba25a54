# SPDX-License-Identifier: Apache-2.0
"""Reads the three published splits of HMDB51: its own files or UniFormer's.

Its own are `<class>_test_split{1,2,3}.txt` with lines `video.avi <role> `:
0 unused, 1 train, 2 test. UniFormer's are `split{1,2,3}/{train,val}.txt` with
lines `name num_frames label`.
"""

from collections.abc import Mapping
import pathlib
import re

from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  read_list,
  sorted_names,
)
from flatten_jax.inputs.sources import hmdb51_splits

NUM_SPLITS = 3


def read(sources: Sources) -> Annotations:
  """Returns every video once, with its role in each split.

  The bytes of a video are stored once, whatever its roles.
  """
  files = find_files(sources, ('.txt',))
  own = [file for file in files if hmdb51_splits.NAME.fullmatch(file.name)]
  # {(class, video): {number of the split: role}}
  roles: dict[tuple[str, str], dict[int, int]] = {}
  for file in own or filter(split_number, files):
    if own:
      found = read_own(file)
    else:
      found = read_uniformer(file, sources.read_class_names())
    for label, name, number, role in found:
      roles.setdefault((label, name), {})[number] = role
  if not roles:
    raise ValueError(
      'Expected <class>_test_split1.txt and the like, or split1/train.txt and '
      f'the like, in {", ".join(map(str, sources.annotations))}'
    )
  videos = [
    Video(
      id=f'{label}/{name}',
      split='videos',
      label=label,
      name=f'{label}/{name}',
      roles=tuple(given.get(i + 1, 0) for i in range(NUM_SPLITS)),
    )
    for (label, name), given in sorted(roles.items())
  ]
  return Annotations(videos, sorted_names(videos))


def read_own(file: pathlib.Path) -> list[tuple[str, str, int, int]]:
  """Returns class, video, split and role from one file of one class."""
  match = hmdb51_splits.NAME.fullmatch(file.name)
  label, number = match['label'], int(match['number'])
  return [
    (label, name, number, int(role))
    for name, role in hmdb51_splits.read_roles(file)
  ]


def split_number(file: pathlib.Path) -> int | None:
  """Returns the number of the folder split1, split2 or split3 of a list."""
  match = re.fullmatch(r'split_?([1-9])', file.parent.name.lower())
  return int(match[1]) if match else None


def read_uniformer(
  file: pathlib.Path, names: Mapping[int, str] | None
) -> list[tuple[str, str, int, int]]:
  """Returns class, video, split and role from a list.

  The class is the label's name or, without names, the folder of the video.
  """
  role = 1 if file.stem.lower() == 'train' else 2
  found = []
  for row in read_list(file, names):
    folder, _, name = row.id.rpartition('/')
    label = row.label if names else folder
    if not label:
      raise ValueError(
        f'{file} numbers its classes and {row.id} has no class folder: give '
        'the names of the classes as --class_names.'
      )
    found.append((label, name, split_number(file), role))
  return found
