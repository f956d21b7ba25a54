# SPDX-License-Identifier: Apache-2.0
"""Predictions of a split, summed over views, and accuracies from them."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import scipy.special

from flatten_jax.evaluation import calibration, certainty, class_scores
from flatten_jax.inputs import views as views_notation
from flatten_jax.text import sanitize

TITLES = {'top1': 'top-1 %', 'top5': 'top-5 %', 'mean_class': 'mean class %'}


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
    partial = path.with_name(f'{path.name}.partial')
    with partial.open('wb') as file:
      np.savez_compressed(file, **arrays)
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
    """Returns the probabilities of the mean over the views, float32 [N K].

    They are NaN for videos whose logits are not finite.
    """
    logits = np.where(self.finite[:, None], self.logits, np.float32(np.nan))
    return scipy.special.softmax(logits / self.num_views, axis=-1)

  @property
  def num_views(self) -> int:
    """Number of views of each video."""
    return views_notation.parse(self.views).count if self.views else 1

  @property
  def known(self) -> np.ndarray:
    """Marks videos that could be read and whose label is known, [N]."""
    return self.scored & (self.labels >= 0)

  @property
  def answers(self) -> np.ndarray:
    """Predicted classes, [N]; -1 without finite logits.

    A tie is not a hit: the answer is another class than the label.
    """
    logits = self.logits.astype(np.float64)  # Finer than any two logits.
    label = np.arange(len(logits)), self.labels
    logits[label] = np.nextafter(logits[label], -np.inf)
    return np.where(self.scored & self.finite, logits.argmax(-1), -1)

  def confusion(self) -> np.ndarray:
    """Counts scored videos by label (row) and predicted class (column), [K K].

    Videos whose logits are not finite have no prediction and are left out.
    """
    num_classes = len(self.class_names)
    counts = np.zeros((num_classes, num_classes), np.int64)
    answers = self.answers
    known = self.known & (answers >= 0)
    np.add.at(counts, (self.labels[known], answers[known]), 1)
    return counts


def compute_metrics(predictions: Predictions) -> dict[str, Any]:
  """Computes accuracies in percent, over the videos that could be read.

  Returns:
    'top1', 'top5', 'mean_class' (mean of the top-1 of each class that has
    videos), the number of 'videos', of 'scored' ones, of 'classes' and of
    'scored_classes', and the 'views'; 'top1_interval', low and high of its 95 %
    interval, and 'chance' and 'chance_class', see `certainty.chance`;
    'macro_precision', 'macro_recall' and 'macro_f1', see `class_scores.macro`,
    and the 'calibration_error', see `calibration.error`. Without scored videos,
    accuracies are 0.
  """
  known = predictions.known
  labels, logits = predictions.labels[known], predictions.logits[known]
  counts = {
    'videos': len(known),
    'scored': int(known.sum()),
    'classes': len(predictions.class_names),
    'scored_classes': len(np.unique(labels)),
    'views': predictions.views,
  } | certainty.chance(labels, predictions.class_names)
  counts |= class_scores.macro(of_classes(predictions))
  counts['calibration_error'] = calibration.error(calibration_bins(predictions))
  if not known.any():
    counts['top1_interval'] = certainty.interval(0, 0)
    return {'top1': 0.0, 'top5': 0.0, 'mean_class': 0.0} | counts
  own = np.take_along_axis(logits, labels[:, None], axis=1)
  right = predictions.answers[known] == labels
  # Ties and logits that are not finite do not count as hits.
  in_top5 = ((logits >= own).sum(-1) <= 5) & predictions.finite[known]
  videos_of = np.bincount(labels)
  hits_of = np.bincount(labels, weights=right)
  per_class = hits_of[videos_of > 0] / videos_of[videos_of > 0]
  return {
    'top1': 100 * float(right.mean()),
    'top1_interval': certainty.interval(int(right.sum()), len(right)),
    'top5': 100 * float(in_top5.mean()),
    'mean_class': 100 * float(per_class.mean()),
  } | counts


def of_classes(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns the scores of every class, see `class_scores.of_classes`."""
  names = predictions.class_names
  labels = predictions.labels[predictions.known]
  videos = np.bincount(labels, minlength=len(names))
  return class_scores.of_classes(predictions.confusion(), videos, names)


def calibration_bins(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns `calibration.bins` of the known videos with finite logits."""
  chosen = predictions.known & predictions.finite
  right = (predictions.answers == predictions.labels)[chosen]
  return calibration.bins(predictions.probabilities()[chosen].max(-1), right)


def loss(predictions: Predictions) -> float:
  """Returns the mean cross-entropy, in nats, of `Predictions.probabilities`.

  Of the known videos with finite logits; infinite if there are none.
  """
  chosen = predictions.known & predictions.finite
  if not chosen.any():
    return float('inf')
  logits = predictions.logits[chosen].astype(np.float64)
  logs = scipy.special.log_softmax(logits / predictions.num_views, axis=-1)
  own = np.take_along_axis(logs, predictions.labels[chosen, None], axis=1)
  return float(-own.mean())


def most_confident_mistakes(predictions: Predictions, count: int) -> np.ndarray:
  """Returns up to `count` videos with wrong answers, most confident first.

  Videos with unknown labels, and those that could not be read, do not count.

  Returns:
    Indices into the predictions.
  """
  wrong = predictions.answers != predictions.labels
  return _most_confident(predictions, wrong)[:count]


def most_confident_hits(predictions: Predictions) -> np.ndarray:
  """Returns all videos with right answers, most confident first."""
  right = predictions.answers == predictions.labels
  return _most_confident(predictions, right)


def _most_confident(predictions: Predictions, chosen: np.ndarray) -> np.ndarray:
  """Returns those of the chosen videos that have a label and an answer."""
  answered = predictions.known & (predictions.answers >= 0)
  found = np.flatnonzero(answered & chosen)
  confidence = predictions.probabilities()[found].max(-1)
  return found[np.argsort(-confidence, kind='stable')]


def percent(value: float, digits: int = 2) -> str:
  """Formats a percentage; only all is written 100, and only none 0."""
  least = 10.0**-digits
  if 0 < value < 100:
    value = min(max(value, least), 100 - least)
  return f'{value:.{digits}f}'


def shown(num_classes: int) -> dict[str, str]:
  """Returns the metrics to show, with titles: no top-5 of five classes."""
  return {k: v for k, v in TITLES.items() if k != 'top5' or num_classes > 5}


def hits(scores: dict[str, Any]) -> str:
  """Returns 'N of M', the videos behind a top-1."""
  right = round(scores['top1'] * scores['scored'] / 100)
  return f'{right} of {scores["scored"]}'


def interval(scores: dict[str, Any]) -> str:
  """Formats the 95 % interval of a top-1, as '73 to 92'."""
  low, high = certainty.interval_of(scores)
  digits = 0 if high - low >= 5 else 1
  return f'{percent(low, digits)} to {percent(high, digits)}'


def chance(scores: dict[str, Any]) -> str:
  """Compares a top-1 with chance: 'chance 10 %'; '' if that is unknown."""
  if 'chance' not in scores:  # In results of earlier versions.
    return ''
  if certainty.is_better_than_chance(scores):
    return level(scores)
  return level(scores).replace('chance', 'not better than chance,', 1)


def level(scores: dict[str, Any]) -> str:
  """Formats the level of chance: 'chance 15 % (most frequent class, up)'."""
  text = f'chance {scores["chance"]:.3g} %'
  if name := scores['chance_class']:
    text += f' (most frequent class, {sanitize(name)})'
  return text


def short_summary(name: str, scores: dict[str, Any]) -> str:
  """Formats a top-1, the videos behind it and its interval."""
  if not scores['scored']:
    return f'{name}: no accuracy'
  return (
    f'{name}: top-1 {percent(scores["top1"])} % ({hits(scores)}; 95 %: '
    f'{interval(scores)})'
  )


def summary(name: str, scores: dict[str, Any]) -> str:
  """Formats accuracies, views and number of videos as a log line."""
  views = scores['views']  # Empty if predictions of several were fused.
  title = f'{name} (views {views})' if views else name
  counted = f'{scores["scored"]} of {scores["videos"]} videos scored'
  parts = [short_summary(title, scores)]
  if scores['scored']:
    titles = shown(scores['classes'])
    others = [
      f'{titles[key].removesuffix(" %")} {percent(scores[key])} %'
      for key in titles
      if key != 'top1'
    ]
    if (tested := scores['scored_classes']) < scores['classes']:
      others[-1] += f' of {tested} of {scores["classes"]} classes'
    parts += [chance(scores), ', '.join(others)]
  return '; '.join(part for part in (*parts, counted) if part)


def cost_line(scores: dict[str, Any]) -> str:
  """Formats the cost per video: GFLOPs x views, and parameters."""
  views = views_notation.parse(scores['views'])
  gflops = scores['gflops_per_view']
  return (
    f'{scores["views"]} is {views.describe()}: {gflops:.4g} GFLOPs x '
    f'{views.count} views = {gflops * views.count:.4g} GFLOPs per video, '
    f'{scores["params_m"]:.4g} M parameters.'
  )
