# SPDX-License-Identifier: Apache-2.0
"""Reads class folders, and folders of splits with class folders in them.

The layouts are `<class>/*.mp4`, `<split>/<class>/*.mp4` and
`<class>/<split>/*.mp4`; a split folder may be called like `videos_train`.
"""

from collections.abc import Callable, Iterable
import logging
import os

from flatten_jax.inputs.sources.folders import subfolders, videos_below, walk
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import SPLITS, split_in, split_named
from flatten_jax.inputs.video.container import VideoPath
from flatten_jax.inputs.video.frame_files.still_images import is_image

log = logging.getLogger('flatten_jax')

Find = Callable[[str, int], Iterable[VideoPath]]


def read_folder(
  root: str, find: Find = videos_below, complete: bool = True
) -> list[Row]:
  """Returns the videos below `root`, with class and split by their folders.

  `find` returns the paths below a folder; folders of frames are at least that
  many levels below it. If `complete`, there must be several classes to train
  on, each with videos.

  Raises:
    ValueError: it holds no class folders, or its folders have two readings.
  """
  found, rows = {}, []
  if any(split_in(name) == 'train' for name in subfolders(root)):
    rows = find_rows(root, 3, find)
    found = split_folders(root, rows)
  if not found:
    rows = labelled(root, find_rows(root, 2, find))
    if complete:
      refuse_no_classes(root, rows)
    return splits_in_classes(root, rows)
  members = []
  for split, name in found.items():
    folder = os.path.join(root, name)
    begin = name + os.sep
    inside = [
      row._replace(id=row.id[len(begin) :], split=split)
      for row in rows
      if row.id.startswith(begin)
    ]
    inside = labelled(folder, inside)
    if complete and split == 'train':
      refuse_no_classes(folder, inside)
    members += inside
  log.info('Read %s as %s, each with a folder per class', root, describe(found))
  unused = {row.id.split(os.sep)[0] for row in rows} - {*found.values()}
  if unused:
    log.warning(
      '%s has the splits %s; not used: %s',
      *(root, ', '.join(found.values()), ', '.join(sorted(unused)[:5])),
    )
  return members


def describe(found: dict[str, str]) -> str:
  """Returns splits and their folders, like 'train (videos_train), test'."""
  return ', '.join(s if s == f else f'{s} ({f})' for s, f in found.items())


def find_rows(root: str, depth: int, find: Find) -> list[Row]:
  """Returns the videos below `root`, without labels."""
  begin = len(os.path.join(root, ''))
  return [Row(os.fspath(path)[begin:], path=path) for path in find(root, depth)]


def split_folders(root: str, rows: list[Row]) -> dict[str, str]:
  """Returns {split: folder}; empty if the folders in `root` are classes."""
  depths: dict[str, int] = {}  # Folders above the deepest file.
  for row in rows:
    top, _, rest = row.id.partition(os.sep)
    if rest:
      depths[top] = max(depths.get(top, 0), 1 + rest.count(os.sep))
  named = {name: split_in(name) for name in subfolders(root) if split_in(name)}
  exact = {name for name in named if split_named(name)}
  others = depths.keys() - named.keys()
  trains = {name for name, split in named.items() if split == 'train'}
  if not trains:
    return {}
  nested = all(depths.get(name, 0) > 1 for name in trains)
  if others and not (exact & trains and nested):
    if not nested and len({*map(split_named, exact)}) > 1:
      raise ValueError(
        f'The folders of {root} are named like splits ('
        f'{", ".join(sorted(named))}) and like classes ('
        f'{", ".join(sorted(others)[:5])}). Expected train/<class>/*.mp4 and '
        'test/<class>/*.mp4, or <class>/*.mp4.'
      )
    return {}  # A class may be called 'train' or 'training dog'.
  if not exact and (not nested or len(named) < 2):
    return {}
  found = {}
  for split in SPLITS:
    names = [name for name in named if named[name] == split]
    names = [name for name in names if name in exact] or names
    if len(names) > 1:
      raise ValueError(
        f'{root} has two folders for the {split} split, {names[0]} and '
        f'{names[1]}. Move one of them elsewhere, or set data.train and '
        'data.test to lists.'
      )
    if names:
      (found[split],) = names
  return found


def labelled(root: str, rows: list[Row]) -> list[Row]:
  """Labels the files in class folders; others are left out with a warning."""
  outside = [row.id for row in rows if os.sep not in row.id]
  rows = [
    row._replace(label=row.id.partition(os.sep)[0])
    for row in rows
    if os.sep in row.id
  ]
  if not rows and (image := next(walk(root, is_image), None)):
    raise ValueError(
      f'{root} holds images, like {os.path.relpath(image, root)}, and no '
      'videos in class folders. Frames of videos are read from folders, '
      f'{os.path.join(root, "<class>", "<video>", "img_00001.jpg")}, or from '
      'those in a list with lines like `video num_frames label`; still images '
      'are added to videos by data.images.'
    )
  if not rows:
    raise ValueError(
      f'{root} has no videos in class folders; expected '
      f'{os.path.join(root, "<class>", "*.mp4")}, or lists train.csv, test.csv.'
      + (list_hint(root) or archive_hint(root))
    )
  if outside:
    log.warning(
      '%d files are in %s, not in class folders, and not used: %s',
      *(len(outside), root, ', '.join(outside[:3])),
    )
  return sorted(rows, key=lambda row: (row.label, os.fspath(row.path)))


def refuse_no_classes(root: str, rows: list[Row]) -> None:
  """Raises ValueError if there are not several classes, each with videos."""
  found = {row.label for row in rows}
  empty = [name for name in subfolders(root) if name not in found]
  inside = os.path.join(root, rows[0].label)
  hint = list_hint(root)
  if not hint and len(found) == 1 and len(subfolders(inside)) > 1:
    hint = f' Or set data.root to {inside}.'
  if empty:
    raise ValueError(
      f'These class folders of {root} hold no videos: {", ".join(empty[:5])}. '
      f'Remove them or put videos there.{hint}'
    )
  if len(found) == 1:
    raise ValueError(
      f'{root} has only one class folder, {rows[0].label}; expected one for '
      f'each class.{hint}'
    )


def archive_hint(root: str) -> str:
  """Returns a sentence about an archive below `root`, or ''."""
  suffixes = ('.zip', '.rar', '.tar', '.tgz', '.gz', '.7z', '.xz', '.bz2')
  first = next(walk(root, lambda name: name.lower().endswith(suffixes)), None)
  return f' It holds archives, like {first}: unpack them.' if first else ''


def list_hint(
  root: str, suffixes: tuple[str, ...] = ('.csv', '.txt', '.tsv', '.jsonl')
) -> str:
  """Returns a sentence about a file in `root` that may be a list, or ''."""
  near = min((n for n in os.listdir(root) if n.endswith(suffixes)), default='')
  return near and f' Or is {near} a list? Then set data.root to it.'


def splits_in_classes(root: str, rows: list[Row]) -> list[Row]:
  """Reads splits from folders inside of the classes, if all files are there."""

  def inner(row: Row) -> str:
    _, second, *rest = row.id.split(os.sep, 2)
    return second if rest else ''

  folders = {row.label: set() for row in rows}
  for row in rows:
    folders[row.label].add(inner(row))
  names = set().union(*folders.values())
  found = {split_in(name): name for name in sorted(names)}
  if None not in found and {'train'} < {*found}:
    log.info('Read %s as classes, each with %s', root, describe(found))
    return [row._replace(split=split_in(inner(row))) for row in rows]
  if {'train'} < {*map(split_named, names)} - {None}:
    other = next(row.id for row in rows if not split_in(inner(row)))
    raise ValueError(
      f'Some classes of {root} have folders train and test, and {other} is in '
      'neither. Move it into one of them.'
    )
  # As in fold1/<class>/*.mp4 and fold2/<class>/*.mp4.
  first, *others = folders.values()
  same = '' not in first and all(inside == first for inside in others)
  if same and 0 < len(others) < 5 and len(first) > 1:
    log.warning(
      'The folders of %s, %s, are read as classes, and all hold %s. If these '
      'are the classes, call the outer folders train and test',
      *(root, ', '.join(folders), ', '.join(sorted(first)[:5])),
    )
  return rows
