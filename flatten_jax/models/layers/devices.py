# SPDX-License-Identifier: Apache-2.0
"""The devices of a program: forms of layers, and work divided over a mesh.

A layer may have several forms, of which each computes the same and suits some
devices. They are those of `use`, which need not be there: a program can be
compiled for a machine that is somewhere else.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import contextvars
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec


@dataclasses.dataclass(frozen=True)
class Target:
  """A kind of device that a program is traced for.

  Attributes:
    platform: 'cpu', 'gpu' or 'tpu'; 'any' for a program that has to run on
      each of them.
    compute_capability: of an NVIDIA GPU, such as 9.0; otherwise 0.
  """

  platform: str
  compute_capability: float = 0.0

  @classmethod
  def of(cls, device: jax.Device) -> 'Target':
    """Describes a device."""
    try:  # AMD's are names, as 'gfx942'.
      capability = float(getattr(device, 'compute_capability', None) or 0)
    except ValueError:
      capability = 0.0
    return cls(device.platform, capability)

  @property
  def is_cpu(self) -> bool:
    """True for a CPU, and for a program that runs on CPUs as well."""
    return self.platform in ('cpu', 'any')


_TARGET: contextvars.ContextVar[Target | None] = contextvars.ContextVar(
  'target', default=None
)
_DEVICES: contextvars.ContextVar[tuple[jax.Device, ...]] = (
  contextvars.ContextVar('devices', default=())
)
_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar(
  'mesh', default=None
)


@contextlib.contextmanager
def use(devices: Sequence[jax.Device] | Mesh) -> Iterator[None]:
  """Traces programs for these devices, which `current` returns within.

  If they are a mesh, layers may divide their work over its axes.
  """
  mesh = devices if isinstance(devices, Mesh) else None
  devices = tuple(mesh.devices.flat if mesh else devices)
  with contextlib.ExitStack() as stack:
    for variable, value in (
      (_DEVICES, devices),
      (_TARGET, Target.of(devices[0])),
      (_MESH, mesh),
    ):
      stack.callback(variable.reset, variable.set(value))
    yield


def parts(axis: str) -> int:
  """Returns the number of devices along an axis of the mesh; 1 without one."""
  mesh = _MESH.get()
  return mesh.shape.get(axis, 1) if mesh else 1


def divide(x: jax.Array, *axes: str | None) -> jax.Array:
  """Divides the axes of an array over those of the mesh, if there is one."""
  mesh = _MESH.get()
  if mesh is None:
    return x
  place = NamedSharding(mesh, PartitionSpec(*axes))
  return jax.lax.with_sharding_constraint(x, place)


@contextlib.contextmanager
def cross_platform_export() -> Iterator[None]:
  """Makes programs that are traced within run on every platform."""
  token = _TARGET.set(Target('any'))
  try:
    yield
  finally:
    _TARGET.reset(token)


def current() -> tuple[jax.Device, ...]:
  """Returns the devices of `use`; otherwise all devices."""
  return _DEVICES.get() or tuple(jax.devices())


def target() -> Target:
  """Returns what programs that are traced now are for."""
  if chosen := _TARGET.get():
    return chosen
  device = jax.config.jax_default_device  # None, a device or a platform.
  if device is None or isinstance(device, str):
    device = jax.devices(device)[0]
  return Target.of(device)


def jit_by_target(*static: str) -> Callable[[Callable], Callable]:
  """Jits a layer whose form depends on the keyword `target`.

  `jax.jit` alone would reuse what it traced for another device.

  Args:
    *static: names of other arguments that are static.
  """

  def decorate(function: Callable) -> Callable:
    compiled = jax.jit(function, static_argnames=('target', *static))

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
      return compiled(*args, target=target(), **options)

    return call

  return decorate


def with_wide_gradient(
  function: Callable[[jax.Array, jax.Array], jax.Array],
  x: jax.Array,
  kernel: jax.Array,
) -> jax.Array:
  """Calls `function` with a parameter in the dtype of `x`.

  Devices add up their gradients of the parameter in the parameter's dtype; by
  autodiff they would do so in that of `x`, half precision.

  Args:
    function: of `x` and the parameter, in which it is linear.
    x: [B ...], divided over the mesh's axis 'data'.
    kernel: the parameter, float32.
  """
  count = parts('data')
  if count == 1 or x.dtype == kernel.dtype or len(x) % count:
    return function(x, kernel.astype(x.dtype))
  return _wide(function, _MESH.get(), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _wide(function, mesh, x, kernel):
  del mesh
  return function(x, kernel.astype(x.dtype))


def _wide_forward(function, mesh, x, kernel):
  return _wide(function, mesh, x, kernel), (x, kernel)


def _wide_backward(function, mesh, saved, grad):
  x, kernel = saved
  narrow = kernel.astype(x.dtype)

  def of_device(x, grad, narrow):
    _, pull = jax.vjp(functools.partial(function, x), narrow)
    return jax.lax.psum(pull(grad)[0].astype(kernel.dtype), 'data')

  _, pull = jax.vjp(lambda x: function(x, narrow), x)
  batch, whole = PartitionSpec('data'), PartitionSpec()
  summed = jax.shard_map(
    of_device,
    mesh=mesh,
    in_specs=(batch, batch, whole),
    out_specs=whole,
    axis_names={'data'},
    check_vma=False,  # Else `pull` would add up in half precision.
  )
  return pull(grad)[0], summed(x, grad, narrow)


_wide.defvjp(_wide_forward, _wide_backward)


def accum_dtype(dtype: jnp.dtype | str) -> jnp.dtype:
  """Returns the dtype of long sums and exponentials: float32 or wider."""
  return jnp.promote_types(dtype, jnp.float32)


def widen(x: jax.Array) -> jax.Array:
  """Converts an array to its `accum_dtype`."""
  return x.astype(accum_dtype(x.dtype))
