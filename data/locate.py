# SPDX-License-Identifier: Apache-2.0
"""Finds the file of a video, however a copy of the data set is laid out.

Flat, by split, by class or both; with blanks or underscores in the names of
classes; with the annotated suffix or another one.
"""

from collections.abc import Iterable, Iterator
import os
import pathlib

from tqdm import tqdm

from data.annotations import Video, canonical, split_named
from data.lists import VIDEO_SUFFIXES


class Files:
  """All video files below some folders, looked up by name.

  Args:
    roots: the folders.
    id_length: files are found by so many first characters of their names; 0:
      by all of them, suffix apart.
    progress: whether to show how many were found.
    by_folder: whether names are paths, so that a file in another folder is
      another video.
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
    # By key: how many folders are above --videos and in its path, and the file.
    self._paths: dict[str, list[tuple[int, str]]] = {}
    bar = tqdm(desc='Looking', unit=' files', disable=not progress)
    for root in map(os.path.expanduser, roots):
      above = len(pathlib.PurePath(root).parts)
      for path in walk(root):
        self._paths.setdefault(self._key(path), []).append((above, path))
        bar.update()
    bar.close()

  def __len__(self) -> int:
    return sum(len(paths) for paths in self._paths.values())

  def find(self, video: Video) -> str | None:
    """The file of a video; None where there is none."""
    candidates = self._paths.get(self._key(video.name), ())
    ranked = [(self._rank(*file, video), file[1]) for file in candidates]
    ranked = [(rank, path) for rank, path in ranked if rank]
    # Of equals, the first by name: the same on every machine.
    best = min(
      ranked, key=lambda r: (tuple(-x for x in r[0]), r[1]), default=None
    )
    return best and best[1]

  def _key(self, path: str) -> str:
    name = stem(path)
    return name[: self._id_length] if self._id_length else name

  def _rank(
    self, above: int, path: str, video: Video
  ) -> tuple[int, ...] | None:
    """How well a file fits, the larger the better; None: it is another video.

    What replaces a corrupted file is called like it up to the id, and wins.
    """
    folders = [canonical(part) for part in pathlib.PurePath(path).parts[:-1]]
    replaces = bool(self._id_length) and any(
      folder.startswith('replacement') for folder in folders
    )
    wanted, found = stem(video.name), stem(path)
    if not replaces and wanted != found and not self._same_id(wanted, found):
      return None
    said, label = folders_of(video.name), canonical(video.label or '')
    tail = common_tail(said, folders)
    # Folders agree until those of the one or of the other come to an end.
    needed = max(1, min(len(said), len(folders) - above))
    if self._by_folder and said and tail < needed:
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
    """Whether one of the names is the bare id and the other adds times."""
    ids = wanted[: self._id_length], found[: self._id_length]
    return (
      bool(self._id_length) and ids[0] == ids[1] and (ids[0] in (wanted, found))
    )


def walk(root: str, above: frozenset = frozenset()) -> Iterator[str]:
  """Paths of all files that are named like videos; links are followed.

  Args:
    root: the folder.
    above: the folders that it lies in, so that no link leads in a circle.
  """
  try:
    status, entries = os.stat(root), sorted(os.scandir(root), key=by_name)
  except OSError:  # Not there, or not ours to read.
    return
  here = status.st_dev, status.st_ino
  if here in above:
    return
  for entry in entries:
    if entry.name.startswith('.'):
      continue
    if entry.is_dir():
      yield from walk(entry.path, above | {here})
    elif is_video(entry.name):
      yield entry.path


def by_name(entry: os.DirEntry) -> str:
  """What entries of a folder are sorted by."""
  return entry.name


def is_video(name: str) -> bool:
  """Whether a file name ends like a video's."""
  return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def stem(path: str) -> str:
  """The name without folders and a video's suffix; ids may hold dots."""
  name = file_name(path)
  return os.path.splitext(name)[0] if is_video(name) else name


def file_name(path: str) -> str:
  """The name without folders."""
  return path.replace('\\', '/').rsplit('/', 1)[-1]


def folders_of(name: str) -> list[str]:
  """The folders that a video's name says, from the outermost on."""
  parts = name.replace('\\', '/').split('/')[:-1]
  return [canonical(part) for part in parts if part not in ('', '.', '..')]


def split_agrees(split: str, folders: list[str]) -> int:
  """Whether folders say that split: 1, nothing of splits: 0, or another: -1.

  The innermost counts: '/my_training_videos/test' holds what is tested on.
  """
  said = next(filter(None, map(split_of_folder, reversed(folders))), None)
  if said is None or split_named(split) is None:
    return 0
  return 1 if said == split else -1


def split_of_folder(name: str) -> str | None:
  """The split that a folder like 'videos_train' or 'val_256' holds."""
  words = name.replace('-', ' ').split()  # Underscores are blanks already.
  return next((s for s in map(split_named, words) if s), None)


def common_tail(one: list[str], other: list[str]) -> int:
  """How many folders before the file agree, from the right."""
  count = 0
  for a, b in zip(reversed(one), reversed(other), strict=False):
    if a != b:
      break
    count += 1
  return count
