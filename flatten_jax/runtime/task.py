# SPDX-License-Identifier: Apache-2.0
"""Losses and probabilities of one label per video, and of several.

The network is the same for both, see `data.multi_label`. Its logits are those
of one choice among all classes, or of a decision for each class; `evaluation/`
has the metrics of both.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import scipy.special

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Task:
  """How logits [... K] become a loss and probabilities.

  Attributes:
    hits_name: of the share of hits, in a line of the log.
    loss: of logits and targets [B K]. -> [B].
    hits: whether the first answer is right, of logits and targets. -> [B].
    activation: probabilities of logits, in JAX.
    probabilities: the same in numpy.
    logits: numpy, the inverse.
  """

  hits_name: str
  loss: Callable[[Array, Array], Array]
  hits: Callable[[Array, Array], Array]
  activation: Callable[[Array], Array]
  probabilities: Callable[[np.ndarray], np.ndarray]
  logits: Callable[[np.ndarray], np.ndarray]


def of(config: ml_collections.ConfigDict) -> Task:
  """Returns the task of a config."""
  return MULTI_LABEL if config.data.multi_label else SINGLE_LABEL


def _is_most_probable(logits: Array, targets: Array) -> Array:
  # The label of a mixed clip is the class with the larger share.
  return logits.argmax(-1) == targets.argmax(-1)


def _is_a_label(logits: Array, targets: Array) -> Array:
  """Hit@1: whether the most probable class is one of the labels."""
  answers = logits.argmax(-1, keepdims=True)
  return jnp.take_along_axis(targets, answers, -1)[..., 0] >= 0.5


def _binary_cross_entropy(logits: Array, targets: Array) -> Array:
  return optax.sigmoid_binary_cross_entropy(logits, targets).mean(-1)


def _softmax(logits: np.ndarray) -> np.ndarray:
  return scipy.special.softmax(logits, axis=-1)


def _log(probabilities: np.ndarray) -> np.ndarray:
  return np.log(np.maximum(probabilities, 1e-300))


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
  # 1 - 1e-16 is the largest number below 1.
  return scipy.special.logit(np.clip(probabilities, 1e-300, 1 - 1e-16))


SINGLE_LABEL = Task(
  'acc',
  optax.softmax_cross_entropy,
  _is_most_probable,
  jax.nn.softmax,
  _softmax,
  _log,
)
MULTI_LABEL = Task(
  'hit@1',
  _binary_cross_entropy,
  _is_a_label,
  jax.nn.sigmoid,
  scipy.special.expit,
  _log_odds,
)
