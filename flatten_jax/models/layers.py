# SPDX-License-Identifier: Apache-2.0
"""The layers that all models share, with their numerics fixed once.

PyTorch and Flax differ silently in their defaults (GELU, epsilons, padding,
the running variance, initial values); published weights assume PyTorch's.
"""

from collections.abc import Callable
import functools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

Initializer = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def torch_uniform(fan_in: int) -> Initializer:
  """PyTorch's default for convolutions and their biases: U(±1 / sqrt(fan_in)).

  (Kaiming uniform with a = sqrt(5) comes to just this.)
  """
  bound = 1 / math.sqrt(fan_in)
  return lambda key, shape: _draw(
    lambda rng: rng.uniform(-bound, bound, shape), key, shape
  )


def normal(std: float) -> Initializer:
  """Normal with the given standard deviation.

  The papers say "truncated normal, .02"; their code truncates at ±2, a hundred
  standard deviations away.
  """
  return lambda key, shape: _draw(
    lambda rng: std * rng.standard_normal(shape), key, shape
  )


def constant(value: float) -> Initializer:
  """The same value everywhere; the key is unused."""
  return lambda key, shape: jnp.asarray(np.full(shape, value, np.float32))


def _draw(
  sample: Callable[[np.random.Generator], np.ndarray],
  key: jax.Array,
  shape: tuple[int, ...],
) -> jax.Array:
  """Initial values drawn by numpy, from a JAX key.

  `jax.random` would compile a program for every shape, and a model has fifty:
  10 to 15 s before UniFormer-S stands, against 0.5 s.
  """

  def draw(key_data):
    seed = np.asarray(key_data).ravel().tolist()
    return sample(np.random.default_rng(seed)).astype(np.float32)

  key_data = jax.random.key_data(key)
  if isinstance(key_data, jax.core.Tracer):  # In jit, eval_shape or vmap.
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.pure_callback(draw, result, key_data, vmap_method='sequential')
  return jnp.asarray(draw(key_data))


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, x * Phi(x); the tanh form moves UniFormer's logits 1e-3.

  By erf: `jax.nn.gelu` uses erfc, which takes twice as long on CPU.
  """
  return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))


class Dense(nnx.Module):
  """A matrix over the last axis; what a 1x1 convolution is. [... I] -> [... O].

  Args:
    dim_in: I.
    dim_out: O.
    init: for the kernel; by default, kernel and bias start as PyTorch's
      convolutions do. With a kernel initializer given, the bias starts at zero.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    *,
    init: Initializer | None = None,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    bias_init = constant(0) if init else torch_uniform(dim_in)
    init = init or torch_uniform(dim_in)
    self.kernel = nnx.Param(init(rngs.params(), (dim_in, dim_out)))
    self.bias = nnx.Param(bias_init(rngs.params(), (dim_out,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... I] -> [... O]."""
    *batch, dim_in = x.shape
    # On two axes: XLA on CPU takes four times as long for the kernel's gradient
    # of a matrix product over [B H W I].
    x = x.reshape(-1, dim_in).astype(self.dtype)  # [N I]
    y = x @ self.kernel.astype(self.dtype)
    y = y + self.bias.astype(self.dtype)[None]
    return y.reshape(*batch, -1)


class PatchEmbed(nnx.Module):
  """A convolution whose kernel is its stride: one vector for every patch.

  [B H W I] -> [B H/p W/p O]. Rows and columns beyond the last whole patch are
  left out, as a convolution without padding does.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    patch: int,
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    init = torch_uniform(patch * patch * dim_in)
    self.kernel = nnx.Param(
      init(rngs.params(), (patch, patch, dim_in, dim_out))
    )
    self.bias = nnx.Param(init(rngs.params(), (dim_out,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B H/p W/p O]."""
    p, _, dim_in, dim_out = self.kernel.shape
    batch, height, width, _ = x.shape
    if min(height, width) < p:
      raise ValueError(
        f'An image of {height} x {width} has no whole patch of {p} x {p}; '
        'give the model a larger one.'
      )
    rows, columns = height // p, width // p
    x = x[:, : rows * p, : columns * p].astype(self.dtype)
    # As a matrix product: twice as fast on CPU as the strided convolution.
    x = x.reshape(batch, rows, p, columns, p, dim_in).swapaxes(2, 3)
    x = x.reshape(-1, p * p * dim_in)  # [B*h*w p*p*I]
    y = x @ self.kernel.reshape(-1, dim_out).astype(self.dtype)
    y = y + self.bias.astype(self.dtype)[None]
    return y.reshape(batch, rows, columns, dim_out)


class DepthwiseConv(nnx.Module):
  """One k x k filter per channel, zero padded: [B H W C] -> same."""

  def __init__(
    self,
    dim: int,
    size: int,
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    init = torch_uniform(size * size)
    self.kernel = nnx.Param(init(rngs.params(), (size, size, 1, dim)))
    self.bias = nnx.Param(init(rngs.params(), (dim,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W C] -> same."""
    kernel = self.kernel.astype(self.dtype)
    y = depthwise_conv(x.astype(self.dtype), kernel)
    return y + self.bias.astype(self.dtype)[None, None, None]


@jax.jit
def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[B H W C] and [k k 1 C] -> [B H W C]; k is odd, zeros all around."""
  if jax.default_backend() == 'cpu':
    return _shifted_conv(x, kernel)
  # Unmeasured: what a GPU or TPU prefers is taken to be its own convolution.
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1, 1),
    padding='SAME',  # As much on both sides, k being odd and the stride 1.
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=x.shape[-1],
  )


@jax.custom_vjp
def _shifted_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A depthwise convolution as k*k shifted multiply-adds.

  On CPU, XLA's grouped convolution takes 40 times as long; these fuse into one
  loop over the output.
  """
  size = kernel.shape[0]
  height, width = x.shape[1:3]
  x = _pad_space(x, size // 2)
  return sum(
    x[:, i : i + height, j : j + width] * kernel[i, j][None, None]
    for i in range(size)
    for j in range(size)
  )


def _shifted_conv_forward(x, kernel):
  return _shifted_conv(x, kernel), (x, kernel)


def _shifted_conv_backward(saved, grad):
  x, kernel = saved
  grad_x = _shifted_conv(grad, kernel[::-1, ::-1])
  return grad_x, _kernel_gradient(x, grad, kernel.shape[0])


_shifted_conv.defvjp(_shifted_conv_forward, _shifted_conv_backward)

# Measured at [2 80 80 56], 5x5, one core: 5 ms, against 11 for a loop over the
# k*k taps and 24 for what autodiff makes of the shifts (PyTorch: 7). A tile of
# 4 x 4 takes 57 ms, as the compiler then gives up on vector instructions.
_TILE = (2, 4)


def _kernel_gradient(x: jax.Array, grad: jax.Array, size: int) -> jax.Array:
  """sum_bhw x[b, h+i, w+j, c] * grad[b, h, w, c], [k k 1 C].

  In two steps: one loop over tiles of positions that sums within the tile for
  all k*k taps while its inputs are in the nearest cache, then a plain column
  sum. The barriers keep XLA from fusing the two, which would cost a factor of
  ten: its fused reductions do not vectorise over channels.
  """
  batch, height, width, channels = x.shape
  tile_h, tile_w = _TILE
  rows, columns = -(-height // tile_h), -(-width // tile_w)
  over = ((0, 0), (0, rows * tile_h - height), (0, columns * tile_w - width))
  grad = jnp.pad(grad, (*over, (0, 0)))
  x = lax.optimization_barrier(_pad_space(x, size // 2, over[1][1], over[2][1]))
  x = _windows(_windows(x, axis=2, size=size), axis=1, size=size)
  x = x[:, :, : rows * tile_h, :, : columns * tile_w]
  x = x.reshape(batch, size, rows, tile_h, size, columns, tile_w, channels)
  grad = grad.reshape(batch, rows, tile_h, columns, tile_w, channels)
  partial = sum(
    x[:, :, :, a, :, :, b].transpose(0, 2, 4, 1, 3, 5)  # [B rows columns k k C]
    * grad[:, :, a, :, b][:, :, :, None, None]
    for a in range(tile_h)
    for b in range(tile_w)
  )
  partial = partial.reshape(batch * rows * columns, -1)
  partial = lax.optimization_barrier(partial)
  return partial.sum(axis=0).reshape(size, size, 1, channels)


def _pad_space(x: jax.Array, pad: int, more_h: int = 0, more_w: int = 0):
  """Zeros around [B H W C], and some more at the bottom and on the right."""
  return jnp.pad(x, ((0, 0), (pad, pad + more_h), (pad, pad + more_w), (0, 0)))


def _windows(x: jax.Array, axis: int, size: int) -> jax.Array:
  """Sliding windows without a gather: [... L ...] -> [... size L+1 ...].

  Row j holds x[j], x[j+1], ...: the axis repeated and read in rows of L+1 is
  the axis shifted by one more in every row. (Beyond the end it wraps around.)
  """
  length = x.shape[axis]
  before, after = x.shape[:axis], x.shape[axis + 1 :]
  x = jnp.broadcast_to(
    jnp.expand_dims(x, axis), (*before, size + 1, length, *after)
  )
  x = x.reshape(*before, (size + 1) * length, *after)
  x = lax.slice_in_dim(x, 0, size * (length + 1), axis=axis)
  return x.reshape(*before, size, length + 1, *after)


class LayerNorm(nnx.Module):
  """Mean 0 and variance 1 over the last axis, then scale and bias.

  `epsilon` has no default: UniFormer uses two.
  """

  def __init__(self, dim: int, *, epsilon: float):
    self.scale = nnx.Param(jnp.asarray(np.ones(dim, np.float32)))
    self.bias = nnx.Param(jnp.asarray(np.zeros(dim, np.float32)))
    self.epsilon = epsilon

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... C] -> same."""
    return layer_norm(x, self.scale[...], self.bias[...], self.epsilon)


@functools.partial(jax.jit, static_argnames='epsilon')
def layer_norm(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
  """Normalises [... C] over C, in float32."""
  ones = (1,) * (x.ndim - 1)
  y = x.astype(jnp.float32)
  y = y - y.mean(axis=-1, keepdims=True)
  variance = jnp.square(y).mean(axis=-1, keepdims=True)
  y = y * lax.rsqrt(variance + epsilon)
  y = y * scale.reshape(*ones, -1) + bias.reshape(*ones, -1)
  return y.astype(x.dtype)


class BatchNorm(nnx.Module):
  """Batch normalisation over all axes but the last, as PyTorch has it.

  The running variance is the unbiased one (Flax keeps the biased one); in
  training the batch is normalised by the biased one, as everywhere. Statistics
  are float32, over the whole batch of all devices under jit.
  """

  def __init__(self, dim: int, *, epsilon: float = 1e-5, momentum: float = 0.9):
    self.scale = nnx.Param(jnp.asarray(np.ones(dim, np.float32)))
    self.bias = nnx.Param(jnp.asarray(np.zeros(dim, np.float32)))
    self.mean = nnx.BatchStat(jnp.asarray(np.zeros(dim, np.float32)))
    self.var = nnx.BatchStat(jnp.asarray(np.ones(dim, np.float32)))
    self.epsilon = epsilon
    self.momentum = momentum

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[... C] -> same; in training, updates the running statistics."""
    mean, var = self.mean[...], self.var[...]
    if train:
      y = x.reshape(-1, x.shape[-1]).astype(jnp.float32)  # [N C]
      mean, var = y.mean(axis=0), y.var(axis=0)
      self._update(mean, var, count=len(y))
    scale = self.scale * lax.rsqrt(var + self.epsilon)
    return scale_and_shift(x, scale, self.bias - mean * scale)

  def _update(self, mean: jax.Array, var: jax.Array, count: int) -> None:
    """Moves the running statistics towards those of a batch of `count`."""
    mean, var = lax.stop_gradient((mean, var))
    var = var * (count / max(count - 1, 1))
    keep = self.momentum
    self.mean.set_value(keep * self.mean + (1 - keep) * mean)
    self.var.set_value(keep * self.var + (1 - keep) * var)


@jax.jit
def scale_and_shift(
  x: jax.Array, scale: jax.Array, shift: jax.Array
) -> jax.Array:
  """x * scale + shift by channel: what a batch norm comes to. [... C]."""
  ones = (1,) * (x.ndim - 1)
  y = x * scale.reshape(*ones, -1) + shift.reshape(*ones, -1)
  return y.astype(x.dtype)


class DropPath(nnx.Module):
  """Stochastic depth: drops a residual branch for whole examples.

  Huang et al., 2016. Kept branches are scaled up, so the mean stays. Needs an
  `nnx.Rngs` with a `dropout` stream when training with a rate above zero.
  """

  def __init__(self, rate: float):
    if not 0 <= rate < 1:
      raise ValueError(f'Drop path needs a rate in [0, 1), not {rate}.')
    self.rate = float(rate)

  def __call__(
    self, x: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
  ) -> jax.Array:
    """[B ...] -> same."""
    if not train or self.rate == 0:
      return x
    if rngs is None:
      raise ValueError(
        f'Drop path of rate {self.rate} draws random numbers: call the model '
        'with rngs=nnx.Rngs(dropout=key), or set drop_path_rate to 0.'
      )
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    kept = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, shape)
    return x * (kept / (1 - self.rate)).astype(x.dtype)


@jax.jit
def attention(qkv: jax.Array) -> jax.Array:
  """Scaled dot-product attention over all positions, for every head.

  [B N 3 heads D] -> [B N heads D], the 3 being queries, keys and values.
  """
  return _attention(qkv)


@jax.custom_vjp
def _attention(qkv: jax.Array) -> jax.Array:
  """As above. Its gradient is written out: autodiff's makes more passes over
  the N x N weights, each of which costs as much as a product on CPU.
  """
  return _attention_forward(qkv)[0]


def _attention_forward(qkv):
  dim = qkv.shape[-1]
  # On CPU a product whose last axis is 28 takes 1.6 times as long as with 32.
  qkv = jnp.pad(qkv, ((0, 0),) * 4 + ((0, -dim % 16),))
  q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # [B h N D] each
  scores = jnp.einsum('bhqd,bhkd->bhqk', q * dim**-0.5, k)
  scores = scores.astype(jnp.float32)
  weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
  scale = 1 / weights.sum(axis=-1, keepdims=True)  # [B h N 1]
  weights, scale = weights.astype(v.dtype), scale.astype(v.dtype)
  # Normalised after the product, over D columns rather than N.
  out = jnp.einsum('bhqk,bhkd->bhqd', weights, v) * scale
  return out[..., :dim].swapaxes(1, 2), (q, k, v, weights, scale, out)


def _attention_backward(saved, grad):
  q, k, v, weights, scale, out = saved
  dim = grad.shape[-1]
  grad = jnp.pad(grad, ((0, 0),) * 3 + ((0, -dim % 16),))
  grad = grad.swapaxes(1, 2) * scale  # [B h N D], of the sum before scaling.
  inner = (grad * out).sum(axis=-1, keepdims=True)
  grad_scores = weights * (jnp.einsum('bhqd,bhkd->bhqk', grad, v) - inner)
  grad_q = jnp.einsum('bhqk,bhkd->bhqd', grad_scores, k * dim**-0.5)
  # As [D N], and turned around behind a barrier: a quarter faster on CPU.
  grad_k = jnp.einsum('bhqk,bhqd->bhdk', grad_scores, q * dim**-0.5)
  grad_v = jnp.einsum('bhqk,bhqd->bhdk', weights, grad)
  grad_k, grad_v = lax.optimization_barrier((grad_k, grad_v))
  grads = grad_q, grad_k.swapaxes(2, 3), grad_v.swapaxes(2, 3)
  grad_qkv = jnp.stack([g[..., :dim] for g in grads])  # [3 B h N D]
  return (grad_qkv.transpose(1, 3, 0, 2, 4),)


_attention.defvjp(_attention_forward, _attention_backward)
