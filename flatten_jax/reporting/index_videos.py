# SPDX-License-Identifier: Apache-2.0
"""Builds the index of a data set: which videos there are, and which to mend."""

import logging
import pathlib

import ml_collections

from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs.sources import index_builder, video_index
from flatten_jax.runtime import run_log, workdirs
from flatten_jax.training import setup

log = logging.getLogger('flatten_jax')


def index_videos(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  full: bool = False,
) -> pathlib.Path:
  """Looks at every video that `config.data` describes, once.

  Training and evaluation use the index wherever they find it. It is brought up
  to date by the same command; videos that have not changed are not looked at
  again.

  Args:
    config: which videos, how many threads look at them, and for how long.
    workdir: gets unreadable.txt and log.txt.
    full: decodes all of every video rather than its first frame.

  Returns:
    The index file: `config.data.index`, or one in ~/.cache/flatten_jax/index.
  """
  workdirs.make_writable(workdir)
  run_log.start(workdir)
  splits = setup.open_videos(config)
  paths = [
    record.path
    for videos in splits.values()
    for record in videos.records
    if video_index.is_file(record.path)
  ]
  if not paths:
    raise ValueError(
      'These videos are in a prepared set, which was looked through when it '
      'was prepared. An index is for videos in files.'
    )
  file = video_index.index_file(config.data)
  index = index_builder.build(
    paths,
    file,
    full=full,
    threads=config.data.threads,
    limit=config.data.time_limit,
  )
  FailedVideos(workdir).record_index(splits, config.data)
  describe(index, paths)
  log.info('The index is %s', file)
  return file


def describe(index: video_index.VideoIndex, paths: list[str]) -> None:
  """The length of it all, and what stands out."""
  entries = [entry for path in paths if (entry := index.get(path))]
  readable = [entry for entry in entries if not entry.cause]
  damaged = [entry for entry in readable if entry.damage]
  log.info(
    '%d videos can be read: %d frames, %.2f hours; %d to %d frames each',
    len(readable),
    sum(entry.num_frames for entry in readable),
    sum(entry.duration for entry in readable) / 3600,
    min((entry.num_frames for entry in readable), default=0),
    max((entry.num_frames for entry in readable), default=0),
  )
  turned = sum(entry.rotation != 0 for entry in readable)
  if turned:
    log.info('%d of them were filmed with the camera turned', turned)
  for entry in damaged:
    log.warning('Damaged: %s: %s', entry.path, entry.damage)
