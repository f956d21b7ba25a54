# SPDX-License-Identifier: Apache-2.0
"""Chooses the videos to explain: files, ids, or mistakes before others."""

from collections.abc import Iterator, Sequence
import contextlib
import os
import pathlib
from typing import Any

import numpy as np

from flatten_jax.evaluation import evaluate, metrics
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.prediction.find_videos import find
from flatten_jax.runtime import context


@contextlib.contextmanager
def open_videos(
  run: context.RunContext, files: Sequence[str | pathlib.Path]
) -> Iterator[tuple[str, Videos]]:
  """Yields the tested split, or the files as if they were one named ''.

  What is downloaded exists as long as the context lasts.
  """
  if files:
    with find(files) as records:
      yield '', Videos(records, ())
    return
  splits = run.open_videos()
  split = evaluate.tested_split(splits)
  if not split:
    raise ValueError('There is neither a test nor a val split; give a file.')
  yield split, splits[split]


def find_ids(videos: Videos, ids: Sequence[str]) -> list[int]:
  """Returns the indices of videos by id; the suffix may be omitted."""
  known = {}
  for index, record in enumerate(videos.records):
    stem = os.path.splitext(record.id)[0]
    known[record.id] = known[stem] = index
  if unknown := [x for x in ids if x not in known]:
    raise ValueError(
      f'There is no video {unknown[0]!r} among {len(videos)}; the first is '
      f'{videos[0].id!r}.'
    )
  return [known[x] for x in ids]


def spread(items: Sequence[int], count: int) -> list[int]:
  """Returns up to `count` items, evenly spaced."""
  places = np.linspace(0, len(items) - 1, min(count, len(items)))
  return [items[round(place)] for place in places]


def known_mistakes(
  workdir: str | pathlib.Path, split: str, videos: Videos, count: int
) -> list[int]:
  """Returns the mistakes of an evaluation, the most confident first."""
  path = pathlib.Path(workdir) / f'predictions_{split}.npz'
  if not path.exists():
    return []
  predictions = metrics.Predictions.load(path)
  numbers = {record.id: i for i, record in enumerate(videos.records)}
  wrong = metrics.most_confident_mistakes(predictions, count)
  ids = [str(predictions.ids[index]) for index in wrong]
  return [numbers[name] for name in ids if name in numbers]


def choose(
  rows: dict[int, dict[str, Any]], wrong: list[int], count: int
) -> list[int]:
  """Returns mistakes, up to half of `count`, then evenly spaced others.

  `rows` are those of explain.json by index of the video; mistakes among them
  are the default of `wrong`.
  """
  surest = sorted(rows, key=lambda index: -rows[index]['probability'])
  wrong = wrong or [i for i in surest if rows[i]['right'] is False]
  wrong = wrong[: count // 2]
  others = [i for i in rows if i not in wrong]
  right = [i for i in others if rows[i]['right'] is not False]
  return wrong + spread(right or others, count - len(wrong))
