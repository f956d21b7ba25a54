# SPDX-License-Identifier: Apache-2.0
"""Compares a trained network on clips, shuffled clips, frames and lengths.

A person sees whether his videos are about motion, appearance or an artefact,
without training a network for each.
"""

import dataclasses
import logging
import time
from typing import Any

import jax
import numpy as np

from flatten_jax.checkpoints.load import load_model
from flatten_jax.evaluation import label_mapping, metrics
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.evaluation.order import features, reading, ridge
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.progress import Progress
from flatten_jax.runtime import context, preprocess
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.text import sanitize

log = logging.getLogger('flatten_jax')

MAX_VIDEOS = 2000  # Of the training, evenly by class, and of the test.


def make(
  run: context.RunContext,
  splits: dict[str, Videos],
  split: str,
  predictions: metrics.Predictions,
) -> dict[str, Any]:
  """Makes the order report of the checkpoint of an open run.

  All processes must call it.

  Args:
    run: its config chooses the checkpoint.
    splits: of the data.
    split: that was tested.
    predictions: of that test, the first row.

  Returns:
    'rows' as of `reading.row`, 'reading', 'note', 'videos', 'train_videos' and
    'seconds'; {} if too few videos can be read.
  """
  begin = time.monotonic()
  model = load_model(run.workdir, run.config)
  names, failed = model.class_names, FailedVideos(run.workdir)
  train = label_mapping.match_labels(splits['train'], names, 'training')
  train = _select(train, evenly([r.label for r in train.records], MAX_VIDEOS))
  test = label_mapping.match_labels(splits[split], names, split)
  chosen = _draw(np.flatnonzero(predictions.known), MAX_VIDEOS)
  test = _select(test, chosen)
  step = features.make_step(model.experiment)
  show = {'leave': False, 'disable': jax.process_index() > 0}
  count = len(train) + len(test)
  found = []
  with Progress('Order of frames', 'videos', total=count, **show) as bar:
    for number, videos in enumerate((train, test)):
      orders = features.orders_of(model, number)
      values, scored = features.compute(
        *(model, videos, orders, step, failed, bar)
      )
      sizes = features.lengths(videos, run.config.data.to_dict())
      labels = np.array([record.label for record in videos.records], int)
      parts = (_rows_of(values) | {'length': sizes}).items()
      rows = {name: x[scored] for name, x in parts}
      found.append(_Split(rows, labels[scored], scored))
  train_set, test_set = found
  if min(len(train_set.labels), len(test_set.labels)) < 2:
    log.warning('No order report: it needs two training and two test videos')
    return {}
  own = predictions.answers[chosen[test_set.scored]]
  return _table(train_set, test_set, own, model) | {
    'note': reading.NOTE.format(train=len(train_set.labels)),
    'videos': len(test_set.labels),
    'train_videos': len(train_set.labels),
    'seconds': round(time.monotonic() - begin, 1),
  }


@dataclasses.dataclass(frozen=True)
class _Split:
  """Features and labels of the videos that could be read."""

  rows: dict[str, np.ndarray]  # [N D] by row of the table.
  labels: np.ndarray  # [N]
  scored: np.ndarray  # Those videos among all, bool.


def _table(
  train: _Split, test: _Split, own: np.ndarray, model: LoadedModel
) -> dict[str, Any]:
  """Fits a classifier for each row; returns 'rows' and 'reading'."""
  hits = {'test': own == test.labels}
  for name, values in train.rows.items():
    seen = values, test.rows[name]
    if name == 'length':
      seen = (_bins(sizes, values) for sizes in seen)
    fitted, tested = seen
    answers = ridge.classify(
      fitted, train.labels, tested, len(model.class_names)
    )
    hits[name] = answers == test.labels
  most = np.bincount(train.labels).argmax()
  hits['class'] = test.labels == most
  layout = preprocess.describe(model.config)
  in_order = '' if model.config.flatten == 'random' else 'in order, '
  titles = {
    'test': "this run's own test",
    'clip': f'features, {in_order}{layout}',
    'random': 'features, in random order',
    'average': 'features, mean of single frames',
    'one_frame': 'features, one frame, the middle one',
    'length': 'length of the video alone',
    'class': f'most frequent in training, {sanitize(model.class_names[most])}',
  }
  compared = set(hits) - {'test', 'clip'}
  rows = [
    reading.row(k, title, hits[k], hits['clip'] if k in compared else None)
    for k, title in titles.items()
    if k in hits
  ]
  flow = 'flow' in model.config.data.input
  shown = 'motion within a frame of flow' if flow else 'appearance'
  return {'rows': rows, 'reading': reading.read(rows, hits, shown)}


def _rows_of(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns features by row of the table, from those by order of frames."""
  frames = [name for name in values if name.startswith('frame ')]
  rows = {k: v for k, v in values.items() if k not in frames}
  if frames:
    rows['average'] = np.mean([values[name] for name in frames], axis=0)
    rows['one_frame'] = values[frames[len(frames) // 2]]
  return rows


def _bins(sizes: np.ndarray, fitted: np.ndarray) -> np.ndarray:
  """Returns in which of up to 16 equally full bins lengths are. -> [N D]."""
  columns = []
  for values, known in zip(sizes.T, fitted.T, strict=True):
    edges = np.unique(np.quantile(known, np.linspace(0, 1, 17)[1:-1]))
    columns.append(np.eye(len(edges) + 1)[np.searchsorted(edges, values)])
  return np.concatenate(columns, axis=1)


def evenly(labels: list[int], count: int) -> np.ndarray:
  """Draws up to `count` labelled videos, as many as possible of each class.

  Returns:
    Their numbers, ascending.
  """
  order = np.random.default_rng(0).permutation(len(labels))
  of_class: dict[int, int] = {}
  turns = []
  for number in order.tolist():
    label = labels[number]
    of_class[label] = turn = of_class.get(label, -1) + 1
    if label >= 0:
      turns.append((turn, number))
  # A stable sort by turn: every class has one before any has two.
  turns.sort(key=lambda pair: pair[0])
  return np.sort(np.array([n for _, n in turns[:count]], int))


def _draw(numbers: np.ndarray, count: int) -> np.ndarray:
  """Draws up to `count` of some numbers, ascending."""
  return np.sort(np.random.default_rng(0).permutation(numbers)[:count])


def _select(videos: Videos, numbers: np.ndarray) -> Videos:
  records = tuple(videos.records[i] for i in numbers.tolist())
  return dataclasses.replace(videos, records=records, images=None)
