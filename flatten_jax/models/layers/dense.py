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


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Multiplies [N I] and [I O], in the dtype of `x`, on several devices.

  They add up their gradients of the kernel in the kernel's dtype; by autodiff
  they would do so in that of `x`, half precision.
  """
  return x @ kernel.astype(x.dtype)


def _product_forward(x, kernel):
  return product(x, kernel), (x, kernel)


def _product_backward(saved, grad):
  x, kernel = saved
  # By part, and not with preferred_element_type=float32: a TPU's compiler then
  # keeps activations that it would compute again, 1.5 GiB of UniFormer-S's.
  parts = devices.parts('data')
  x, parts_of_grad = (y.reshape(parts, -1, y.shape[-1]) for y in (x, grad))
  grad_kernel = jnp.einsum('pni,pno->pio', x, parts_of_grad)
  grad_kernel = grad_kernel.astype(kernel.dtype).sum(axis=0)
  return grad @ kernel.astype(x.dtype).T, grad_kernel


product.defvjp(_product_forward, _product_backward)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Multiplies [N I] with a parameter [I O], in the dtype of `x`."""
  parts = devices.parts('data')
  if parts > 1 and x.dtype != kernel.dtype and not len(x) % parts:
    return product(x, kernel)
  return x @ kernel.astype(x.dtype)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
  """Adds a parameter [O] to [N O]; devices add up its gradient as `product`."""
  parts = devices.parts('data')
  if parts == 1 or x.dtype == bias.dtype or len(x) % parts:
    return x + bias.astype(x.dtype)[None]
  by_part = jnp.broadcast_to(bias[None, None], (parts, 1, len(bias)))
  y = x.reshape(parts, -1, len(bias)) + by_part.astype(x.dtype)
  return y.reshape(x.shape)


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
    y = matmul(x, self.kernel[...])
    if self.use_bias:
      y = add_bias(y, self.bias[...])
    return y.reshape(*batch, -1)


# Linear layers of transformers: "truncated normal, .02" in the papers.
Linear = functools.partial(Dense, init=initializers.normal(0.02))
