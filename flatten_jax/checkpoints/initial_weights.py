# SPDX-License-Identifier: Apache-2.0
"""Weights of an earlier run, or of a PyTorch file, as a starting point."""

import logging

from flax import nnx, traverse_util
import jax.numpy as jnp
import numpy as np

from flatten_jax import paths
from flatten_jax.checkpoints import resume_check
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.inputs.sources import labels
from flatten_jax.models import load_pretrained
from flatten_jax.models.weights import file_formats
from flatten_jax.runtime import model_factory, state
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment

log = logging.getLogger('flatten_jax')


def initial_weights(experiment: Experiment) -> tuple[dict, dict]:
  """Returns parameters and batch statistics before the first step.

  They are drawn from the seed, then overwritten by `config.model.pretrained` if
  it is set: the workdir of an earlier run, a PyTorch checkpoint or its URL, or
  the name of published weights. A head for the same classes, by name and in any
  order, is loaded; any other keeps its initial values. All happens in memory of
  the host; each device gets its part.

  Raises:
    FileNotFoundError: the source does not exist.
    ValueError: it contains another model; both sides are listed.
  """
  with sharding.in_host_memory():
    weights = experiment.random_weights()
    if source := experiment.config.model.pretrained:
      weights = _load(source, experiment, *weights)
  return sharding.put(weights, experiment.shardings(weights))


def _load(
  source: str, experiment: Experiment, params: dict, batch_stats: dict
) -> tuple[dict, dict]:
  config, class_names = experiment.config, experiment.class_names
  path = paths.expand(source)
  if path.is_dir() and not file_formats.holds_weights(path):
    head = model_factory.head_axes(config, len(class_names))
    return _from_workdir(path, params, batch_stats, class_names, head)
  model = nnx.merge(experiment.graphdef, params, batch_stats)
  load_pretrained(model, config.model.name, source)
  return state.split(model)[1:]


def _from_workdir(workdir, params, batch_stats, class_names, head):
  with Checkpoints(workdir, create=False) as checkpoints:
    step = checkpoints.choose()
    info = checkpoints.info(step)
    saved = checkpoints.restore_weights(step)
  order = _class_order(info.class_names, class_names)
  params, fresh = _fill(params, saved['params'], order, head)
  batch_stats, _ = _fill(batch_stats, saved['batch_stats'], order, {})
  log.info(
    'Weights of %s after step %d, %s',
    workdir,
    step,
    f'except {", ".join(fresh)} (other classes)' if fresh else 'with the head',
  )
  return params, batch_stats


def _class_order(
  saved: tuple[str, ...], ours: tuple[str, ...]
) -> np.ndarray | None:
  """Returns the saved number of each of our classes, [K].

  None if the classes are not the same.
  """
  saved = [labels.canonical(name) for name in saved]
  ours = [labels.canonical(name) for name in ours]
  if sorted(saved) != sorted(ours):
    return None
  return np.array([saved.index(name) for name in ours])


def _fill(
  ours: dict, saved: dict, order: np.ndarray | None, head: dict[str, int]
) -> tuple[dict, list[str]]:
  """Fills our tree with saved values, except a head for other classes.

  Args:
    ours: initial values.
    saved: values of the same names and shapes, but perhaps of the head.
    order: from `_class_order`.
    head: the parameters of the head, and the axis of the classes in each.

  Returns:
    The filled tree, and the names that kept their initial values.
  """
  ours = traverse_util.flatten_dict(ours)
  by_name = {
    model_factory.dotted(path): value
    for path, value in traverse_util.flatten_dict(saved).items()
  }
  names = {path: model_factory.dotted(path) for path in ours}
  fresh = sorted(head) if order is None else []
  shapes = {name: value.shape for name, value in by_name.items()}
  wanted = {names[path]: value.shape for path, value in ours.items()}
  for name in fresh:
    shapes[name] = wanted[name]
  if lines := resume_check.shape_differences(shapes, wanted):
    raise ValueError(
      f'The earlier run trained another model. Parameters that differ:\n{lines}'
    )
  if order is not None:
    for name, axis in head.items():
      by_name[name] = np.take(by_name[name], order, axis)
  filled = {
    path: value if names[path] in fresh else jnp.asarray(by_name[names[path]])
    for path, value in ours.items()
  }
  return traverse_util.unflatten_dict(filled), fresh
