# SPDX-License-Identifier: Apache-2.0
"""Builds the index of a data set by examining each of its videos once."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
import logging
import os
import pathlib

import av
import tqdm

from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.video_index import Entry, VideoIndex
from flatten_jax.inputs.video.container import (
  VideoError,
  VideoTimeout,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import (
  MissingFrame,
  decode,
  decode_all,
)
from flatten_jax.inputs.video.keyframes import FrameTable, frame_table
from flatten_jax.inputs.video.read import VideoInfo
from flatten_jax.inputs.video.time_limit import TimeLimit

log = logging.getLogger('flatten_jax')


def build(
  paths: Iterable[str],
  file: str | os.PathLike,
  *,
  full: bool = False,
  threads: int | None = None,
  limit: float = 60.0,
  progress: bool = True,
) -> VideoIndex:
  """Brings the index in `file` up to date and opens it.

  Unchanged videos are not examined again, so an interrupted build resumes;
  unreadable ones are. Temporary failures are not recorded: a video that takes
  longer than `limit`, a disk that does not answer. Such videos are tried
  whenever a clip of them is read.

  Args:
    paths: of the videos.
    file: the index; created if absent.
    full: decodes the whole video and not only its first frame, which finds
      damage anywhere, and takes as long as decoding does.
    threads: number of videos examined in parallel; None for one per core.
    limit: seconds for each video; 0 for no limit.
    progress: shows a bar.
  """
  file = pathlib.Path(file)
  file.parent.mkdir(parents=True, exist_ok=True)
  try:
    known = {
      entry.path: entry
      for entry in VideoIndex(file)
      if entry.is_current() and not entry.cause
    }
  except (FileNotFoundError, ValueError):
    known = {}
  video_index.write(file, known.values())
  paths = dict.fromkeys(os.path.abspath(path) for path in paths)
  due = [path for path in paths if path not in known]
  with (
    file.open('a') as target,
    ThreadPoolExecutor(threads or os.cpu_count()) as pool,
    tqdm.tqdm(total=len(due), unit='videos', disable=not progress) as bar,
  ):
    jobs = [pool.submit(examine, path, full, limit) for path in due]
    try:
      for job in as_completed(jobs):
        entry = job.result()
        if entry:
          target.write(entry.to_json())
        bar.update()
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return VideoIndex(file)


def examine(path: str, full: bool, seconds: float) -> Entry | None:
  """Returns a video's entry, with the cause if the video is unreadable.

  Returns None for failures of the machine, which may be temporary.
  """
  try:
    status = os.stat(path)
  except OSError:
    return Entry(path, 0, 0, cause='no such file')
  key = (path, status.st_size, status.st_mtime_ns)
  limit = TimeLimit(seconds, path)
  try:
    return limit.call(decode_entry, key, full, limit.deadline)
  except VideoError as error:
    is_timeout = isinstance(error, VideoTimeout)
    if is_timeout or isinstance(error.__cause__, OSError):
      log.warning('Not in the index: %s', error)
      return None
    return Entry(*key, cause=error.cause)


def decode_entry(
  key: tuple[str, int, int], full: bool, deadline: float
) -> Entry:
  """Decodes the first frame of a video, or all if that fails, to an entry.

  Raises:
    VideoError: no frame can be decoded, or not in time.
  """
  with open_video(key[0], deadline) as file:
    table = frame_table(file)
    if table and table.count and not full:
      try:
        _, frame = next(decode(file, table, [0]))
        info = VideoInfo.of(file, frame, table.count)
        return Entry(*key, table=table, **vars(info))
      except (MissingFrame, av.FFmpegError):
        pass  # The first frame is damaged.
    count, frame, damage = decode_all(file)
    info = VideoInfo.of(file, frame, count, damage)
  table = table if table and table.count else FrameTable(count)
  return Entry(*key, table=table, **vars(info))
