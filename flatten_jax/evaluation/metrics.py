# SPDX-License-Identifier: Apache-2.0
"""Sums the views of every video, scores them, says of how many videos."""

from collections.abc import Callable, Iterable
import csv
import dataclasses
import json
import logging
import os
import pathlib
from typing import Any

import jax
import numpy as np

from flatten_jax.inputs import views as views_notation
from flatten_jax.inputs.sources.dataset import Videos

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What a model says of every video of a split.

  Attributes:
    ids: one name per video, [N].
    labels: class numbers, [N]; -1 where unknown.
    logits: summed over the views, float32 [N K].
    scored: whether the video could be read, bool [N].
    class_names: K names, in the order of the logits.
    views: how often and how each video was looked at, as in '224x16x3x10';
      empty in files of before it was written down.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  scored: np.ndarray
  class_names: tuple[str, ...]
  views: str = ''

  def save(self, path: str | pathlib.Path) -> None:
    """Writes a .npz that `load` and plain numpy read, whole or not at all."""
    path = pathlib.Path(path)
    arrays = dataclasses.asdict(self)
    arrays['class_names'] = np.array(self.class_names)
    arrays['views'] = np.array(self.views)
    partial = path.with_suffix('.partial.npz')
    np.savez_compressed(partial, **arrays)
    os.replace(partial, path)

  @classmethod
  def load(cls, path: str | pathlib.Path) -> 'Predictions':
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
    arrays['class_names'] = tuple(arrays['class_names'].tolist())
    arrays['views'] = str(arrays.get('views', ''))
    return cls(**arrays)

  @property
  def finite(self) -> np.ndarray:
    """Whether all logits of each video are numbers. [N]"""
    return np.isfinite(self.logits).all(-1)

  def confusion(self) -> np.ndarray:
    """[K K] counts of scored videos: row is the label, column the answer.

    A video whose logits are no numbers has no answer, and is in no column.
    """
    num_classes = len(self.class_names)
    counts = np.zeros((num_classes, num_classes), np.int64)
    known = self.scored & (self.labels >= 0) & self.finite
    answers = self.logits[known].argmax(-1)
    np.add.at(counts, (self.labels[known], answers), 1)
    return counts


def compute_metrics(predictions: Predictions) -> dict[str, Any]:
  """Accuracies in percent, over the videos that could be read.

  Returns:
    'top1', 'top5', 'mean_class' (mean over classes of each one's top-1), how
    many 'videos' there are and how many of them were 'scored', and the 'views'
    where they are known.
  """
  known = predictions.scored & (predictions.labels >= 0)
  labels, logits = predictions.labels[known], predictions.logits[known]
  counts = {'videos': len(known), 'scored': int(known.sum())}
  if predictions.views:
    counts['views'] = predictions.views
  if not known.any():
    return {'top1': 0.0, 'top5': 0.0, 'mean_class': 0.0} | counts
  own = np.take_along_axis(logits, labels[:, None], axis=1)
  # Rank of the label; a tie counts against the model, and so does what is not
  # a number.
  rank = (~(logits < own)).sum(-1)
  videos_of = np.bincount(labels)
  hits_of = np.bincount(labels, weights=rank <= 1)
  per_class = hits_of[videos_of > 0] / videos_of[videos_of > 0]
  return {
    'top1': 100 * float((rank <= 1).mean()),
    'top5': 100 * float((rank <= 5).mean()),
    'mean_class': 100 * float(per_class.mean()),
  } | counts


def predict_videos(
  batches: Iterable[dict[str, np.ndarray]],
  forward: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]],
  videos: Videos,
  unreadable: Callable[[dict[str, np.ndarray], Videos], None],
  views: str = '',
) -> Predictions:
  """Runs `forward` over all views and sums the logits of each video.

  Memory is two batches of clips and one row of logits per video, however many
  views there are: while the devices score a batch, the next is fetched.

  Args:
    batches: from `inputs.pipeline.eval_batches`.
    forward: batch -> 'logits' [B K], 'index' [B] and 'mask' [B] of the whole
      batch, the same on every process.
    videos: of the split.
    unreadable: told of every batch, to note what could not be read.
    views: which they are, to be kept with the predictions.
  """
  ids = np.array([record.id for record in videos.records])
  labels = np.array([record.label for record in videos.records], np.int32)
  logits = np.zeros((len(ids), videos.num_classes), np.float64)
  scored = np.zeros(len(ids), bool)

  def add(result):
    result = jax.device_get(result)
    mask = result['mask']
    np.add.at(logits, result['index'][mask], result['logits'][mask])
    scored[result['index'][mask]] = True

  before = None
  for batch in batches:
    unreadable(batch, videos)
    result = forward(batch)
    if before:
      add(before)
    before = result
  if before:
    add(before)
  logits = logits.astype(np.float32)
  return Predictions(ids, labels, logits, scored, videos.class_names, views)


def failures(batch: dict[str, np.ndarray]) -> list[tuple[int, str]]:
  """(record number, cause) of each video that a batch could not read."""
  return [
    (int(number), decoded(cause))
    for number, cause in zip(batch['failed'], batch['error'], strict=True)
    if number >= 0
  ]


def decoded(cause: bytes) -> str:
  """Why a video cannot be read, from the bytes that a batch holds."""
  return bytes(cause).rstrip(b'\0').decode('utf-8', 'replace')


def summary(split: str, scores: dict[str, Any]) -> str:
  """One line for the log: the accuracies, the views, and of how many videos."""
  seen = f'views {scores["views"]}' if 'views' in scores else 'views unknown'
  return (
    f'{split} ({seen}): top-1 {scores["top1"]:.2f} %, '
    f'top-5 {scores["top5"]:.2f} %, mean class {scores["mean_class"]:.2f} %; '
    f'{scores["scored"]} of {scores["videos"]} videos scored'
  )


def cost_line(scores: dict[str, Any]) -> str:
  """What a score cost: GFLOPs x views; empty where that is not known."""
  if 'gflops_per_view' not in scores:
    return ''
  views, gflops = (
    views_notation.parse(scores['views']),
    scores['gflops_per_view'],
  )
  return (
    f'{scores["views"]} is {views.describe()}: {gflops:.4g} GFLOPs x '
    f'{views.count} views = {gflops * views.count:.4g} GFLOPs per video, '
    f'{scores["params_m"]:.4g} M parameters.'
  )


def write_results(
  workdir: str | pathlib.Path,
  split: str,
  scores: dict[str, Any],
  predictions: Predictions,
) -> None:
  """Writes results.json, predictions_<split>.npz, confusion_<split>.csv."""
  workdir = pathlib.Path(workdir)
  predictions.save(workdir / f'predictions_{split}.npz')
  table = workdir / f'confusion_{split}.csv'
  with table.open('w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file)
    writer.writerow(['label \\ answer', *predictions.class_names])
    rows = zip(predictions.class_names, predictions.confusion(), strict=True)
    writer.writerows([name, *counts] for name, counts in rows)
  path = workdir / 'results.json'
  results = json.loads(path.read_text()) if path.exists() else {}
  results[split] = scores
  partial = path.with_suffix('.partial')
  partial.write_text(json.dumps(results, indent=2) + '\n')
  os.replace(partial, path)


def score_workdir(workdir: str | pathlib.Path) -> dict[str, Any]:
  """Scores the predictions files of a workdir again, without any model.

  Returns:
    {split: accuracies}, as `compute_metrics` computes them.

  Raises:
    FileNotFoundError: nothing was evaluated there.
  """
  files = sorted(pathlib.Path(workdir).glob('predictions_*.npz'))
  if not files:
    raise FileNotFoundError(
      f'No predictions_*.npz in {workdir}; --mode=evaluate writes one.'
    )
  return {
    file.stem.removeprefix('predictions_'): compute_metrics(
      Predictions.load(file)
    )
    for file in files
  }
