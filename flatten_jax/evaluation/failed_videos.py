# SPDX-License-Identifier: Apache-2.0
"""Records videos that cannot be read, in the log and in unreadable.txt."""

from collections.abc import Mapping
import logging
import pathlib

import numpy as np

from flatten_jax.inputs.parts import frame_range
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.runtime.devices import multihost
from flatten_jax.text import escape_surrogates

log = logging.getLogger('flatten_jax')

# Bytes of a path that are not UTF-8 are written unchanged.
PATH_ENCODING = {'encoding': 'utf-8', 'errors': 'surrogateescape'}


class FailedVideos:
  """Records every video that could not be read, once, in log and file.

  Each process sees other videos. The first one writes the file, with those of
  the others when all of them call `sync`.
  """

  def __init__(self, workdir: str | pathlib.Path):
    self._path = pathlib.Path(workdir) / 'unreadable.txt'
    self._known = set()
    self._unsent: list[tuple[str, str]] = []
    if self._path.exists():
      lines = self._path.read_text(**PATH_ENCODING).splitlines()
      self._known = set(lines)

  def record_index(self, splits: dict[str, Videos], data: Mapping) -> None:
    """Records the unreadable videos of an index, if there is one."""
    for split, videos in splits.items():
      index = video_index.find(videos, data)
      if index is None:
        continue
      entries = [index.get(record.path) for record in videos.records]
      causes = [
        (str(record.path), cause)
        for record, entry in zip(videos.records, entries, strict=True)
        if entry and (cause := _cause_of(record, entry))
      ]
      log.info(
        'Index: %d of %d %s videos are in it, %d of them cannot be read',
        *(sum(map(bool, entries)), len(entries), split, len(causes)),
      )
      for path, cause in causes:
        self._add(path, cause)

  def record(self, batch: dict[str, np.ndarray], videos: Videos) -> None:
    """Records the unreadable videos of a batch."""
    for number, cause in failures(batch):
      self._add(str(videos[number].path), cause)

  def sync(self) -> None:
    """Sends the records of all processes to the first; all must call it."""
    for path, cause in multihost.gather(self._unsent):
      self._add(path, cause)
    self._unsent = []

  def _add(self, path: str, cause: str) -> None:
    line = f'{path}\t{cause}'  # Several parts of a video may be listed.
    if line in self._known:
      return
    self._known.add(line)
    log.warning('Cannot read %s: %s', escape_surrogates(path), cause)
    if not multihost.is_first():
      self._unsent.append((path, cause))
      return
    with self._path.open('a', **PATH_ENCODING) as file:
      file.write(f'{line}\n')


def _cause_of(record: Record, entry: video_index.Entry) -> str:
  """Returns why a record's part of a video cannot be read; '' if it can."""
  # Frames in a folder need no times to be found by their numbers.
  if entry.cause or isinstance(record.path, FramesPath):
    return entry.cause
  try:
    frame_range(record, entry)
  except VideoError as error:
    return error.cause
  return ''


def failures(batch: dict[str, np.ndarray]) -> list[tuple[int, str]]:
  """Returns (record number, cause) of each unreadable video of a batch."""
  return [
    (int(number), decode_cause(cause))
    for number, cause in zip(batch['failed'], batch['error'], strict=True)
    if number >= 0
  ]


def decode_cause(cause: bytes) -> str:
  """Decodes the cause of a failure from the bytes in a batch."""
  return bytes(cause).rstrip(b'\0').decode('utf-8', 'replace')
