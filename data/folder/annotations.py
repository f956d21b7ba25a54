# SPDX-License-Identifier: Apache-2.0
"""Reads class folders of one's own, or one's own lists.

Without --annotations, the folders in --videos are the classes, or are train,
val and test with the classes in them. A list is a split where its name or its
`split` column says so; otherwise it is divided by whoever trains.
"""

from collections.abc import Sequence
import pathlib

from data import lists
from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  sorted_names,
  split_named,
  split_of,
)
from data.columns import LABEL_COLUMNS
from data.locate import walk


def read(sources: Sources) -> Annotations:
  """Every video with the name of its class.

  Classes are in the order of their numbers where the labels are numbers, as in
  a list without --class_names, else in that of --class_names or the alphabet.
  """
  numbered = None
  if sources.class_names:
    numbered = lists.read_class_names(sources.class_names)
  if sources.annotations:
    videos = read_lists(sources, numbered)
  else:
    videos = read_all_folders(sources.videos)
  if not any(video.label for video in videos):
    raise ValueError(
      'No video has a label: expected class folders, lists of `path label`, or '
      f'lists with a column {", ".join(LABEL_COLUMNS)}.'
    )
  if numbered:
    return Annotations(videos, tuple(numbered[n] for n in sorted(numbered)))
  names = sorted_names(videos)
  if all(name.isdecimal() for name in names):
    names = tuple(sorted(names, key=int))
  return Annotations(videos, names)


def read_lists(
  sources: Sources, numbered: dict[int, str] | None
) -> list[Video]:
  """The rows of all lists that are named or lie in a folder that is."""
  videos = []
  for file in find_files(sources, ('.csv', '.txt', '.tsv')):
    rows = lists.read_list(file)
    if numbered:
      rows = lists.named(rows, numbered, file)
    for row in rows:
      split = split_named(row.split) if row.split else split_of(file)
      videos.append(
        Video(
          id=row.path,
          split=split or 'videos',
          label=row.label,
          name=row.path,
          start=row.start,
          end=row.end,
          fold=row.fold,
        )
      )
  return videos


def read_all_folders(roots: Sequence[pathlib.Path]) -> list[Video]:
  """The videos of several folders as those of one.

  Raises:
    ValueError: two of them hold a video of the same name.
  """
  first = {}
  for root in dict.fromkeys(root.resolve() for root in roots):
    for video in read_folders(root):
      known, _ = first.setdefault((video.split, video.id), (root, video))
      if known != root:
        raise ValueError(
          f'{known} and {root} both hold {video.id}, and one name is one '
          'video. Rename one of them, or give --videos a folder that both lie '
          'in and --annotations a list of paths from there on.'
        )
  return [video for _, video in first.values()]


def read_folders(root: pathlib.Path) -> list[Video]:
  """Videos below class folders, these below folders for splits if there are."""
  splits = {}
  for entry in sorted(root.iterdir()):
    if entry.is_dir() and split_named(entry.name):
      splits.setdefault(split_named(entry.name), entry)
  if 'train' not in splits:
    return read_classes(root, 'videos')
  return [
    v for split, path in splits.items() for v in read_classes(path, split)
  ]


def read_classes(root: pathlib.Path, split: str) -> list[Video]:
  """Videos below `root/<class>/`; a class may be a link to a folder."""
  videos = []
  for path in walk(str(root)):
    inside = pathlib.Path(path).relative_to(root)
    if len(inside.parts) > 1:
      name = inside.as_posix()
      videos.append(Video(name, split, label=inside.parts[0], name=name))
  return sorted(videos, key=lambda video: (video.label, video.id))
