# SPDX-License-Identifier: Apache-2.0
"""Initial values of parameters, from the distributions of their authors."""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp
import numpy as np

Initializer = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def torch_uniform(fan_in: int) -> Initializer:
  """PyTorch's default for convolutions and their biases: U(±1 / sqrt(fan_in)).

  (The same as Kaiming uniform with a = sqrt(5).)
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


def he_normal(fan_out: int) -> Initializer:
  """Keeps the variance of gradients through a layer and a ReLU (He, 2015).

  `fan_out` are output channels times the positions of the kernel.
  """
  return normal(math.sqrt(2 / fan_out))


def xavier_uniform() -> Initializer:
  """Xavier's for a matrix [I O], U(±sqrt(6 / (I + O))): Flax's ViT uses it."""

  def init(key, shape):
    bound = math.sqrt(6 / sum(shape))
    return _draw(lambda rng: rng.uniform(-bound, bound, shape), key, shape)

  return init


def truncated_normal(fan_in: int) -> Initializer:
  """Normal of deviation 1 / sqrt(fan_in), cut at two of them: Sonnet's."""

  def sample(rng, shape):
    x = rng.standard_normal(shape)
    while (far := np.abs(x) > 2).any():
      x[far] = rng.standard_normal(far.sum())
    return x / math.sqrt(fan_in)

  return lambda key, shape: _draw(lambda rng: sample(rng, shape), key, shape)


def constant(value: float) -> Initializer:
  """The same value everywhere; the key is unused."""
  return lambda key, shape: jnp.asarray(np.full(shape, value, np.float32))


def _draw(
  sample: Callable[[np.random.Generator], np.ndarray],
  key: jax.Array,
  shape: tuple[int, ...],
) -> jax.Array:
  """Draws initial values by numpy, from a JAX key.

  `jax.random` would compile a program for every shape, and a model has fifty:
  10 to 15 s for UniFormer-S, instead of 0.5 s.
  """

  def draw(key_data):
    seed = np.asarray(key_data).ravel().tolist()
    return sample(np.random.default_rng(seed)).astype(np.float32)

  key_data = jax.random.key_data(key)
  if isinstance(key_data, jax.core.Tracer):  # In jit, eval_shape or vmap.
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.pure_callback(draw, result, key_data, vmap_method='sequential')
  return jnp.asarray(draw(key_data))
