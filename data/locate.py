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
  """

  def __init__(
    self,
    roots: Iterable[str | os.PathLike],
    id_length: int = 0,
    progress: bool = True,
  ):
    self._id_length = id_length
    self._paths: dict[str, list[str]] = {}
    bar = tqdm(desc='Looking', unit=' files', disable=not progress)
    for root in roots:
      for path in walk(os.path.expanduser(root)):
        self._paths.setdefault(self._key(path), []).append(path)
        bar.update()
    bar.close()

  def __len__(self) -> int:
    return sum(len(paths) for paths in self._paths.values())

  def find(self, video: Video) -> str | None:
    """The file of a video; None where there is none."""
    candidates = self._paths.get(self._key(video.name), ())
    ranked = [(self._rank(path, video), path) for path in candidates]
    ranked = [(rank, path) for rank, path in ranked if rank]
    # Of equals, the first by name: the same on every machine.
    return min(
      ranked,
      key=lambda r: (tuple(-x for x in r[0]), r[1]),
      default=(
        None,
        None,
      ),
    )[1]

  def _key(self, path: str) -> str:
    name = stem(path)
    return name[: self._id_length] if self._id_length else name

  def _rank(self, path: str, video: Video) -> tuple[int, ...] | None:
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
    label = canonical(video.label or '')
    return (
      int(replaces),
      int(wanted == found),
      common_tail(video.name, path),
      int(label in folders),
      int(video.split in map(split_of_folder, folders)),
    )

  def _same_id(self, wanted: str, found: str) -> bool:
    """Whether one of the names is the bare id and the other adds times."""
    ids = wanted[: self._id_length], found[: self._id_length]
    return (
      bool(self._id_length) and ids[0] == ids[1] and (ids[0] in (wanted, found))
    )


def walk(root: str) -> Iterator[str]:
  """Paths of all files that are named like videos; links are followed."""
  seen = set()
  for base, folders, names in os.walk(root, followlinks=True):
    folders[:] = sorted(f for f in folders if not f.startswith('.'))
    status = os.stat(base)
    if (status.st_dev, status.st_ino) in seen:  # A link that leads back.
      folders.clear()
      continue
    seen.add((status.st_dev, status.st_ino))
    for name in sorted(names):
      if not name.startswith('.') and is_video(name):
        yield os.path.join(base, name)


def is_video(name: str) -> bool:
  """Whether a file name ends like a video's."""
  return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def stem(path: str) -> str:
  """The name without folders and a video's suffix; ids may hold dots."""
  name = path.replace('\\', '/').rsplit('/', 1)[-1]
  return os.path.splitext(name)[0] if is_video(name) else name


def split_of_folder(name: str) -> str | None:
  """The split that a folder like 'videos_train' or 'val_256' holds."""
  words = name.replace('-', ' ').split()  # Underscores are blanks already.
  return next((s for s in map(split_named, words) if s), None)


def common_tail(name: str, path: str) -> int:
  """How many folders before the file agree, from the right."""
  pairs = zip(
    reversed(name.split('/')[:-1]),
    reversed(pathlib.PurePath(path).parts[:-1]),
    strict=False,
  )
  count = 0
  for one, other in pairs:
    if canonical(one) != canonical(other):
      break
    count += 1
  return count
