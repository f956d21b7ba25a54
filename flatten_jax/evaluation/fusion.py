# SPDX-License-Identifier: Apache-2.0
"""Predictions of several models for the same videos become one.

Their probabilities or scores are averaged, or a linear SVM learns from them, as
in Simonyan and Zisserman, "Two-Stream Convolutional Networks", 2014.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import scipy.special

from flatten_jax.evaluation.metrics import (
  Predictions,
  interval,
  percent,
  shown,
)
from flatten_jax.inputs import views
from flatten_jax.text import sanitize

INSTALL = 'The SVM needs scikit-learn: `pip install scikit-learn`.'
_SHOWN = 3  # Names in a message.


def align(
  predictions: Sequence[Predictions], names: Sequence[str]
) -> list[Predictions]:
  """Returns predictions with the videos and classes in the order of the first.

  A video counts as scored if every model could read it.

  Args:
    predictions: of the models.
    names: of the models, for messages.

  Raises:
    ValueError: the videos, their labels or the classes differ, or videos of one
      name cannot be told apart; the first few are named.
  """
  first, found = predictions[0], []
  for other, name in zip(predictions, names, strict=True):
    if other.multi_label:
      raise ValueError(
        f'{name} gives a video several labels (data.multi_label); runs of one '
        'label per video can be fused.'
      )
  for other, name in zip(predictions, names, strict=True):
    pair = names[0], name
    _check_same('classes', first.class_names, other.class_names, pair)
    columns = _places(other.class_names, first.class_names)
    rows = np.arange(len(first.ids))
    if not np.array_equal(first.ids, other.ids):
      for ids, owner in ((first.ids, names[0]), (other.ids, name)):
        _check_unique(ids, owner)
      _check_same('videos', first.ids.tolist(), other.ids.tolist(), pair)
      rows = _places(other.ids.tolist(), first.ids.tolist())
    numbers = np.append(np.argsort(columns), -1)  # -1 stays unknown.
    labels = numbers[other.labels[rows]].astype(np.int32)
    if len(differ := np.flatnonzero(labels != first.labels)):
      raise ValueError(
        f'{len(differ)} videos have other labels in {names[0]} than in {name}: '
        f'{_some(first.ids[differ].tolist())}.'
      )
    found.append(
      dataclasses.replace(
        other,
        ids=first.ids,
        labels=first.labels,
        logits=other.logits[rows][:, columns],
        scored=other.scored[rows],
        class_names=first.class_names,
      )
    )
  scored = np.all([other.scored for other in found], axis=0)
  return [dataclasses.replace(other, scored=scored) for other in found]


def _places(there: Sequence[str], here: Sequence[str]) -> np.ndarray:
  """Returns the places of names `there`, in the order that they have here."""
  place = {name: i for i, name in enumerate(there)}
  return np.array([place[name] for name in here], int)


def _check_unique(ids: np.ndarray, owner: str) -> None:
  """Refuses videos of one name, which cannot be matched by it."""
  unique, counts = np.unique(ids, return_counts=True)
  if repeated := unique[counts > 1].tolist():
    raise ValueError(
      f'{owner} has several videos of one name, which cannot be matched with '
      f'those of another run: {_some(repeated)}.'
    )


def _check_same(
  kind: str, first: Sequence[str], other: Sequence[str], owners: tuple[str, str]
) -> None:
  """Refuses names that only one of two runs has, with some of both sides."""
  parts = [
    f'only {owner} has {len(names)}: {_some(names)}'
    for owner, names in (
      (owners[0], sorted(set(first) - set(other))),
      (owners[1], sorted(set(other) - set(first))),
    )
    if names
  ]
  if parts:
    raise ValueError(f'The runs have other {kind}: {"; ".join(parts)}.')


def _some(names: Sequence[str]) -> str:
  return ', '.join(names[:_SHOWN]) + ', ...' * (len(names) > _SHOWN)


def scores(predictions: Predictions) -> np.ndarray:
  """Returns the mean scores of each video over its views, float64 [N K]."""
  text = predictions.views
  count = views.parse(text).count if text else 1
  return predictions.logits.astype(np.float64) / count


def are_log_probs(predictions: Predictions) -> bool:
  """Returns whether the scores are logarithms of probabilities."""
  known = predictions.scored & predictions.finite
  total = scipy.special.logsumexp(scores(predictions)[known], axis=-1)
  return bool(np.abs(total).max(initial=0) < 1e-3)


def mean(
  predictions: Sequence[Predictions], weights: Sequence[float], method: str
) -> Predictions:
  """Returns the weighted mean of aligned predictions.

  Args:
    predictions: from `align`.
    weights: one above 0 for each.
    method: 'probs', after the softmax; or 'logits', raw scores, as TSN's RGB
      and flow of weights 1 and 1.5.
  """
  values = [scores(p) for p in predictions]
  if method == 'probs':
    values = [p.probabilities().astype(np.float64) for p in predictions]
  fused = np.average(values, axis=0, weights=weights)
  if method == 'probs':
    fused = np.log(np.maximum(fused, 1e-300))
  return _with_scores(predictions, fused)


def svm(
  predictions: Sequence[Predictions], train: Sequence[Predictions]
) -> Predictions:
  """Returns the answers of a linear SVM that sees all predictions of a video.

  Crammer and Singer's for several classes, with C = 1.

  Args:
    predictions: from `align`.
    train: of the training videos by the same models, likewise.

  Raises:
    RuntimeError: scikit-learn is not installed; the message has the command.
    ValueError: the training videos have fewer than two classes.
  """
  try:
    from sklearn.svm import LinearSVC
  except ImportError as error:
    raise RuntimeError(INSTALL) from error
  known = train[0].known & np.all([p.finite for p in train], axis=0)
  labels = train[0].labels[known]
  if len(np.unique(labels)) < 2:
    raise ValueError('An SVM needs training videos of two classes or more.')
  machine = LinearSVC(
    multi_class='crammer_singer', max_iter=100_000, random_state=0
  )
  machine.fit(svm_features(train)[known], labels)
  finite = np.all([p.finite for p in predictions], axis=0)
  features = np.where(finite[:, None], svm_features(predictions), 0)
  distances = machine.decision_function(features)
  if distances.ndim == 1:  # Of two classes.
    distances = np.stack([-distances, distances], axis=-1) / 2
  fused = np.full(predictions[0].logits.shape, distances.min() - 1)
  fused[:, machine.classes_] = distances  # Classes without videos come last.
  return _with_scores(predictions, np.where(finite[:, None], fused, np.nan))


def svm_features(predictions: Sequence[Predictions]) -> np.ndarray:
  """Returns probabilities of length 1 of each model, stacked. [N M*K]."""
  parts = [p.probabilities().astype(np.float64) for p in predictions]
  parts = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in parts]
  return np.concatenate(parts, axis=-1)


def _with_scores(
  predictions: Sequence[Predictions], fused: np.ndarray
) -> Predictions:
  """Returns predictions of fused scores [N K], whose views are the models'."""
  fused = fused.astype(np.float32)
  return dataclasses.replace(predictions[0], logits=fused, views='')


def fused_rows(scores: dict[str, Any]) -> list[dict[str, str]]:
  """Returns a row for each fused run, and one for their result.

  Args:
    scores: the result of `fj.fuse`.
  """
  rows, titles = [], shown(scores)
  costs = [run.get('gflops_per_video') for run in scores['runs']]
  total = {'gflops_per_video': None if None in costs else sum(costs)}
  fused = {'run': 'fused', 'views': ''} | scores | total
  for entry in (*scores['runs'], fused):
    weight, cost = entry.get('weight'), entry.get('gflops_per_video')
    rows.append(
      {'run': sanitize(entry['run'])}
      | ({} if scores['method'] == 'svm' else {'weight': _number(weight)})
      | {'views': entry['views']}
      | {title: percent(entry[key]) for key, title in titles.items()}
      | {'95 %': interval({'scored': scores['scored']} | entry)}
      | {'GFLOPs per video': _number(cost)}
    )
  return rows


def _number(value: float | None) -> str:
  return '' if value is None else f'{value:.4g}'
