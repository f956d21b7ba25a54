# SPDX-License-Identifier: Apache-2.0
"""Finds files in folders."""

from collections.abc import Callable, Iterator
import os

from flatten_jax.inputs.sources import lists


def videos_below(folder: str) -> list[str]:
  """Returns the paths of all video files in a folder and below, sorted."""
  return sorted(walk(folder))


def walk(
  folder: str,
  wanted: Callable[[str], bool] = lists.has_video_suffix,
  parents: frozenset = frozenset(),
) -> Iterator[str]:
  """Yields the paths of the files whose names are `wanted`; none is hidden.

  Links are followed. `parents` are the folders that this one lies in, so that
  no link leads in a circle.
  """
  try:
    status = os.stat(folder)
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
  except OSError:  # It does not exist, or may not be read.
    return
  own = status.st_dev, status.st_ino
  if own in parents:
    return
  for entry in entries:
    if entry.name.startswith('.'):
      continue
    if entry.is_dir():
      yield from walk(entry.path, wanted, parents | {own})
    elif wanted(entry.name):
      yield entry.path


class Folders:
  """Looks files up with one listing per folder instead of a call per file."""

  def __init__(self, base: str):
    self._base = base
    self._listings: dict[str, dict[str, str]] = {}

  def find(self, path: str) -> str | None:
    """Returns the file for a path with or without suffix; None if absent."""
    folder, name = os.path.split(os.path.join(self._base, path))
    if folder not in self._listings:
      self._listings[folder] = self._list(folder)
    found = self._listings[folder].get(name)
    return found and os.path.join(folder, found)

  @staticmethod
  def _list(folder: str) -> dict[str, str]:
    """Maps file names, and video names without suffix, to file names."""
    try:
      names = sorted(os.listdir(folder or '.'))
    except OSError:
      return {}
    videos = [name for name in names if lists.has_video_suffix(name)]
    stems = {os.path.splitext(name)[0]: name for name in videos}
    return stems | {name: name for name in names}
