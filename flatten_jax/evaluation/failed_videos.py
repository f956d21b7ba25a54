# SPDX-License-Identifier: Apache-2.0
"""Names the videos that cannot be read, in the log and in unreadable.txt."""

from collections.abc import Mapping
import logging
import pathlib

import numpy as np

from flatten_jax.evaluation import metrics
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import multihost
from flatten_jax.text import escape_surrogates

log = logging.getLogger('flatten_jax')

# Odd bytes in a path are written as they are.
PATHS = {'encoding': 'utf-8', 'errors': 'surrogateescape'}


class FailedVideos:
  """Names every video that could not be read, once, in log and file.

  Each process meets others; the first one writes, and learns of what the rest
  met when all of them call `sync`.
  """

  def __init__(self, workdir: str | pathlib.Path):
    self._path = pathlib.Path(workdir) / 'unreadable.txt'
    self._known = set()
    self._untold: list[tuple[str, str]] = []
    if self._path.exists():
      lines = self._path.read_text(**PATHS).splitlines()
      self._known = {line.split('\t')[0] for line in lines}

  def record_index(self, splits: dict[str, Videos], data: Mapping) -> None:
    """Names at the start what an index, if there is one, says of them."""
    for split, videos in splits.items():
      index = video_index.find(videos, data)
      if index is None:
        continue
      entries = [index.get(record.path) for record in videos.records]
      known = [entry for entry in entries if entry]
      bad = [entry for entry in known if entry.cause]
      log.info(
        'Index: %d of %d %s videos are in it, %d of them cannot be read',
        len(known),
        len(entries),
        split,
        len(bad),
      )
      for record, entry in zip(videos.records, entries, strict=True):
        if entry and entry.cause:
          self._add(str(record.path), entry.cause)

  def record(self, batch: dict[str, np.ndarray], videos: Videos) -> None:
    """Takes note of what a batch could not read, the first time it is met."""
    for number, cause in metrics.failures(batch):
      self._add(str(videos[number].path), cause)

  def sync(self) -> None:
    """Tells the first process what the others met; all of them call it."""
    for path, cause in multihost.gather(self._untold):
      self._add(path, cause)
    self._untold = []

  def _add(self, path: str, cause: str) -> None:
    if path in self._known:
      return
    self._known.add(path)
    log.warning('Cannot read %s: %s', escape_surrogates(path), cause)
    if not multihost.is_first():
      self._untold.append((path, cause))
      return
    with self._path.open('a', **PATHS) as file:
      file.write(f'{path}\t{cause}\n')
