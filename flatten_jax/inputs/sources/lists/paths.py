# SPDX-License-Identifier: Apache-2.0
"""Finds the files of a list, whatever system its paths were written on."""

import collections
from collections.abc import Callable, Iterator, Sequence
import functools
import logging
import os
import re
import urllib.parse

from flatten_jax.inputs.sources.folders import (
  DEBRIS,
  is_debris,
  is_folder,
  subfolders,
  walk,
)
from flatten_jax.inputs.sources.lists import multi_label as multi_labels
from flatten_jax.inputs.sources.lists.read import read_list
from flatten_jax.inputs.sources.rows import Row, has_video_suffix, look
from flatten_jax.inputs.sources.splits import split_in
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.frame_files.frame_names import is_frame, is_zip
from flatten_jax.inputs.video.frame_files.still_images import is_image

log = logging.getLogger('flatten_jax')

Place = str | FramesPath


def spellings(path: str) -> Iterator[str]:
  """Yields a path as it is written, then as other systems write it."""
  yield path
  text = path
  if match := re.match(r'file:(?://(?:localhost)?)?(?=/)', text):
    text = text[match.end() :]
  if '%' in text:
    text = urllib.parse.unquote(text, errors='surrogateescape')
    yield text
  text = re.sub('/{2,}', '/', text.replace('\\', '/'))
  yield text
  yield os.path.expanduser(text)
  yield text.lstrip('/')
  raw = text.encode('utf-8', 'surrogateescape')
  if b'%' not in raw and not text.isprintable():
    yield raw.decode('cp1252', 'replace')


def finder(base: str) -> Callable[[str], Place | None]:
  """Returns a function that finds a video by its path, with or without suffix.

  Exact names come before those that look alike. It lists each folder below
  `base` once, instead of a call per file.
  """
  entries = functools.cache(Entries)

  @functools.cache
  def real_folder(folder: str) -> str:
    """Returns the folder of that name or, if there is none, that look."""
    parent, name = os.path.split(folder)
    if not name or os.path.isdir(folder):
      return folder
    parent = real_folder(parent)
    return os.path.join(parent, entries(parent).alike(name) or name)

  def find(path: str) -> Place | None:
    for exact in (True, False):
      for spelling in spellings(path):
        place = os.path.join(base, spelling).rstrip('/')
        folder, name = os.path.split(place)
        if not exact:
          folder = real_folder(folder)
        found = entries(folder).find(name)
        if not (found or exact) and (alike := entries(folder).alike(name)):
          found = entries(folder).find(alike)
        if found:
          if not exact or found.name != name:
            place = os.path.join(folder, found.name)
          frames = is_zip(place) or is_folder(found)
          return FramesPath(place) if frames else place
    return None

  return find


class Entries:
  """The entries of a folder by name, and its videos by name without suffix."""

  def __init__(self, folder: str):
    try:
      self._names = {entry.name: entry for entry in os.scandir(folder or '.')}
    except (OSError, ValueError):  # The latter: a null byte.
      self._names = {}

  @functools.cached_property
  def _stems(self) -> dict[str, os.DirEntry]:
    return {
      os.path.splitext(name)[0]: self._names[name]
      for wanted in (is_zip, has_video_suffix)  # Video files win.
      for name in sorted(filter(wanted, self._names))
      if not is_debris(name)
    }

  @functools.cached_property
  def _looks(self) -> dict[str, set[str]]:
    looks = collections.defaultdict(set)
    for known in (*self._names, *self._stems):
      looks[look(known)].add(known)
    return looks

  def find(self, name: str) -> os.DirEntry | None:
    """Returns the entry of a video."""
    entry = self._names.get(name)
    if entry and not is_folder(entry):
      return entry
    file = self._stems.get(name)
    if file and entry and not any(map(is_frame, os.listdir(entry))):
      entry = file  # The folder of its name holds something else.
    entry = entry or file
    if not entry and has_video_suffix(name):  # Frames of that file.
      stem = os.path.splitext(name)[0]
      entry = self._names.get(stem) or self._stems.get(stem)
    return entry

  def alike(self, name: str) -> str | None:
    """Returns the one name that looks like another, or None."""
    found = self._looks.get(look(name), ())
    return next(iter(found)) if len(found) == 1 else None


def parts(path: str) -> list[str]:
  """Returns folders and name of a path of any system, without a drive."""
  *_, text = spellings(path)
  text = re.sub(r'^[A-Za-z]:', '', text)
  return [part for part in text.split('/') if part not in ('', '.')]


def open_list(
  file: str, prefix: str, group: str = '', multi_label: bool = False
) -> list[Row]:
  """Reads a list and finds its files; missing ones have the path as written.

  Args:
    file: the list.
    prefix: the folder where its paths begin; '': that of the list.
    group: the column of videos that stay together, see `data.group`.
    multi_label: reads several labels of a video, see `data.multi_label`.

  Raises:
    FileNotFoundError: none of the files exists.
    ValueError: the list cannot be read; its line is named.
  """
  base = prefix or os.path.dirname(file)
  places = [base]
  split = split_in(os.path.basename(file))
  if split and not prefix:  # train.csv may list what is in train/.
    names = [n for n in subfolders(base or '.') if split_in(n) == split]
    places += [os.path.join(base, name) for name in names]
  finds = [*map(finder, places)]
  rows = read_list(
    file,
    lambda p: any(is_one_video(f(p)) for f in finds),
    group,
    multi_label,
  )
  if multi_label:
    rows = multi_labels.merged(rows)
  ids = [row.id for row in rows]
  for begin, find in zip(places, finds, strict=True):
    paths = list(map(find, ids))
    written = [os.path.join(begin, name) for name in ids]
    if any(paths):
      break
  else:
    paths = find_tails(ids, finds[0])
    written = [os.path.join(base, name) for name in ids]
  if not any(paths):
    raise FileNotFoundError(
      f'None of the {len(rows)} videos of {file} exists; the first would be '
      f'{written[0]}. {place_hint(ids[0], base)}'
    )
  report(file, ids, written, paths)
  return [
    row._replace(path=place(row, found or missing))
    for row, found, missing in zip(rows, paths, written, strict=True)
  ]


def is_one_video(path: Place | None) -> bool:
  """Checks whether a path exists and is not a folder of video files."""
  return isinstance(path, str) or bool(path and not any(walk(path.path)))


def place(row: Row, path: Place) -> Place:
  """Adds to a folder of frames what a list says about it."""
  if isinstance(path, str):
    return path
  return FramesPath(path.path, row.fps, row.skip, row.num_frames)


def find_tails(
  paths: Sequence[str], find: Callable[[str], Place | None]
) -> list[Place | None]:
  """Finds files by their paths without as few leading folders as possible.

  Paths of another machine, or of the folder that the list was written in, begin
  with folders that do not exist here.
  """
  sample = list(dict.fromkeys(paths))[:: len(paths) // 64 + 1]
  tails = list(map(parts, paths))
  for dropped in range(max(map(len, tails))):
    some = {'/'.join(parts(path)[dropped:]) for path in sample} - {''}
    if len({*map(find, some)} - {None}) > len(sample) / 2:
      return [find('/'.join(tail[dropped:])) for tail in tails]
  return [None] * len(paths)


def place_hint(path: str, base: str) -> str:
  """Returns a sentence that says what `data.prefix` should be."""
  if re.match(r'(?!file:)\w+://', path):
    return 'Videos are read from files: download them, and list the files.'
  *_, name = parts(path)
  if near := next(walk(base, lambda found: found == name), None):
    return f'There is {near}: set data.prefix to the folder where paths begin.'
  return 'Set data.prefix to the folder where its paths begin.'


def report(
  file: str,
  ids: Sequence[str],
  written: Sequence[str],
  paths: Sequence[Place | None],
) -> None:
  """Logs how many files are missing, or were found by another spelling."""
  missing, images, others = [], [], []
  for name, expected, path in zip(ids, written, paths, strict=True):
    if not path:
      missing.append(f'{name} ({len(ids)} are listed)')
    elif path == expected and has_video_suffix(name):
      continue
    elif os.path.splitext(path)[0] != os.path.splitext(expected)[0]:
      others.append(f'{name!r} to {path}')
    if isinstance(path, str) and is_image(path):
      images.append(path)
  debris = [name for name in ids if DEBRIS & {*name.lower().split('/')}]
  for found, text in (
    (
      images,
      '%d paths of %s are images, like %s: each is a video of one frame. For '
      'the frames of videos, list the folders they are in.',
    ),
    (debris, '%d paths of %s are of previews or waste of a system, like %s'),
    (others, '%d paths of %s lead to files of another spelling: %s'),
    (missing, '%d videos of %s are missing, like %s'),
  ):
    if found:
      log.warning(text, len(found), file, found[0])
