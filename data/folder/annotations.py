# SPDX-License-Identifier: Apache-2.0
"""Reads class folders of your own, or your own lists.

Without --annotations, the folders in --videos are the classes, or are train,
val and test with the classes in them. A list is a split if its name or its
`split` column says so; otherwise it is split when it is trained on.
"""

from collections.abc import Sequence
import logging
import pathlib

from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  sorted_names,
)
from data.lists import as_video, read_list
from flatten_jax.inputs.sources import class_folders
from flatten_jax.inputs.sources.lists import multi_label as multi_labels
from flatten_jax.inputs.sources.lists.paths import finder, is_one_video
from flatten_jax.inputs.sources.rows import Row, has_video_suffix
from flatten_jax.inputs.sources.splits import split_in, split_of

log = logging.getLogger('data')


def read(sources: Sources) -> Annotations:
  """Returns every video with the name of its class.

  Classes are in the order of --class_names; without it, numbers are sorted as
  numbers and names alphabetically.
  """
  names = sources.read_class_names()
  if sources.annotations:
    videos = read_lists(sources, names)
  elif sources.multi_label:
    raise ValueError(
      '--multi_label is about lists, since a class folder is one label: give '
      'the lists as --annotations.'
    )
  else:
    videos = read_all_folders(sources.videos)
  if not any(video.classes for video in videos):
    raise ValueError(
      'No video has a label: expected class folders, lists of `path label`, or '
      'lists with a column label.'
    )
  if names:
    return Annotations(videos, tuple(names[n] for n in sorted(names)))
  return Annotations(videos, sorted_names(videos))


def read_lists(sources: Sources, names: dict[int, str] | None) -> list[Video]:
  """Returns the videos of all lists in --annotations."""
  videos, finds = [], [finder(str(root)) for root in sources.videos]

  def exists(path: str) -> bool:
    return any(is_one_video(find(path)) for find in finds)

  for file in find_files(sources, ('.csv', '.txt', '.tsv', '.json', '.jsonl')):
    rows = read_list(file, names, exists, sources.multi_label)
    videos_named = any(has_video_suffix(r.id) or exists(r.id) for r in rows)
    multi_labels.hint(rows, '--multi_label')
    if file not in sources.annotations and not videos_named:
      log.warning('%s lists no videos: passed over', file)
      continue
    videos += map(as_video, rows, splits_of(file, rows))
  return videos


def splits_of(file: pathlib.Path, rows: Sequence[Row]) -> list[str]:
  """Returns the split of each row, by its column or else the list's name.

  Raises:
    ValueError: the column has something else, or only some rows have it.
  """
  named = split_in(file.name)
  if not any(row.split for row in rows):
    return [named or 'videos'] * len(rows)
  return [split_of(row) if row.split or not named else named for row in rows]


def read_all_folders(roots: Sequence[pathlib.Path]) -> list[Video]:
  """Merges the videos of several folders.

  Raises:
    ValueError: two of them hold a video of the same name.
  """
  first = {}
  for root in dict.fromkeys(root.resolve() for root in roots):
    for video in read_folders(str(root)):
      known, _ = first.setdefault((video.split, video.id), (root, video))
      if known != root:
        raise ValueError(
          f'{known} and {root} both hold {video.id}, and one name is one '
          'video. Rename one of them, or give --videos a folder that both lie '
          'in and --annotations a list of paths from there on.'
        )
  return [video for _, video in first.values()]


def read_folders(root: str) -> list[Video]:
  """Returns videos of class folders, in folders for splits if there are any."""
  rows = class_folders.read_folder(root, complete=False)
  return [
    Video(row.id, row.split or 'videos', row.label, row.id) for row in rows
  ]
