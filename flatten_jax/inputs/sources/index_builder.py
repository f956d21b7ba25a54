# SPDX-License-Identifier: Apache-2.0
"""Looks at every video of a data set once, and writes down what it found."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
import json
import logging
import os
import pathlib

import av
import tqdm

from flatten_jax.inputs.sources.video_index import FORMAT, Entry, VideoIndex
from flatten_jax.inputs.video.container import (
  VideoError,
  VideoFile,
  VideoTimeout,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import MissingFrame, decode
from flatten_jax.inputs.video.keyframes import FrameTable, frame_table
from flatten_jax.inputs.video.read import VideoInfo, probe
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

  Videos that are in it and have not changed are not looked at again, so that
  what was interrupted goes on; those that could not be read, are. What may be
  otherwise the next time is left out: a video that takes longer than `limit`, a
  disk that does not answer. It is tried whenever a clip of it is wanted.

  Args:
    paths: of the videos.
    file: the index; made where it is absent.
    full: decodes all of every video rather than its first frame, which finds
      damage farther on. It takes as long as decoding does.
    threads: looking at videos side by side; None for one per core.
    limit: seconds for each video; 0 for any time.
    progress: whether to show a bar.
  """
  file = pathlib.Path(file)
  file.parent.mkdir(parents=True, exist_ok=True)
  entries = current_entries(file)
  paths = dict.fromkeys(os.path.abspath(path) for path in paths)
  due = [path for path in paths if path not in entries]
  write_whole(file, entries.values())
  threads = threads or os.cpu_count() or 1
  with (
    file.open('a') as target,
    ThreadPoolExecutor(threads) as pool,
    tqdm.tqdm(total=len(due), unit='videos', disable=not progress) as bar,
  ):
    jobs = [pool.submit(look, path, full, limit) for path in due]
    try:
      for job in as_completed(jobs):
        entry = job.result()
        if entry:
          target.write(entry.to_json() + '\n')
        bar.update()
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return VideoIndex(file)


def current_entries(file: pathlib.Path) -> dict[str, Entry]:
  """What an index holds that is still so, by path; nothing if it is none.

  Of a video that could not be read nothing is taken to be so.
  """
  try:
    lines = file.read_bytes().splitlines(keepends=True)
    if not lines or json.loads(lines[0]) != FORMAT:
      return {}
  except (FileNotFoundError, ValueError):
    return {}
  entries = [
    Entry.from_json(line) for line in lines[1:] if line.endswith(b'\n')
  ]
  return {
    entry.path: entry
    for entry in entries
    if entry.is_current() and not entry.cause
  }


def write_whole(file: pathlib.Path, entries: Iterable[Entry]) -> None:
  """Writes an index, whole or not at all."""
  partial = file.with_name(f'{file.name}.{os.getpid()}.partial')
  lines = [json.dumps(FORMAT), *(entry.to_json() for entry in entries)]
  partial.write_text('\n'.join(lines) + '\n')
  os.replace(partial, file)


def look(path: str, full: bool, seconds: float) -> Entry | None:
  """What there is to know of one video; never raises for a bad one.

  None where another time might tell otherwise.
  """
  try:
    status = os.stat(path)
  except OSError:
    return Entry(path, 0, 0, cause='no such file')
  key = (path, status.st_size, status.st_mtime_ns)
  limit = TimeLimit(seconds, path)
  try:
    return limit.call(examine, key, full, limit.deadline)
  except VideoError as error:
    if not passing(error):
      return Entry(*key, cause=error.cause)
    log.warning('Not in the index: %s', error)
    return None


def passing(error: VideoError) -> bool:
  """Whether it is about the machine or its patience, not about the file."""
  return isinstance(error, VideoTimeout) or isinstance(error.__cause__, OSError)


def examine(key: tuple[str, int, int], full: bool, deadline: float) -> Entry:
  """`look`, for a file that is there; raises VideoError for a bad one."""
  path = key[0]
  with open_video(path, deadline) as video:
    table = frame_table(video)
    if table and table.count and not full:
      entry = from_first_frame(key, video, table)
      if entry:
        return entry
  info = probe(path, deadline)
  table = table if table and table.count else FrameTable(info.num_frames)
  return Entry(*key, table=table, **vars(info))


def from_first_frame(
  key: tuple[str, int, int], video: VideoFile, table: FrameTable
) -> Entry | None:
  """An entry that costs one frame; None where that one is damaged."""
  try:
    _, frame = next(decode(video, table, [0]))
  except (MissingFrame, av.FFmpegError):
    return None
  info = VideoInfo.of(video, frame, table.count)
  return Entry(*key, table=table, **vars(info))
