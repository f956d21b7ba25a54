# SPDX-License-Identifier: Apache-2.0
"""Weights of an earlier run, or of a PyTorch file, as a starting point."""

import functools
import logging
from typing import Any

from flax import nnx, traverse_util
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax.checkpoints import head_classes, model_folder, resume_check
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.inputs.flow import fields
from flatten_jax.models import (
  MODELS,
  export_torch,
  load_pretrained,
  load_torch,
  takes_clips,
  vit,
  vivit,
  vtn,
)
from flatten_jax.models.weights import matching, resampling
from flatten_jax.runtime import model_factory, state
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment

log = logging.getLogger('flatten_jax')


def initial_weights(experiment: Experiment) -> tuple[dict, dict]:
  """Returns parameters and batch statistics before the first step.

  They are drawn from the seed, then overwritten by `config.model.pretrained` if
  it is set: the workdir of an earlier run, a model that was pushed, a file of
  weights or its URL, or the name of published weights. An image model's workdir
  starts a model of clips as its file does. A head for the same classes, by name
  and in any order, is loaded; any other keeps its initial values. Of weights
  without names of classes, as most files are, it is loaded by their number. All
  happens in memory of the host; each device gets its part.

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
  if (folder := model_folder.find(source)) is not None:
    return _from_workdir(folder, experiment, params, batch_stats)
  model = nnx.merge(experiment.graphdef, params, batch_stats)
  name = experiment.config.model.name
  report = load_pretrained(model, name, source)
  theirs = head_classes.names_of(source, name)
  return _by_classes(model, report, params, theirs, experiment)


def _by_classes(model, report, params, theirs, experiment):
  """Returns the weights of a loaded model; `params` are those before."""
  _, loaded, batch_stats = state.split(model)
  ours = experiment.class_names
  head = model_factory.head_axes(experiment.config, len(ours))
  if not head.keys() <= set(report.left_at_init):
    loaded = head_classes.in_our_order(loaded, params, head, theirs, ours)
  return loaded, batch_stats


def _from_workdir(workdir, experiment, params, batch_stats):
  config, class_names = experiment.config, experiment.class_names
  with model_folder.open_to_read(workdir) as checkpoints:
    step = checkpoints.choose()
    info = checkpoints.info(step)
    saved = checkpoints.restore_weights(step)
  name, old_name = config.model.name, info.config['model']['name']
  grows = takes_clips(name) and old_name in MODELS and not takes_clips(old_name)
  # A model that averages frames has the parameters of the image model.
  if grows and _by_name(params).keys() != _by_name(saved['params']).keys():
    old = restored(info, saved)
    model = nnx.merge(experiment.graphdef, params, batch_stats)
    report = load_torch(model, export_torch(old), allow=matching.ALLOWANCES)
    log.warning('Weights of %s after step %d: %s', workdir, step, report)
    return _by_classes(model, report, params, info.class_names, experiment)
  order = head_classes.order_of(info.class_names, class_names)
  head = model_factory.head_axes(config, len(class_names))
  theirs = _by_name(saved['params'])
  theirs |= _resized_positions(theirs, _by_name(params), config, info.config)
  theirs |= _for_channels(theirs, _by_name(params), config)
  theirs |= _new_non_local(theirs, _by_name(params), config)
  params, fresh = _fill(params, theirs, order, head)
  theirs = _by_name(saved['batch_stats'])
  theirs |= _new_non_local(theirs, _by_name(batch_stats), config)
  batch_stats, _ = _fill(batch_stats, theirs, order, {})
  log.info(
    'Weights of %s after step %d, %s',
    workdir,
    step,
    f'except {", ".join(fresh)} (other classes)' if fresh else 'with the head',
  )
  return params, batch_stats


def restored(info: RunInfo, saved: dict) -> nnx.Module:
  """Returns the model of a checkpoint, with its weights."""
  config, count = configs.complete(info.config), len(info.class_names)
  model = nnx.eval_shape(
    functools.partial(model_factory.build_model, config, count)
  )
  graphdef, *trees = state.split(model)
  kinds = ('params', 'batch_stats')
  filled = (
    _fill(tree, _by_name(saved[kind]), np.arange(count), {})[0]
    for kind, tree in zip(kinds, trees, strict=True)
  )
  return nnx.merge(graphdef, *filled)


def _by_name(tree: dict) -> dict[str, np.ndarray]:
  """Returns the values of a tree by their dotted names."""
  flat = traverse_util.flatten_dict(tree)
  return {model_factory.dotted(path): value for path, value in flat.items()}


def _resized_positions(
  theirs: dict[str, np.ndarray],
  ours: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
  saved: dict[str, Any],
) -> dict[str, np.ndarray]:
  """Returns position tables that are interpolated for another size.

  As for files, see `models/weights/allowances.py`; here the size is known.
  """
  if config.model.name != saved['model']['name']:
    return {}
  new, old = (
    nnx.eval_shape(functools.partial(model_factory.build_model, c, 1))
    for c in (config, configs.complete(saved))
  )
  shapes = {name: value.shape for name, value in ours.items()}
  if isinstance(new, vit.ViT):
    tables = resampling.for_images(theirs, shapes)
    if tables:
      log.warning('The position table is resampled for images of another size')
    return tables
  if not isinstance(new, vivit.ViViT | vtn.VTN) or new.grid == old.grid:
    return {}
  log.warning('Position tables are resized from %s to %s', old.grid, new.grid)
  return resampling.for_clips(theirs, shapes, new.grid, old.grid)


def _for_channels(
  theirs: dict[str, np.ndarray],
  ours: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
) -> dict[str, np.ndarray]:
  """Returns the first kernels of a run on RGB for one on optical flow."""
  channels = fields.num_channels(config.data)
  shapes = {name: value.shape for name, value in ours.items()}
  adapted = resampling.for_channels(theirs, shapes, channels)
  for name in adapted:
    log.warning('%s: the mean over RGB, for %d channels', name, channels)
  return adapted


def _new_non_local(
  theirs: dict[str, np.ndarray],
  ours: dict[str, jax.Array],
  config: ml_collections.FrozenConfigDict,
) -> dict[str, jax.Array]:
  """Returns the non-local blocks that an earlier run did not have.

  With norms that are frozen, as in video-nonlocal-net's runs of 128 frames,
  these leave values as they are, and a last kernel of 0 ends the new blocks:
  at first they change nothing. A weight of 0, as in other runs, would stay 0.
  """
  named = any('.non_local.' in name for name in theirs)
  if named or config.batch_norm_frozen != 'all':
    return {}
  new = {name: x for name, x in ours.items() if '.non_local.' in name}
  for name, value in new.items():
    if '.non_local.out.' in name:
      new[name] = jnp.zeros_like(value)
    elif name.endswith('.norm.scale'):
      new[name] = jnp.ones_like(value)
  if new:
    log.warning('%d new values of non-local blocks', len(new))
  return new


def _fill(
  ours: dict,
  by_name: dict[str, np.ndarray],
  order: np.ndarray | None,
  head: dict[str, int],
) -> tuple[dict, list[str]]:
  """Fills our tree with saved values, except a head for other classes.

  Args:
    ours: initial values.
    by_name: saved values, of the same names and shapes but for the head.
    order: from `head_classes.order_of`.
    head: the parameters of the head, and the axis of the classes in each.

  Returns:
    The filled tree, and the names that kept their initial values.
  """
  ours = traverse_util.flatten_dict(ours)
  by_name = dict(by_name)
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
