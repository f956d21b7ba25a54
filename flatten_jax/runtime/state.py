# SPDX-License-Identifier: Apache-2.0
"""The training state: parameters, statistics, optimizer state, step."""

from typing import Any

from flax import nnx, struct
import jax
import jax.numpy as jnp
import optax


class TrainState(struct.PyTreeNode):
  """Everything that a training step changes.

  Attributes:
    step: number of updates made so far, int32.
    params: parameters, a dict of dicts of float32 arrays.
    batch_stats: running statistics of batch normalization, likewise.
    opt_state: optimizer state.
    average: moving averages of the two, {'params', 'batch_stats'}; empty if
      the config has no `ema`.
  """

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: Any
  average: dict = struct.field(default_factory=dict)

  @classmethod
  def create(
    cls,
    params: dict,
    batch_stats: dict,
    tx: optax.GradientTransformation,
    ema: float = 0.0,
  ) -> 'TrainState':
    """Returns the state before the first step; `ema` adds moving averages."""
    # Copies: a step that donates its state may not meet one array twice.
    weights = {'params': params, 'batch_stats': batch_stats} if ema else {}
    average = jax.tree.map(jnp.copy, weights)
    step = jnp.zeros((), jnp.int32)
    return cls(step, params, batch_stats, tx.init(params), average)

  @property
  def weights(self) -> tuple[dict, dict]:
    """Parameters and batch statistics to evaluate: the averages, if any."""
    if self.average:
      return self.average['params'], self.average['batch_stats']
    return self.params, self.batch_stats

  def __repr__(self) -> str:
    # Notebooks print what a cell returns; the arrays would fill pages.
    count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
    return f'TrainState(step={self.step}, {count / 1e6:.3f} M parameters)'


def moving_average(
  average: dict, params: dict, batch_stats: dict, step: jax.Array, decay: float
) -> dict:
  """Returns the next `TrainState.average`: decay * average + (1 - decay) * new.

  Early on the decay is (1 + step) / (10 + step), as in TensorFlow, so that the
  averages of short runs are not dominated by the initial weights.
  """
  decay = jnp.minimum(decay, (1 + step) / (10 + step))
  weights = {'params': params, 'batch_stats': batch_stats}
  # In this form the average of a constant is that constant, to the bit.
  return jax.tree.map(
    lambda old, new: old + (1 - decay) * (new - old), average, weights
  )


def split(model: nnx.Module) -> tuple[nnx.GraphDef, dict, dict]:
  """Splits a model into structure, parameters and batch statistics.

  The last two are plain dicts: they cross `jax.jit` ten times faster than NNX
  states, and Orbax restores parts of them.
  """
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def batch_stats_of(model: nnx.Module) -> dict:
  """Returns the running statistics of a model."""
  return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
