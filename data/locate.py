# SPDX-License-Identifier: Apache-2.0
"""Finds the files of videos in any copy of a data set.

Copies are flat, by split, by class or both; with blanks or underscores in class
names; with the annotated suffix or another one.
"""

from collections.abc import Iterable
import dataclasses
import os
import pathlib

from data.annotations import Annotations, Video
from flatten_jax.inputs.sources import duplicates
from flatten_jax.inputs.sources.folders import videos_below
from flatten_jax.inputs.sources.labels import canonical
from flatten_jax.inputs.sources.lists.paths import parts, spellings
from flatten_jax.inputs.sources.rows import Row, has_video_suffix, look
from flatten_jax.inputs.sources.splits import split_in, split_named
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.frame_files.frame_names import is_zip
from flatten_jax.progress import Progress


class Files:
  """All video files below some folders, by name.

  Args:
    roots: the folders.
    id_length: number of leading characters of a name that identify a video; 0:
      all of them, without suffix.
    progress: shows a bar.
    by_folder: names are paths: a file in another folder is another video.
  """

  def __init__(
    self,
    roots: Iterable[str | os.PathLike],
    id_length: int = 0,
    progress: bool = True,
    by_folder: bool = False,
  ):
    self._id_length = id_length
    self._by_folder = by_folder
    # By key: number of folders in the path of --videos, and the file.
    self._paths: dict[str, list[tuple[int, str | FramesPath]]] = {}
    self._alike: dict[str, list[str | FramesPath]] = {}
    bar = Progress('Looking', 'files', disable=not progress)
    for root in map(os.path.expanduser, roots):
      depth = len(pathlib.PurePath(root).parts)
      for path in videos_below(root, depth=1):
        key = self._key(os.fspath(path))
        self._paths.setdefault(key, []).append((depth, path))
        name = look(stem(os.fspath(path)))
        self._alike.setdefault(name, []).append(path)
        bar.update()
    bar.close()

  def __len__(self) -> int:
    return sum(len(paths) for paths in self._paths.values())

  def find(self, video: Video) -> str | FramesPath | None:
    """Returns the file of a video; None if there is none.

    Names of other systems, and those that look alike, come last.
    """
    for name in spellings(video.name):
      if found := self._find(dataclasses.replace(video, name=name)):
        return found
    wanted = [look(part) for part in parts(video.name)]
    alike = self._alike.get(look(stem(video.name)), ())
    found = [
      path
      for path in alike
      if list(map(look, parts(os.fspath(path))))[-len(wanted) : -1]
      == wanted[:-1]
    ]
    return found[0] if len(found) == 1 else None

  def _find(self, video: Video) -> str | FramesPath | None:
    candidates = self._paths.get(self._key(video.name), ())
    ranked = [
      (self._rank(depth, os.fspath(path), video), path)
      for depth, path in candidates
    ]
    ranked = [(rank, path) for rank, path in ranked if rank]
    # The first by name of equals: the same on every machine.
    _, best = min(
      ranked,
      key=lambda r: (tuple(-x for x in r[0]), os.fspath(r[1])),
      default=(None, None),
    )
    if not isinstance(best, FramesPath):
      return best
    return FramesPath(best.path, video.fps, video.skip, video.num_frames)

  def _key(self, path: str) -> str:
    name = stem(path)
    return name[: self._id_length] if self._id_length else name

  def _rank(
    self, depth: int, path: str, video: Video
  ) -> tuple[int, ...] | None:
    """Ranks a file, larger is better; None if it is another video's.

    A replacement of a corrupted file has the same id, and wins.
    """
    folders = [canonical(part) for part in pathlib.PurePath(path).parts[:-1]]
    replaces = bool(self._id_length) and any(
      folder.startswith('replacement') for folder in folders
    )
    wanted, found = stem(video.name), stem(path)
    if not replaces and wanted != found and not self._same_id(wanted, found):
      return None
    expected, label = folders_of(video.name), canonical(video.label or '')
    tail = common_tail(expected, folders)
    # Folders must agree until one of the paths has no more.
    needed = max(1, min(len(expected), len(folders) - depth))
    if self._by_folder and expected and tail < needed:
      return None
    return (
      int(replaces),
      int(wanted == found),
      tail,
      int(label in folders),
      split_agrees(video.split, [f for f in folders if f != label]),
      int(file_name(video.name) == file_name(path)),
    )

  def _same_id(self, wanted: str, found: str) -> bool:
    """Checks whether one name is the id and the other adds times to it."""
    ids = wanted[: self._id_length], found[: self._id_length]
    return (
      bool(self._id_length) and ids[0] == ids[1] and (ids[0] in (wanted, found))
    )


def stem(path: str) -> str:
  """Returns a name without folders and video suffix; ids may hold dots."""
  name = file_name(path)
  has_suffix = has_video_suffix(name) or is_zip(name)
  return os.path.splitext(name)[0] if has_suffix else name


def file_name(path: str) -> str:
  """Returns a name without folders."""
  return path.replace('\\', '/').rsplit('/', 1)[-1]


def folders_of(name: str) -> list[str]:
  """Returns the folders in a video's name, from the outermost on."""
  parts = name.replace('\\', '/').split('/')[:-1]
  return [canonical(part) for part in parts if part not in ('', '.', '..')]


def split_agrees(split: str, folders: list[str]) -> int:
  """Returns 1 if folders name this split, -1 for another one, else 0.

  The innermost counts: '/my_training_videos/test' holds test videos.
  """
  found = next(filter(None, map(split_in, reversed(folders))), None)
  if found is None or split_named(split) is None:
    return 0
  return 1 if found == split else -1


def common_tail(one: list[str], other: list[str]) -> int:
  """Returns the number of folders that agree, counted from the right."""
  count = 0
  for a, b in zip(reversed(one), reversed(other), strict=False):
    if a != b:
      break
    count += 1
  return count


def refuse_two_labels(annotations: Annotations, files: Files) -> None:
  """Logs videos that occur twice; raises ValueError if their labels differ."""
  splits: dict[str, list[Row]] = {'train': []}
  for video in annotations.videos:
    path = files.find(video)
    row = Row(
      video.id,
      video.label,
      start=video.start,
      end=video.end,
      path=path or '',
      labels=video.labels,
    )
    if path:
      splits.setdefault(video.split, []).append(row)
  duplicates.check(splits)
