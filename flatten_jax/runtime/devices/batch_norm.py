# SPDX-License-Identifier: Apache-2.0
"""Groups of clips over which batch norms compute their statistics.

'global' uses the whole batch. 'per_device', as in most PyTorch code, uses the
clips of each device: the batch is split into as many groups as devices share
it, and any other number of devices can then compute the same statistics.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
import jax
import ml_collections

from flatten_jax.models.layers import norms
from flatten_jax.runtime.devices import sharding

CHOICES = ('global', 'per_device')


def choose_groups(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Replaces `batch_norm_groups=0` by the number of groups.

  Raises:
    ValueError: a value is unknown, or the clips do not divide into the groups.
  """
  if config.batch_norm not in CHOICES:
    raise ValueError(
      f'batch_norm is one of {", ".join(CHOICES)}, not {config.batch_norm!r}.'
    )
  groups, per_device = config.batch_norm_groups, config.batch_norm != 'global'
  if groups < 0 or (groups > 1 and not per_device):
    raise ValueError(
      f"batch_norm_groups={groups} needs batch_norm='per_device' and a number "
      'of groups, or 0 for the number of devices that share the batch.'
    )
  if not groups:
    data, _ = sharding.mesh_shape(config, jax.device_count())
    groups = data if per_device else 1
  clips = config.batch_size * config.data.repeated_aug
  if clips % (config.grad_accum_steps * groups):
    raise ValueError(
      f'{clips} clips in grad_accum_steps={config.grad_accum_steps} do not '
      f'divide into batch_norm_groups={groups}.'
    )
  config = config.copy_and_resolve_references()
  config.batch_norm_groups = groups
  return config


def set_groups(model: nnx.Module, groups: int) -> None:
  """Sets the number of groups in the batch norms of a model.

  Raises:
    ValueError: `groups` > 1 and the model has batch norms of another package.
  """
  modules = [module for _, module in nnx.iter_modules(model)]
  ours = [m for m in modules if isinstance(m, norms.BatchNorm)]
  others = len(jax.tree.leaves(nnx.state(model, nnx.BatchStat))) - 2 * len(ours)
  if groups > 1 and others:
    raise ValueError(
      "batch_norm='per_device' needs the models of this package; this model "
      "has batch norms of another one, which support 'global' only."
    )
  for module in ours:
    module.groups = groups


def describe(config: Mapping[str, Any], batch_stats: dict) -> str:
  """Formats the normalization of a run, such as 'per_device, of 8 clips'.

  Args:
    config: of the training.
    batch_stats: of its model; empty if it has no batch norm.
  """
  if not batch_stats:
    return 'none'
  clips = config['batch_size'] * config['data']['repeated_aug']
  clips //= config['grad_accum_steps'] * max(config['batch_norm_groups'], 1)
  return f'{config["batch_norm"]}, of {clips} clips'
