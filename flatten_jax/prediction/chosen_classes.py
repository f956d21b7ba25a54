# SPDX-License-Identifier: Apache-2.0
"""The classes that are shown of a prediction, and those that it answers."""

from collections.abc import Sequence

import numpy as np

from flatten_jax.evaluation import multi_label
from flatten_jax.runtime.loaded_model import LoadedModel

TopClasses = list[tuple[str, float]]  # With probabilities, best first.
Thresholds = tuple[float, ...] | None  # Of K classes; None: one label a video.


def top_classes(
  probabilities: np.ndarray, class_names: Sequence[str], count: int
) -> TopClasses:
  """Returns the `count` most probable of K classes [K]."""
  order = np.argsort(-probabilities, kind='stable')[:count]
  return [(class_names[i], float(probabilities[i])) for i in order]


def probabilities_of(model: LoadedModel, logits: np.ndarray) -> np.ndarray:
  """Returns probabilities of mean logits. float32 [... K] -> [... K].

  They are all NaN where one of the logits is not finite, which is no answer.
  """
  finite = np.isfinite(logits).all(-1, keepdims=True)
  logits = np.where(finite, logits, np.float32(np.nan))
  return model.task.probabilities(logits)


def thresholds_of(model: LoadedModel) -> Thresholds:
  """Returns the probabilities from which the classes of a model count."""
  if not model.config.data.multi_label:
    return None
  return model.thresholds or (multi_label.DEFAULT,) * len(model.class_names)


def answer_mask(
  probabilities: np.ndarray, thresholds: Thresholds
) -> np.ndarray:
  """Returns the mask of the answers. [..., K] -> bool [..., K].

  With thresholds, the classes are that reach theirs, which may be none; without
  them, the most probable one is. NaN is never an answer.
  """
  if thresholds is not None:
    return probabilities >= np.asarray(thresholds)
  best = probabilities.argmax(-1)
  mask = np.arange(probabilities.shape[-1]) == best[..., None]
  return mask & ~np.isnan(probabilities)


def answers(
  probabilities: np.ndarray, class_names: Sequence[str], thresholds: Thresholds
) -> TopClasses:
  """Returns the classes that one window or video [K] answers, best first."""
  chosen = answer_mask(probabilities, thresholds)
  order = np.argsort(-probabilities, kind='stable')
  return [
    (class_names[i], float(probabilities[i])) for i in order[chosen[order]]
  ]
