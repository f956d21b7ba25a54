# SPDX-License-Identifier: Apache-2.0
"""What a training step reads and writes, as plain dicts of arrays."""

from typing import Any

from flax import nnx, struct
import jax
import jax.numpy as jnp
import optax


class TrainState(struct.PyTreeNode):
  """Everything that changes from one step to the next.

  Attributes:
    step: number of updates made so far, int32.
    params: parameters, a dict of dicts of float32 arrays.
    batch_stats: running statistics of batch normalisation, likewise.
    opt_state: what the optimizer remembers.
  """

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: Any

  @classmethod
  def create(
    cls, params: dict, batch_stats: dict, tx: optax.GradientTransformation
  ) -> 'TrainState':
    """The state before the first step."""
    return cls(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params))


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict, dict]:
  """A model's structure, parameters and batch statistics.

  The last two are plain dicts: they cross `jax.jit` ten times faster than NNX
  states, and Orbax restores parts of them.
  """
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def batch_stats_of(model: nnx.Module) -> dict:
  """The running statistics that a model holds after a forward pass."""
  return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
