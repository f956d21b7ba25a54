# SPDX-License-Identifier: Apache-2.0
"""Builds the index of a data set by examining each of its videos once."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
import contextlib
import logging
import os
import pathlib

import av

from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.video_index import Entry, VideoIndex
from flatten_jax.inputs.video import container, frame_decoder
from flatten_jax.inputs.video.frame_files.frame_folder import (
  FrameFolder,
  FramesPath,
)
from flatten_jax.inputs.video.frame_table import (
  decode_all,
  frame_table,
  with_times,
)
from flatten_jax.inputs.video.read import VideoInfo
from flatten_jax.inputs.video.time_limit import TimeLimit
from flatten_jax.progress import Progress

log = logging.getLogger('flatten_jax')


def build(
  paths: Iterable[str | FramesPath],
  file: str | os.PathLike,
  *,
  full: bool = False,
  threads: int | None = None,
  limit: float = 60.0,
  progress: bool = True,
) -> VideoIndex:
  """Brings the index in `file` up to date and opens it.

  Unchanged readable videos are not examined again, so an interrupted build
  resumes. Failures that may be temporary are not recorded: a video that takes
  longer than `limit` seconds, a disk that does not answer. `full` decodes whole
  videos, not only their first frames, to find damage anywhere.
  """
  file = pathlib.Path(file)
  file.parent.mkdir(parents=True, exist_ok=True)
  known = {}
  with contextlib.suppress(FileNotFoundError, ValueError):
    for entry in VideoIndex(file):
      if entry.is_current() and not entry.cause:
        known[entry.path] = entry
  video_index.write(file, known.values())
  paths = {os.path.abspath(path): path for path in paths}
  due = [path for name, path in paths.items() if name not in known]
  with (
    file.open('a') as target,
    ThreadPoolExecutor(threads or os.cpu_count()) as pool,
    Progress('Indexing', 'videos', total=len(due), disable=not progress) as bar,
  ):
    jobs = [pool.submit(examine, path, full, limit) for path in due]
    try:
      for job in as_completed(jobs):
        if entry := job.result():
          target.write(entry.to_json())
        bar.update()
    finally:
      pool.shutdown(cancel_futures=True)
  return VideoIndex(file)


def examine(path: str | FramesPath, full: bool, seconds: float) -> Entry | None:
  """Returns a video's entry, or None for a failure that may be temporary."""
  name = os.path.abspath(path)
  try:
    status = os.stat(name)
  except OSError:
    return Entry(name, 0, 0, cause='no such file')
  key = (name, status.st_size, status.st_mtime_ns)
  limit = TimeLimit(seconds, path)
  try:
    if isinstance(path, FramesPath):  # All of its frames.
      with FrameFolder(FramesPath(name, path.fps), None, seconds) as video:
        return Entry(*key, **vars(describe_frames(video, full)))
    return limit.call(decode_entry, key, full, limit.deadline)
  except container.VideoError as error:
    timeout = isinstance(error, container.VideoTimeout)
    if timeout or isinstance(error.__cause__, OSError):
      log.warning('Not in the index: %s', error)
      return None
    return Entry(*key, cause=error.cause)


def decode_entry(
  key: tuple[str, int, int], full: bool, deadline: float
) -> Entry:
  """Makes an entry by decoding the first frame, or all if that fails."""
  with container.open_video(key[0], deadline) as file:
    table = frame_table(file)
    if table and table.count and not full:
      try:
        _, frame = next(frame_decoder.decode(file, table, [0]))
        table = with_times(file, table)
        info = VideoInfo.of(file, frame, table)
        return Entry(*key, table=table, **vars(info))
      except (frame_decoder.MissingFrame, av.FFmpegError):
        pass  # The first frame is damaged.
    decoded, frame, damage = decode_all(file)
    info = VideoInfo.of(file, frame, decoded, damage)
    table = with_times(file, table) if table and table.count else decoded
  return Entry(*key, table=table, **vars(info))


def describe_frames(video: FrameFolder, full: bool) -> VideoInfo:
  """Describes a folder of frames by its first one; reads all if `full`."""
  height, width = video.read([0]).shape[1:3]
  damage = ''
  try:
    for number in range(1, video.num_frames if full else 1):
      video.read([number])
  except container.VideoTimeout:
    raise
  except container.VideoError as error:
    damage = error.cause
  return VideoInfo(
    num_frames=video.num_frames,
    fps=video.fps,
    duration=video.num_frames / video.fps,
    width=width,
    height=height,
    rotation=0,
    codec='images',
    damage=damage,
  )
