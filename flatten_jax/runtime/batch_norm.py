# SPDX-License-Identifier: Apache-2.0
"""Over which clips batch norms take their statistics; it belongs to a result.

Over the whole batch, or, as most code that trains on several devices has it,
over the clips of each device. What counts is not the device but how many clips:
the batch is divided into groups, and any number of devices computes the same.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
import jax
import ml_collections

from flatten_jax.models.layers import norms
from flatten_jax.runtime import sharding

CHOICES = ('global', 'per_device')


def choose_groups(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Fills in `batch_norm_groups=0`: one, or one for each part of the batch.

  Raises:
    ValueError: there is no such choice, or the clips that are computed at a
      time do not divide into the groups.
  """
  if config.batch_norm not in CHOICES:
    raise ValueError(
      f'batch_norm is one of {", ".join(CHOICES)}, not {config.batch_norm!r}.'
    )
  groups, per_device = config.batch_norm_groups, config.batch_norm != 'global'
  if groups < 0 or (groups > 1 and not per_device):
    raise ValueError(
      f"batch_norm_groups={groups} goes with batch_norm='per_device', and is a "
      'number of groups, or 0 for as many as devices share the batch.'
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
  """Has the batch norms of a model take statistics of so many groups.

  Raises:
    ValueError: it has batch norms that are not of this package.
  """
  modules = [module for _, module in nnx.iter_modules(model)]
  ours = [m for m in modules if isinstance(m, norms.BatchNorm)]
  others = len(jax.tree.leaves(nnx.state(model, nnx.BatchStat))) - 2 * len(ours)
  if groups > 1 and others:
    raise ValueError(
      "batch_norm='per_device' is for the models of this package; this one has "
      "batch norms of another, which know 'global' only."
    )
  for module in ours:
    module.groups = groups


def describe(config: Mapping[str, Any], batch_stats: dict) -> str:
  """'per_device, of 8 clips': what a run normalises by, for log and results.

  Args:
    config: that it was trained with; of a checkpoint from before there was a
      choice, too.
    batch_stats: of its model; empty where it has no batch norm.
  """
  if not batch_stats:
    return 'none'
  clips = config['batch_size'] * config['data']['repeated_aug']
  groups = config.get('batch_norm_groups', 1) or 1
  clips //= config['grad_accum_steps'] * groups
  return f'{config.get("batch_norm", "global")}, of {clips} clips'
