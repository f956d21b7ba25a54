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
# From the shape of a parameter to its dimension that is divided over 'data'.
Divided = Callable[[tuple[int, ...]], int | None]
_DIVIDED: contextvars.ContextVar[Divided | None] = contextvars.ContextVar(
  'divided', default=None
)
# One number of each device, to be there before parameters are gathered.
_BEFORE: contextvars.ContextVar[jax.Array | None] = contextvars.ContextVar(
  'before', default=None
)


@contextlib.contextmanager
def use(
  devices: Sequence[jax.Device] | Mesh, divided: Divided | None = None
) -> Iterator[None]:
  """Traces programs for these devices, which `current` returns within.

  If they are a mesh, layers may divide their work over its axes. `divided` says
  which parameters of blocks they have to gather.
  """
  mesh = devices if isinstance(devices, Mesh) else None
  devices = tuple(mesh.devices.flat if mesh else devices)
  with contextlib.ExitStack() as stack:
    for variable, value in (
      (_DEVICES, devices),
      (_TARGET, Target.of(devices[0])),
      (_MESH, mesh),
      (_DIVIDED, divided),
      (_BEFORE, None),
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


@contextlib.contextmanager
def gather_after(x: jax.Array) -> Iterator[None]:
  """Gathers divided parameters within as soon as `x` [B ...] is there."""
  before = None
  if _DIVIDED.get() and not len(x) % parts('data'):
    before = _first_numbers(_MESH.get(), x)
  token = _BEFORE.set(before)
  try:
    yield
  finally:
    _BEFORE.reset(token)


def with_parameter(
  function: Callable[[jax.Array, jax.Array], jax.Array],
  x: jax.Array,
  kernel: jax.Array,
) -> jax.Array:
  """Calls `function` with a parameter in the dtype of `x`.

  Devices add up their gradients of the parameter in the parameter's dtype; by
  autodiff they would do so in that of `x`, half precision. A parameter that is
  divided over the devices, of a block, is gathered for this call and again for
  its gradient.

  Args:
    function: of `x` and the parameter, in which it is linear.
    x: [B ...], divided over the mesh's axis 'data'.
    kernel: the parameter, float32.
  """
  count, divided = parts('data'), _DIVIDED.get()
  before = _BEFORE.get()  # None outside of blocks.
  axis = divided(kernel.shape) if divided and before is not None else None
  same = axis is None and x.dtype == kernel.dtype
  if count == 1 or same or len(x) % count:
    return function(x, kernel.astype(x.dtype))
  if axis is not None:
    kernel = _after(kernel, before)
  return _apply(function, _MESH.get(), axis, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _apply(function, mesh, axis, x, kernel):
  return function(x, _whole(mesh, axis, kernel.astype(x.dtype)))


def _whole(mesh: Mesh, axis: int | None, kernel: jax.Array) -> jax.Array:
  """Gathers a parameter that is divided."""
  if axis is None:
    return kernel
  divided = NamedSharding(mesh, _along(axis))
  kernel = jax.lax.with_sharding_constraint(kernel, divided)
  return jax.lax.with_sharding_constraint(
    kernel, NamedSharding(mesh, PartitionSpec())
  )


def _along(axis: int | None) -> PartitionSpec:
  return PartitionSpec(*() if axis is None else (*(None,) * axis, 'data'))


def _apply_forward(function, mesh, axis, x, kernel):
  return _apply(function, mesh, axis, x, kernel), (x, kernel)


def _apply_backward(function, mesh, axis, saved, grad):
  x, kernel = saved
  dtype = kernel.dtype

  def of_device(x, grad):
    zeros = jnp.zeros(kernel.shape, x.dtype)  # Linear: any value will do.
    _, pull = jax.vjp(functools.partial(function, x), zeros)
    own = pull(grad)[0].astype(dtype)
    if axis is None:
      return jax.lax.psum(own, 'data')
    return jax.lax.psum_scatter(own, 'data', scatter_dimension=axis, tiled=True)

  summed = jax.shard_map(
    of_device,
    mesh=mesh,
    in_specs=(PartitionSpec('data'),) * 2,
    out_specs=_along(axis),
    axis_names={'data'},
    check_vma=False,  # Else `pull` would add up in half precision.
  )
  if axis is not None:  # Else one copy would stay since the forward pass.
    kernel = _after(kernel, _first_numbers(mesh, grad))
  whole = _whole(mesh, axis, kernel.astype(x.dtype))
  _, pull = jax.vjp(lambda x: function(x, whole), x)
  return pull(grad)[0], summed(x, grad)


_apply.defvjp(_apply_forward, _apply_backward)


def _first_numbers(mesh: Mesh, x: jax.Array) -> jax.Array:
  """Returns one number of each device, to wait for. [B ...] -> [devices]."""
  return jax.shard_map(
    lambda x: x[(slice(1),) * x.ndim].ravel(),
    mesh=mesh,
    in_specs=PartitionSpec('data'),
    out_specs=PartitionSpec('data'),
    axis_names={'data'},
    check_vma=False,
  )(jax.lax.stop_gradient(x))


@jax.custom_vjp
def _after(kernel, before):
  """Returns `kernel`, but not until `before` is there."""
  return jax.lax.optimization_barrier((kernel, before))[0]


_after.defvjp(
  lambda kernel, before: (_after(kernel, before), before),
  lambda before, grad: (grad, jnp.zeros_like(before)),
)


def accum_dtype(dtype: jnp.dtype | str) -> jnp.dtype:
  """Returns the dtype of long sums and exponentials: float32 or wider."""
  return jnp.promote_types(dtype, jnp.float32)


def widen(x: jax.Array) -> jax.Array:
  """Converts an array to its `accum_dtype`."""
  return x.astype(accum_dtype(x.dtype))
