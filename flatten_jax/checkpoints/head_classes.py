# SPDX-License-Identifier: Apache-2.0
"""Matches the classes of a head by their names: weights have an order too."""

from collections.abc import Sequence
import logging

from flax import traverse_util
import jax.numpy as jnp
import numpy as np

from flatten_jax import paths
from flatten_jax.inputs.sources import labels
from flatten_jax.models import MODELS
from flatten_jax.models.weights import file_formats
from flatten_jax.runtime import model_factory, portable

log = logging.getLogger('flatten_jax')


def order_of(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray | None:
  """Returns their number of each of our classes, [K].

  None if the classes are not the same.
  """
  known, wanted = (
    [labels.canonical(name) for name in names] for names in (theirs, ours)
  )
  if sorted(known) != sorted(wanted):
    return None
  return np.array([known.index(name) for name in wanted])


def names_of(source: str, model: str) -> tuple[str, ...]:
  """Returns the classes of published weights or of a file; () if unknown."""
  path = paths.expand(source)
  if described := portable.read_file(path):
    return described['class_names']
  published = MODELS[model].weights if model in MODELS else {}
  if source not in published or file_formats.holds_weights(path):
    return ()
  return published[source].read_class_names()


def in_our_order(
  loaded: dict,
  initial: dict,
  head: dict[str, int],
  theirs: Sequence[str],
  ours: Sequence[str],
) -> dict:
  """Returns loaded parameters with the head in the order of our classes.

  Args:
    loaded: parameters, with a head for as many classes as ours.
    initial: those before; the head keeps them if it is for other classes.
    head: from `model_factory.head_axes`.
    theirs: classes of the loaded head; none if they are not known.
    ours: classes of the run.
  """
  if not theirs:
    log.info('The head is taken to be for these classes, in this order')
    return loaded
  order = order_of(theirs, ours)
  if order is None:
    other = next((name for name in theirs if name not in ours), '')
    text = 'Except the head, which is for other classes, such as %r'
    log.warning(text, other)
  flat, before = map(traverse_util.flatten_dict, (loaded, initial))
  for path, value in flat.items():
    axis = head.get(model_factory.dotted(path))
    if axis is not None:
      flat[path] = (
        before[path] if order is None else jnp.take(value, order, axis)
      )
  return traverse_util.unflatten_dict(flat)
