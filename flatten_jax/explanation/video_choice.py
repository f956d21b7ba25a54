# SPDX-License-Identifier: Apache-2.0
"""Which videos to look at: files, videos of a split, mistakes before others."""

from collections.abc import Sequence
import pathlib
from typing import Any

import ml_collections
import numpy as np

from flatten_jax.evaluation import evaluate, metrics
from flatten_jax.inputs import views
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.prediction.find_videos import find
from flatten_jax.reporting import mistakes
from flatten_jax.runtime import run_log, workdirs
from flatten_jax.training import setup


def open_videos(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  files: Sequence[str | pathlib.Path],
) -> tuple[str, Videos]:
  """The split to look at, or the files as if they were one."""
  if not files:
    splits = setup.prepare(config, workdir)
    split = evaluate.tested_split(splits)
    if not split:
      raise ValueError('There is neither a test nor a val split; give a file.')
    return split, splits[split]
  setup.prepare_device(config)
  workdirs.make_writable(workdir)
  run_log.start(workdir)
  with find(files) as records:
    return '', Videos(records, ())


def find_ids(videos: Videos, ids: Sequence[str]) -> list[int]:
  """Where the videos of these ids are; a suffix may be left out."""
  known = {}
  for index, record in enumerate(videos.records):
    known[record.id] = known[
      str(pathlib.PurePath(record.id).with_suffix(''))
    ] = index
  if unknown := [x for x in ids if x not in known]:
    raise ValueError(
      f'There is no video {unknown[0]!r} among {len(videos)}; the first is '
      f'{videos[0].id!r}.'
    )
  return [known[x] for x in ids]


def spread(items: Sequence[int], count: int) -> list[int]:
  """So many of them, or all, from the first to the last."""
  places = np.linspace(0, len(items) - 1, min(count, len(items)))
  return [items[round(place)] for place in places]


def known_mistakes(
  workdir: str | pathlib.Path, split: str, videos: Videos, count: int
) -> list[int]:
  """What an evaluation got wrong, if there was one; most confident first."""
  path = pathlib.Path(workdir) / f'predictions_{split}.npz'
  if not path.exists():
    return []
  known = metrics.Predictions.load(path)
  num_views = views.parse(known.views).count if known.views else 1
  numbers = {record.id: i for i, record in enumerate(videos.records)}
  found = mistakes.most_confident(known, num_views, count)
  return [numbers[x.video] for x in found if x.video in numbers]


def choose(
  rows: dict[int, dict[str, Any]], wrong: list[int], count: int
) -> list[int]:
  """Mistakes, up to half of `count`, then others from all over the split.

  Args:
    rows: what was seen, by the video's number.
    wrong: numbers of known mistakes; if there are none, `rows` has to do.
    count: how many.
  """
  surest = sorted(rows, key=lambda index: -rows[index]['probability'])
  wrong = wrong or [i for i in surest if rows[i]['right'] is False]
  wrong = wrong[: count // 2]
  others = [i for i in rows if i not in wrong]
  right = [i for i in others if rows[i]['right'] is not False]
  return wrong + spread(right or others, count - len(wrong))
