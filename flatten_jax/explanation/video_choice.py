# SPDX-License-Identifier: Apache-2.0
"""Chooses the videos to explain: files, ids, or mistakes before others."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import logging
import os
import pathlib
from typing import Any

import numpy as np

from flatten_jax.evaluation import evaluate, metrics
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.prediction.find_videos import find
from flatten_jax.runtime import context

log = logging.getLogger('flatten_jax')


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


def find_ids(videos: Videos, ids: Iterable[str]) -> list[int]:
  """Returns the indices of videos by id; the suffix may be omitted.

  Raises:
    ValueError: there are no ids, an id is not known, or several videos differ
      from it by the suffix.
  """
  ids = list(ids)
  if not ids:
    raise ValueError('Expected ids of videos, or a number of them; got none.')
  known: dict[str, list[int]] = {}
  for index, record in enumerate(videos.records):
    known.setdefault(os.path.splitext(record.id)[0], []).append(index)
  known |= {record.id: [i] for i, record in enumerate(videos.records)}
  for name in ids:
    if name not in known:
      raise ValueError(
        f'There is no video {name!r} among {len(videos)}; the first is '
        f'{videos[0].id!r}.'
      )
    if len(known[name]) > 1:
      found = ', '.join(repr(videos[index].id) for index in known[name])
      raise ValueError(f'Give {name!r} its suffix: there are {found}.')
  return [index for name in ids for index in known[name]]


def spread(items: Sequence[int], count: int) -> list[int]:
  """Returns up to `count` items, evenly spaced."""
  places = np.linspace(0, len(items) - 1, min(count, len(items)))
  return [items[round(place)] for place in places]


def known_mistakes(
  workdir: str | pathlib.Path, split: str, videos: Videos, count: int
) -> list[int]:
  """Returns the mistakes of an evaluation, the most confident first.

  There are none, and a warning, if its file is damaged.
  """
  path = pathlib.Path(workdir) / f'predictions_{split}.npz'
  if not path.exists():
    return []
  try:
    predictions = metrics.Predictions.load(path)
  except ValueError as error:
    log.warning('Mistakes are not known: %s', error)
    return []
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
