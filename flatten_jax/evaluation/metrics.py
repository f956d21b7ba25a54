# SPDX-License-Identifier: Apache-2.0
"""Accuracies, or mean average precision, of predictions; and their texts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from flatten_jax.evaluation import (
  calibration,
  certainty,
  class_scores,
  multi_label,
)
from flatten_jax.evaluation.predictions import Predictions
from flatten_jax.inputs import views as views_notation
from flatten_jax.text import sanitize

TITLES = {'top1': 'top-1 %', 'top5': 'top-5 %', 'mean_class': 'mean class %'}
SEVERAL_TITLES = {  # Where videos have several labels.
  'map': 'mAP %',
  'micro_f1': 'micro F1 %',
  'macro_f1': 'macro F1 %',
}


def compute_metrics(predictions: Predictions) -> dict[str, Any]:
  """Computes accuracies in percent, over the videos that could be read.

  Returns:
    'top1', 'top5', 'mean_class' (mean of the top-1 of each class that has
    videos), the number of 'videos', of 'scored' ones, of 'classes' and of
    'scored_classes', and the 'views'; 'top1_interval', low and high of its 95 %
    interval, and 'chance' and 'chance_class', see `certainty.chance`;
    'macro_precision', 'macro_recall' and 'macro_f1', see `class_scores.macro`,
    and the 'calibration_error', see `calibration.error`. Without scored videos,
    accuracies are 0. Of several labels those of `multi_label.compute` take the
    place of accuracies and their certainty.
  """
  if predictions.multi_label:
    return _of_several_labels(predictions)
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


def _of_several_labels(predictions: Predictions) -> dict[str, Any]:
  (probabilities, positive), known = predictions.decided(), predictions.known
  limits, names = predictions.limits, predictions.class_names
  return multi_label.compute(probabilities, positive, limits, names) | {
    'videos': len(known),
    'scored': int(known.sum()),
    'classes': len(names),
    'scored_classes': int(positive.any(0).sum()),
    'views': predictions.views,
    'chosen_thresholds': bool(predictions.thresholds),
  }


def of_classes(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns the scores of every class.

  See `class_scores.of_classes`, or `multi_label.of_classes` of several labels.
  """
  names = predictions.class_names
  if predictions.multi_label:
    decided = predictions.decided()
    return multi_label.of_classes(*decided, predictions.limits, names)
  labels = predictions.labels[predictions.known]
  videos = np.bincount(labels, minlength=len(names))
  return class_scores.of_classes(predictions.confusion(), videos, names)


def calibration_bins(predictions: Predictions) -> list[dict[str, Any]]:
  """Returns `calibration.bins` of the known videos with finite logits.

  There are none of several labels, which have no one answer.
  """
  if predictions.multi_label:
    return []
  chosen = predictions.known & predictions.finite
  right = (predictions.answers == predictions.labels)[chosen]
  return calibration.bins(predictions.probabilities()[chosen].max(-1), right)


def loss(predictions: Predictions) -> float:
  """Returns the mean cross-entropy, in nats, of `Predictions.probabilities`.

  Of the known videos with finite logits; infinite if there are none. Of several
  labels it is binary cross-entropy, the mean over the classes.
  """
  chosen = predictions.known & predictions.finite
  if not chosen.any():
    return float('inf')
  logits = predictions.logits[chosen].astype(np.float64)
  if predictions.multi_label:
    logits, labels = logits / predictions.num_views, predictions.labels[chosen]
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))
  logs = scipy.special.log_softmax(logits / predictions.num_views, axis=-1)
  own = np.take_along_axis(logs, predictions.labels[chosen, None], axis=1)
  return float(-own.mean())


def most_confident_mistakes(predictions: Predictions, count: int) -> np.ndarray:
  """Returns up to `count` videos with wrong answers, most confident first.

  Videos with unknown labels, and those that could not be read, do not count.
  Of several labels, a missing or an extra one is a mistake.

  Returns:
    Indices into the predictions.
  """
  if predictions.multi_label:
    return _of_decisions(predictions, multi_label.surest_mistakes)[:count]
  wrong = predictions.answers != predictions.labels
  return _most_confident(predictions, wrong)[:count]


def most_confident_hits(predictions: Predictions) -> np.ndarray:
  """Returns all videos with right answers, most confident first."""
  if predictions.multi_label:
    return _of_decisions(predictions, multi_label.surest_hits)
  right = predictions.answers == predictions.labels
  return _most_confident(predictions, right)


def _of_decisions(
  predictions: Predictions, choose: Callable[..., np.ndarray]
) -> np.ndarray:
  """Returns the videos that a function of `multi_label` chooses, in order."""
  places = np.flatnonzero(predictions.known & predictions.finite)
  probabilities = predictions.probabilities()[places]
  positive = predictions.labels[places] == 1
  return places[choose(probabilities, positive, predictions.limits)]


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


def logged(scores: dict[str, Any]) -> tuple[str, ...]:
  """Returns the keys of the scores that loggers get, all in percent."""
  return tuple(SEVERAL_TITLES if 'map' in scores else TITLES)


def shown(scores: dict[str, Any]) -> dict[str, str]:
  """Returns the metrics to show, with titles: no top-5 of five classes."""
  if 'map' in scores:
    return SEVERAL_TITLES
  few = scores['classes'] <= 5
  return {k: v for k, v in TITLES.items() if k != 'top5' or not few}


def hits(scores: dict[str, Any]) -> str:
  """Returns 'N of M', the videos behind a top-1."""
  right = round(scores['top1'] * scores['scored'] / 100)
  return f'{right} of {scores["scored"]}'


def interval(scores: dict[str, Any]) -> str:
  """Formats the 95 % interval of a top-1 or a mAP, as '73 to 92'."""
  if 'map' in scores and 'map_interval' not in scores:
    return 'unknown'  # In results of earlier versions.
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
  """Formats a top-1, the videos behind it and its interval; or the mAP."""
  if not scores['scored']:
    return f'{name}: no accuracy'
  if 'map' in scores:
    return (
      f'{name}: mAP {percent(scores["map"])} % (95 %: {interval(scores)}; '
      f'chance {percent(scores["chance"], 1)} %)'
    )
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
    others = [
      f'{text.removesuffix(" %")} {percent(scores[key])} %'
      for key, text in shown(scores).items()
      if key not in ('top1', 'map')
    ]
    if (tested := scores['scored_classes']) < scores['classes']:
      others[-1] += f' of {tested} of {scores["classes"]} classes'
    if 'map' in scores:
      others[-1] += f' at {thresholds_text(scores)}'
    else:
      parts.append(chance(scores))
    parts.append(', '.join(others))
  return '; '.join(part for part in (*parts, counted) if part)


def thresholds_text(scores: dict[str, Any]) -> str:
  """Returns the thresholds that F1 was computed with, in words."""
  if scores['chosen_thresholds']:
    return "each class's threshold, chosen on the validation"
  return f'a threshold of {multi_label.DEFAULT} for each class'


def cost_line(scores: dict[str, Any]) -> str:
  """Formats the cost per video: GFLOPs x views, and parameters."""
  views = views_notation.parse(scores['views'])
  gflops = scores['gflops_per_view']
  return (
    f'{scores["views"]} is {views.describe()}: {gflops:.4g} GFLOPs x '
    f'{views.count} views = {gflops * views.count:.4g} GFLOPs per video, '
    f'{scores["params_m"]:.4g} M parameters.'
  )
