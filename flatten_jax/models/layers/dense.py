# SPDX-License-Identifier: Apache-2.0
"""Linear layers and the GELU, with PyTorch's numerics.

PyTorch and Flax differ silently in their defaults (GELU, initial values);
published weights assume PyTorch's.
"""

import functools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import devices, initializers


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, x * Phi(x); the tanh form moves UniFormer's logits 1e-3.

  By erf: `jax.nn.gelu` uses erfc, which takes twice as long on CPU.
  """
  return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
  """Adds a bias to every position. [... O] and [O] -> [... O]."""
  return x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class Dense(nnx.Module):
  """A linear layer, or 1x1 convolution. [... I] -> [... O].

  Args:
    dim_in: I.
    dim_out: O.
    init: for the kernel; by default, kernel and bias start as PyTorch's
      convolutions do. With a kernel initializer given, the bias starts at zero.
    use_bias: False leaves it out.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    *,
    init: initializers.Initializer | None = None,
    use_bias: bool = True,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    bias_init = (
      initializers.constant(0) if init else initializers.torch_uniform(dim_in)
    )
    init = init or initializers.torch_uniform(dim_in)
    self.kernel = nnx.Param(init(rngs.params(), (dim_in, dim_out)))
    if use_bias:
      self.bias = nnx.Param(bias_init(rngs.params(), (dim_out,)))
    self.use_bias = use_bias
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... I] -> [... O]."""
    *batch, dim_in = x.shape
    # On two axes: on CPU the kernel gradient of a product over [B H W I] takes
    # four times as long.
    x = x.reshape(-1, dim_in).astype(self.dtype)  # [N I]
    y = devices.with_parameter(jnp.matmul, x, self.kernel[...])
    if self.use_bias:
      y = devices.with_parameter(add_bias, y, self.bias[...])
    return y.reshape(*batch, -1)


# Linear layers of transformers: "truncated normal, .02" in the papers.
Linear = functools.partial(Dense, init=initializers.normal(0.02))
