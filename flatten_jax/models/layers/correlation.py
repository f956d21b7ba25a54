# SPDX-License-Identifier: Apache-2.0
"""Correlation of two feature maps within a window around every position."""

import jax
import jax.numpy as jnp

RADIUS = 7
WINDOW = 2 * RADIUS + 1  # Rows and columns.


@jax.jit
def correlation(x: jax.Array, other: jax.Array) -> jax.Array:
  """Multiplies each vector of `x` with those around its place in `other`.

  Two maps [N H W C] -> [N H W 15*15], by row and then column of the window.
  Vectors outside of the map are zero.

  One product of matrices for every row of the window: of the row's positions
  with all of `other`'s row, of which a band along the diagonal is kept.
  """
  height = x.shape[1]
  around = ((0, 0), (RADIUS,) * 2, (RADIUS,) * 2, (0, 0))
  other = jnp.pad(other, around)
  rows = []
  for i in range(WINDOW):
    near = other[:, i : i + height]
    rows.append(_band(jnp.einsum('nyxc,nyzc->nyxz', x, near)))
  return jnp.concatenate(rows, axis=-1)


def _band(products: jax.Array) -> jax.Array:
  """Keeps entries x to x + 14 of row x. [N H W W+14] -> [N H W 15].

  Read in rows that are one longer, every row begins one further.
  """
  *batch, width, length = products.shape
  flat = products.reshape(*batch, width * length)
  flat = jnp.pad(flat, (*((0, 0),) * len(batch), (0, width)))
  return flat.reshape(*batch, width, length + 1)[..., :WINDOW]
