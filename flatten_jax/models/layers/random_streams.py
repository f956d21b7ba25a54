# SPDX-License-Identifier: Apache-2.0
"""Random streams for modules, which cost little in a trace."""

from flax import nnx
import jax
import numpy as np


def make(default: int | jax.Array | None = None, **streams) -> nnx.Rngs:
  """Returns `nnx.Rngs(default, **streams)`, with streams that trace quickly."""
  rngs = nnx.Rngs(default, **streams)
  for name, stream in list(rngs.items()):
    setattr(rngs, name, Stream(stream.key[...], tag=name))
  return rngs


class Stream(nnx.RngStream):
  """Gives the keys of Flax's stream; its count is a number of the host.

  In a trace, Flax asks a count that is an array for its sharding, and JAX walks
  through the program so far to say why it has none: two thirds of the time to
  trace UniFormer-S.
  """

  def __init__(self, key: jax.Array, *, tag: str):
    super().__init__(key, tag=tag)
    self.count.set_value(np.uint32(0))

  def __call__(self) -> jax.Array:
    """Returns the next key."""
    count = self.count[...]
    self.count.set_value(count + np.uint32(1))
    return jax.random.fold_in(self.key[...], count)
