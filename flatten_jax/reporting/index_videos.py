# SPDX-License-Identifier: Apache-2.0
"""Examines every video of a data set once, and reports what it finds."""

import logging
import pathlib

import ml_collections

from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs.sources import index_builder, video_index
from flatten_jax.runtime import context

log = logging.getLogger('flatten_jax')


def index_videos(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  full: bool = False,
) -> pathlib.Path:
  """Builds the index of all videos of `config.data`, or brings it up to date.

  Training and evaluation use the index if it exists. Videos that have not
  changed are not examined again.

  Args:
    config: the data, the number of threads, and the time limit of a video.
    workdir: gets unreadable.txt and log.txt.
    full: decodes the whole video and not only its first frame.

  Returns:
    The index file: `config.data.index`, or one in ~/.cache/flatten_jax/index.
  """
  with context.open_run(config, workdir) as run:
    config, splits = run.config, run.open_videos()
    paths = [
      record.path
      for videos in splits.values()
      for record in videos.records
      if video_index.is_file(record.path)
    ]
    if not paths:
      raise ValueError(
        'These videos are in a prepared set, which was examined when it was '
        'prepared. An index is for videos in files.'
      )
    file = video_index.index_file(config.data)
    index = index_builder.build(
      paths,
      file,
      full=full,
      threads=config.data.threads,
      limit=config.data.time_limit,
    )
    FailedVideos(run.workdir).record_index(splits, config.data)
    found = map(index.get, dict.fromkeys(paths))  # Parts share a video.
    _log_summary([entry for entry in found if entry])
    log.info('The index is %s', file)
    return file


def _log_summary(entries: list[video_index.Entry]) -> None:
  """Logs number and length of the videos, and the damaged ones."""
  readable = [entry for entry in entries if not entry.cause]
  frames = [entry.num_frames for entry in readable]
  log.info(
    '%d videos can be read: %d frames, %.2f hours; %d to %d frames each',
    len(readable),
    sum(frames),
    sum(entry.duration for entry in readable) / 3600,
    min(frames, default=0),
    max(frames, default=0),
  )
  if rotated := sum(entry.rotation != 0 for entry in readable):
    log.info('%d of them were filmed with a rotated camera', rotated)
  for entry in readable:
    if entry.damage:
      log.warning('Damaged: %s: %s', entry.path, entry.damage)
