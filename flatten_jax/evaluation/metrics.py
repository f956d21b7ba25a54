# SPDX-License-Identifier: Apache-2.0
"""Predictions of a split, summed over views, and accuracies from them."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import scipy.special

from flatten_jax.inputs import views as views_notation


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Logits of a model for every video of a split.

  Attributes:
    ids: one name per video, [N].
    labels: class numbers, [N]; -1 if unknown.
    logits: summed over the views, float32 [N K].
    scored: whether the video could be read, bool [N].
    class_names: K names, in the order of the logits.
    views: views of each video, as in '224x16x3x10'.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  scored: np.ndarray
  class_names: tuple[str, ...]
  views: str = ''

  def save(self, path: str | pathlib.Path) -> None:
    """Writes a .npz file atomically; numpy alone can read it."""
    path = pathlib.Path(path)
    arrays = dataclasses.asdict(self)
    arrays['class_names'] = np.array(self.class_names)
    arrays['views'] = np.array(self.views)
    partial = path.with_suffix('.partial.npz')
    np.savez_compressed(partial, **arrays)
    os.replace(partial, path)

  @classmethod
  def load(cls, path: str | pathlib.Path) -> 'Predictions':
    """Reads a file that `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
    arrays['class_names'] = tuple(arrays['class_names'].tolist())
    arrays['views'] = str(arrays['views'])
    return cls(**arrays)

  @property
  def finite(self) -> np.ndarray:
    """Marks videos whose logits are all finite, [N]."""
    return np.isfinite(self.logits).all(-1)

  def probabilities(self) -> np.ndarray:
    """Returns the probabilities of the mean over the views, float32 [N K]."""
    num_views = views_notation.parse(self.views).count if self.views else 1
    return scipy.special.softmax(self.logits / num_views, axis=-1)

  def confusion(self) -> np.ndarray:
    """Counts scored videos by label (row) and predicted class (column), [K K].

    Videos whose logits are not finite have no prediction and are left out.
    """
    num_classes = len(self.class_names)
    counts = np.zeros((num_classes, num_classes), np.int64)
    known = self.scored & (self.labels >= 0) & self.finite
    answers = self.logits[known].argmax(-1)
    np.add.at(counts, (self.labels[known], answers), 1)
    return counts


def compute_metrics(predictions: Predictions) -> dict[str, Any]:
  """Computes accuracies in percent, over the videos that could be read.

  Returns:
    'top1', 'top5', 'mean_class' (mean of the top-1 of each class), the number
    of 'videos' and of 'scored' ones, and the 'views'.
  """
  known = predictions.scored & (predictions.labels >= 0)
  labels, logits = predictions.labels[known], predictions.logits[known]
  counts = {
    'videos': len(known),
    'scored': int(known.sum()),
    'views': predictions.views,
  }
  if not known.any():
    return {'top1': 0.0, 'top5': 0.0, 'mean_class': 0.0} | counts
  own = np.take_along_axis(logits, labels[:, None], axis=1)
  # Rank of the label. Ties and NaN count against the model.
  rank = (~(logits < own)).sum(-1)
  videos_of = np.bincount(labels)
  hits_of = np.bincount(labels, weights=rank <= 1)
  per_class = hits_of[videos_of > 0] / videos_of[videos_of > 0]
  return {
    'top1': 100 * float((rank <= 1).mean()),
    'top5': 100 * float((rank <= 5).mean()),
    'mean_class': 100 * float(per_class.mean()),
  } | counts


def most_confident_mistakes(predictions: Predictions, count: int) -> np.ndarray:
  """Returns up to `count` videos with wrong answers, most confident first.

  Videos with unknown labels, and those that could not be read, do not count.

  Returns:
    Indices into the predictions.
  """
  known = predictions.scored & (predictions.labels >= 0)
  probabilities = predictions.probabilities()
  wrong = known & (probabilities.argmax(-1) != predictions.labels)
  order = np.argsort(-probabilities.max(-1) * wrong, kind='stable')
  return order[: min(count, int(wrong.sum()))]


def summary(split: str, scores: dict[str, Any]) -> str:
  """Formats accuracies, views and number of videos as a log line."""
  return (
    f'{split} (views {scores["views"]}): top-1 {scores["top1"]:.2f} %, '
    f'top-5 {scores["top5"]:.2f} %, mean class {scores["mean_class"]:.2f} %; '
    f'{scores["scored"]} of {scores["videos"]} videos scored'
  )


def cost_line(scores: dict[str, Any]) -> str:
  """Formats the cost per video: GFLOPs x views, and parameters."""
  views, gflops = (
    views_notation.parse(scores['views']),
    scores['gflops_per_view'],
  )
  return (
    f'{scores["views"]} is {views.describe()}: {gflops:.4g} GFLOPs x '
    f'{views.count} views = {gflops * views.count:.4g} GFLOPs per video, '
    f'{scores["params_m"]:.4g} M parameters.'
  )
