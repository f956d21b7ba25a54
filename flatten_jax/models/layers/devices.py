# SPDX-License-Identifier: Apache-2.0
"""Choices of device and dtype that the layers share."""

from collections.abc import Iterator
import contextlib
import contextvars

import jax
import jax.numpy as jnp

_CROSS_PLATFORM = contextvars.ContextVar('cross_platform', default=False)


@contextlib.contextmanager
def cross_platform_export() -> Iterator[None]:
  """Makes programs that are traced within run on every platform.

  `jax.jit` reuses what it has traced before for the same shapes, so trace with
  a symbolic batch size.
  """
  token = _CROSS_PLATFORM.set(True)
  try:
    yield
  finally:
    _CROSS_PLATFORM.reset(token)


def is_cross_platform() -> bool:
  """Returns whether programs traced now must run on every platform."""
  return _CROSS_PLATFORM.get()


def on_cpu() -> bool:
  """Returns whether programs traced now are for a CPU, or for it as well."""
  return is_cross_platform() or jax.default_backend() == 'cpu'


def accum_dtype(dtype: jnp.dtype | str) -> jnp.dtype:
  """Returns the dtype of long sums and exponentials: float32 or wider."""
  return jnp.promote_types(dtype, jnp.float32)


def widen(x: jax.Array) -> jax.Array:
  """Converts an array to its `accum_dtype`."""
  return x.astype(accum_dtype(x.dtype))
