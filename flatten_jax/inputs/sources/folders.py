# SPDX-License-Identifier: Apache-2.0
"""Finds files in folders."""

from collections.abc import Callable, Iterator
import functools
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
  """Yields the paths of files with `wanted` names; hidden ones are left out.

  Follows links, but not back to `parents`, the folders this one lies in.
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


def finder(base: str) -> Callable[[str], str | None]:
  """Returns a function that finds a file by its path, with or without suffix.

  It lists each folder below `base` once, instead of a call per file.
  """

  @functools.cache
  def files(folder: str) -> dict[str, str]:
    try:
      names = sorted(os.listdir(folder or '.'))
    except OSError:
      return {}
    videos = filter(lists.has_video_suffix, names)
    stems = {os.path.splitext(name)[0]: name for name in videos}
    return stems | {name: name for name in names}

  def find(path: str) -> str | None:
    folder, name = os.path.split(os.path.join(base, path))
    found = files(folder).get(name)
    return found and os.path.join(folder, found)

  return find
