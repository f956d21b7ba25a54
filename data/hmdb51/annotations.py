# SPDX-License-Identifier: Apache-2.0
"""Reads the three divisions of HMDB51: its own files or UniFormer's lists.

Its own are `<class>_test_split{1,2,3}.txt` with lines `video.avi <code> `:
0 unused, 1 train, 2 test. UniFormer's are `split{1,2,3}/{train,val}.txt` with
lines `name num_frames label`.
"""

from collections.abc import Callable
import pathlib
import re

from data import lists
from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  read_text,
  sorted_names,
)

# pytorchvideo's documentation has an underscore before the number.
OWN = re.compile(r'(?P<label>.+)_test_split_?(?P<number>[1-9])')
DIVISIONS = 3
# {(class, video): {number of the division: role}}
Roles = dict[tuple[str, str], dict[int, int]]


def read(sources: Sources) -> Annotations:
  """Every video once, in one split, with its role in each division.

  So the bytes are stored once, and three divisions read them.
  """
  files = find_files(sources, ('.txt',))
  own = [file for file in files if OWN.fullmatch(file.stem)]
  if own:
    roles = collect(own, read_own)
  else:
    names = None
    if sources.class_names:
      names = lists.read_class_names(sources.class_names)
    roles = collect(
      [file for file in files if division_of(file)],
      lambda file: read_numbered(file, names),
    )
  if not roles:
    raise ValueError(
      'Expected <class>_test_split1.txt and the like, or split1/train.txt and '
      f'the like, in {", ".join(map(str, sources.annotations))}'
    )
  numbers = range(1, DIVISIONS + 1)
  videos = [
    Video(
      id=f'{label}/{name}',
      split='videos',
      label=label,
      name=f'{label}/{name}',
      roles=tuple(given.get(number, 0) for number in numbers),
    )
    for (label, name), given in sorted(roles.items())
  ]
  return Annotations(videos, sorted_names(videos))


def collect(
  files: list[pathlib.Path],
  read_file: Callable[[pathlib.Path], list[tuple[str, str, int, int]]],
) -> Roles:
  """The roles of every video, from files that each know some of them."""
  roles: Roles = {}
  for file in files:
    for label, name, division, role in read_file(file):
      roles.setdefault((label, name), {})[division] = role
  return roles


def read_own(file: pathlib.Path) -> list[tuple[str, str, int, int]]:
  """Class, video, division and role, of one file of one class."""
  match = OWN.fullmatch(file.stem)
  found = []
  for number, line in enumerate(read_text(file).split('\n'), start=1):
    if not line.strip():
      continue
    name, _, code = line.strip().rpartition(' ')
    if not name or code not in ('0', '1', '2'):
      raise ValueError(
        f'{file}, line {number}: expected `video.avi` and 0, 1 or 2, got '
        f'{line!r}'
      )
    found.append(
      (match['label'], name.strip(), int(match['number']), int(code))
    )
  return found


def division_of(file: pathlib.Path) -> int | None:
  """The number of the folder split1, split2 or split3 that a list lies in."""
  match = re.fullmatch(r'split_?([1-9])', file.parent.name.lower())
  return int(match[1]) if match else None


def read_numbered(
  file: pathlib.Path, names: dict[int, str] | None
) -> list[tuple[str, str, int, int]]:
  """The same, of a list; the folder of a video tells its class as well."""
  role = 1 if file.stem.lower() == 'train' else 2
  found = []
  for row in (
    lists.named(lists.read_list(file), names or {}, file)
    if names
    else (lists.read_list(file))
  ):
    folder, _, name = row.path.rpartition('/')
    label = row.label if names else folder
    if not label:
      raise ValueError(
        f'{file} numbers its classes and {row.path} has no class folder: give '
        'the names of the classes as --class_names.'
      )
    found.append((label, name, division_of(file), role))
  return found
