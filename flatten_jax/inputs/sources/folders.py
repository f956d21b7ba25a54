# SPDX-License-Identifier: Apache-2.0
"""Looks through folders."""

from collections.abc import Callable
import os

from flatten_jax.inputs.sources import lists


def videos_below(folder: str) -> list[str]:
  """Paths of all files that are named like videos, sorted."""
  return files_below(folder, lists.has_video_suffix)


def files_below(
  folder: str, wanted: Callable[[str], bool], above: frozenset = frozenset()
) -> list[str]:
  """Paths of the files whose names are `wanted`, sorted; nothing hidden.

  Links are followed. `above` are the folders that this one lies in, so that
  none leads in a circle.
  """
  try:
    status, entries = os.stat(folder), list(os.scandir(folder))
  except OSError:  # Not there, or not ours to read.
    return []
  here = status.st_dev, status.st_ino
  if here in above:
    return []
  paths = []
  for entry in entries:
    if entry.name.startswith('.'):
      continue
    if entry.is_dir():
      paths += files_below(entry.path, wanted, above | {here})
    elif wanted(entry.name):
      paths.append(entry.path)
  return sorted(paths)


class Folders:
  """Looks files up with one listing per folder instead of a call per file."""

  def __init__(self, base: str):
    self._base = base
    self._listings: dict[str, dict[str, str]] = {}

  def find(self, path: str) -> str | None:
    """The file that `path` means, with or without suffix; None if none."""
    folder, name = os.path.split(os.path.join(self._base, path))
    if folder not in self._listings:
      self._listings[folder] = self._list(folder)
    found = self._listings[folder].get(name)
    return found and os.path.join(folder, found)

  @staticmethod
  def _list(folder: str) -> dict[str, str]:
    """Names of files, and names of videos without their suffix -> names."""
    try:
      names = sorted(os.listdir(folder or '.'))
    except OSError:
      return {}
    videos = [name for name in names if lists.has_video_suffix(name)]
    stems = {os.path.splitext(name)[0]: name for name in videos}
    return stems | {name: name for name in names}
