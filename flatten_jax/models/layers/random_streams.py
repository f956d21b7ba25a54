# SPDX-License-Identifier: Apache-2.0
"""Random streams for modules, which cost little in a trace."""

from flax import nnx
import jax
import numpy as np


def make(default: int | jax.Array | None = None, **streams) -> nnx.Rngs:
  """Returns `nnx.Rngs(default, **streams)`, which gives the same keys.

  Its counts are numbers of the host. In a trace, Flax asks a count that is an
  array for its sharding, and JAX walks through the program so far to say why it
  has none: two thirds of the time to trace a large model.
  """
  rngs = nnx.Rngs(default, **streams)
  for _, stream in rngs.items():
    stream.count.set_raw_value(np.zeros((), np.uint32))
  return rngs
