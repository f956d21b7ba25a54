# SPDX-License-Identifier: Apache-2.0
"""Clips over which batch norms compute their statistics, and frozen norms.

'global' uses the whole batch. 'per_device', as in most PyTorch code, uses the
clips of each device: the batch is split into as many groups as devices share
it, and any other number of devices can then compute the same statistics.
"""

from collections.abc import Collection, Mapping
from typing import Any

from flax import nnx
import jax
import ml_collections

from flatten_jax.models.layers import norms
from flatten_jax.runtime.devices import sharding

CHOICES = ('global', 'per_device')
FROZEN = ('none', 'all', 'all_but_first')


def choose_groups(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Replaces `batch_norm_groups=0` by the number of groups.

  Raises:
    ValueError: there are groups without 'per_device', or the clips do not
      divide into them.
  """
  groups, per_device = config.batch_norm_groups, config.batch_norm != 'global'
  if groups > 1 and not per_device:
    raise ValueError(
      f"batch_norm_groups={groups} needs batch_norm='per_device'; got "
      f'{config.batch_norm!r}. Leave batch_norm_groups at 0.'
    )
  if not groups:
    groups = sharding.batch_parts(config) if per_device else 1
  clips = config.batch_size * config.data.repeated_aug
  if clips % (config.grad_accum_steps * groups):
    raise ValueError(
      f'{clips} clips in grad_accum_steps={config.grad_accum_steps} do not '
      f'divide into batch_norm_groups={groups}.'
    )
  config = config.copy_and_resolve_references()
  config.batch_norm_groups = groups
  return config


def prepare(model: nnx.Module, config: ml_collections.ConfigDict) -> None:
  """Sets what the config says of the batch norms of a model, just built.

  Raises:
    ValueError: a key acts on batch norms of this package, and there are none,
      or of another package.
  """
  set_groups(model, config.batch_norm_groups or 1)
  for key, acts in (
    ('batch_norm_frozen', config.batch_norm_frozen != 'none'),
    ('precise_batch_norm', config.precise_batch_norm),
    ('freeze_epochs', config.freeze_epochs and _others(model)),
    ('freeze', config.freeze and _others(model)),
  ):
    if acts and not are_ours(model):
      found = 'those of another one' if _others(model) else 'none'
      raise ValueError(
        f'config.{key}={config[key]!r} needs a model with batch norms of this '
        f'package; {config.model.name} has {found}. Leave it at its default.'
      )
  freeze(model, config.batch_norm_frozen)


def are_ours(model: nnx.Module) -> bool:
  """Returns whether there are batch norms, and all are of this package."""
  return bool(_ours(model)) and not _others(model)


def freeze(model: nnx.Module, which: str) -> None:
  """Makes batch norms use and keep their running statistics in training.

  Their weights are kept by the training step, see `frozen_parameters`.

  Args:
    model: as its class creates it, since `nnx.merge` sorts the attributes.
    which: 'none', 'all', or 'all_but_first' (the partial batch norm of TSN).
  """
  kept = {'none': None, 'all': 0, 'all_but_first': 1}[which]
  for i, norm in enumerate(_ours(model).values()):
    norm.frozen = kept is not None and i >= kept


def frozen_within(
  graphdef: nnx.GraphDef,
  params: dict,
  batch_stats: dict,
  frozen: Collection[str],
) -> nnx.GraphDef:
  """Returns the structure of a model with some more batch norms frozen.

  Args:
    graphdef: of the model.
    params: its parameters, or their shapes.
    batch_stats: its statistics, or their shapes.
    frozen: dotted names of parameters, with those of the norms.
  """
  model = nnx.merge(graphdef, params, batch_stats)
  for path, norm in _ours(model).items():
    norm.frozen |= '.'.join(map(str, (*path, 'scale'))) in frozen
  return nnx.graphdef(model)


def frozen_parameters(model: nnx.Module, params: dict) -> dict:
  """Returns a tree like `params`, True for weights of frozen batch norms."""
  frozen = {path for path, norm in _ours(model).items() if norm.frozen}
  return jax.tree_util.tree_map_with_path(
    lambda path, _: tuple(entry.key for entry in path[:-1]) in frozen, params
  )


def measure_batch(model: nnx.Module) -> None:
  """Makes the statistics of a next batch replace the running ones."""
  for norm in _ours(model).values():
    norm.momentum = 0.0


def set_groups(model: nnx.Module, groups: int) -> None:
  """Sets the number of groups in the batch norms of a model.

  Raises:
    ValueError: `groups` > 1 and the model has batch norms of another package.
  """
  if groups > 1 and _others(model):
    raise ValueError(
      "batch_norm='per_device' needs the models of this package; this model "
      "has batch norms of another one, which support 'global' only."
    )
  for norm in _ours(model).values():
    norm.groups = groups


def _ours(model: nnx.Module) -> dict[tuple, norms.BatchNorm]:
  """Returns the batch norms of this package by path, in order of declaration.

  That is the order of use; `nnx.iter_modules` has the order of the alphabet.
  """

  def place(path: tuple) -> list[int]:
    numbers, attributes = [], vars(model)
    for name in map(str, path):
      numbers.append(list(attributes).index(name))
      attributes = vars(attributes[name])
    return numbers

  found = {
    path: module
    for path, module in nnx.iter_modules(model)
    if isinstance(module, norms.BatchNorm)
  }
  return {path: found[path] for path in sorted(found, key=place)}


def _others(model: nnx.Module) -> bool:
  """Returns whether a model has running statistics of other modules."""
  stats = jax.tree.leaves(nnx.state(model, nnx.BatchStat))
  return len(stats) > 2 * len(_ours(model))


def describe(config: Mapping[str, Any], batch_stats: dict) -> str:
  """Formats the normalization of a run, such as 'per_device, of 8 clips'.

  Adds which norms are frozen, and the batches of precise statistics.

  Args:
    config: of the training.
    batch_stats: of its model; empty if it has no batch norm.
  """
  if not batch_stats:
    return 'none'
  clips = config['batch_size'] * config['data']['repeated_aug']
  clips //= config['grad_accum_steps'] * max(config['batch_norm_groups'], 1)
  text = f'{config["batch_norm"]}, of {clips} clips'
  if config['batch_norm_frozen'] != 'none':
    text += f', frozen: {config["batch_norm_frozen"]}'
  if config['precise_batch_norm']:
    text += f', evaluated over {config["precise_batch_norm"]} batches'
  return text
