# SPDX-License-Identifier: Apache-2.0
"""Counts the GFLOPs of one view of a video, without running the model.

Counts operations of the traced program as the tool fvcore and the papers do: a
multiply-add is 1, a batch norm at inference 2 and a layer norm 5 per element;
other operations are free.
"""

from collections.abc import Callable
import dataclasses
import math
import numbers
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax import flattening
from flatten_jax.models import create_model, split_averaged
from flatten_jax.models.layers import (
  attention,
  correlation,
  depthwise,
  norms,
)


@dataclasses.dataclass(frozen=True)
class Cost:
  """Cost of one view.

  Attributes:
    gflops: 10^9 multiply-adds, norms included.
    params: a count.
    without_norms: the same as `gflops`, as papers give it that leave out batch
      and layer norms.
  """

  gflops: float
  params: int
  without_norms: float

  def __str__(self) -> str:
    return f'{self.gflops:.3f} GFLOPs, {self.params / 1e6:.3f} M parameters'


def cost(
  name_or_model: str | Callable[[jax.Array], Any],
  frames: int = 16,
  resolution: int = 224,
  mode: flattening.Mode = 'row_major',
  grid: flattening.Grid | None = None,
) -> Cost:
  """Counts the GFLOPs of one clip, flattened unless the model takes clips.

  Args:
    name_or_model: a name of `list_models()` (then with 400 classes), a model,
      perhaps `Averaged`, or any function that JAX can trace, from images
      [B H W 3] or, with an attribute `takes_clips`, from clips [B T H W 3].
    frames: in the clip.
    resolution: side of a frame, in pixels.
    mode: the layout; it does not change the cost.
    grid: (rows, columns) if the number of frames is not a square.

  Returns:
    GFLOPs of one view, and the number of trainable parameters; for a function
    that is not an `nnx.Module`, the number of floats that it closes over.
  """
  for name, value in (('frames', frames), ('resolution', resolution)):
    if not isinstance(value, numbers.Integral) or value < 1:
      raise ValueError(
        f'{name} must be a whole number, 1 or more; got {value!r}.'
      )
  model = name_or_model
  if isinstance(model, str):
    model = nnx.eval_shape(lambda: create_model(name_or_model))
  inner, averaged = split_averaged(model)
  channels = getattr(inner, 'in_channels', 3)
  view = jax.ShapeDtypeStruct(
    (1, frames, resolution, resolution, channels), jnp.float32
  )
  if not getattr(type(model), 'takes_clips', False):
    rng = jax.random.key(0) if mode == 'random' else None
    view = jax.eval_shape(
      lambda clip: flattening.flatten(clip, mode, grid=grid, rng=rng), view
    )
  if not isinstance(inner, nnx.Module):
    program = jax.make_jaxpr(model)(view)
    held = {id(x): x for x in _constants(program)}.values()
    floats = [x for x in held if jnp.issubdtype(x.dtype, jnp.floating)]
    return _of_program(program, floats)

  graphdef, state = nnx.split(inner)

  def classify(state, view):
    return averaged(nnx.merge(graphdef, state))(view)

  program = jax.make_jaxpr(classify)(state, view)
  params = jax.tree.leaves(nnx.state(inner, nnx.Param))
  return _of_program(program, params)


def _of_program(
  program: jax.extend.core.ClosedJaxpr, params: list[jax.Array]
) -> Cost:
  """Returns the cost of a program that has these parameters."""
  gflops, without_norms = (
    _count(program.jaxpr, norms) / 1e9 for norms in (True, False)
  )
  return Cost(gflops, sum(x.size for x in params), without_norms)


def _constants(program) -> list[jax.Array]:
  """Returns the arrays of a program and of those that it calls, repeated."""
  found = list(getattr(program, 'consts', ()))  # Of a ClosedJaxpr.
  for equation in program.eqns:
    for inner in _programs_in(equation.params):
      found += _constants(inner)
  return found


def _count(program: jax.extend.core.Jaxpr, norms: bool = True) -> int:
  """Returns the multiply-adds of a program and of those that it calls."""
  return sum(_count_equation(equation, norms) for equation in program.eqns)


def _count_equation(equation, norms: bool) -> int:
  """Returns the multiply-adds of one operation."""
  kind, params = equation.primitive.name, equation.params
  if kind == 'jit' and (name := _layer_of_ours(params['jaxpr'].jaxpr)):
    if name in _NORMS and not norms:
      return 0
    return _LAYERS[name](*(x.aval.shape for x in equation.invars))
  if kind == 'dot_general':
    (contracted, _), _ = params['dimension_numbers']
    lhs, out = equation.invars[0].aval, equation.outvars[0].aval
    return out.size * math.prod(lhs.shape[axis] for axis in contracted)
  if kind == 'conv_general_dilated':
    kernel, out = equation.invars[1].aval, equation.outvars[0].aval
    outputs = kernel.shape[params['dimension_numbers'].rhs_spec[0]]
    # Zeros between the inputs of a transposed convolution are not multiplied.
    spread = math.prod(params['lhs_dilation'])
    return out.size * kernel.size // (outputs * spread)
  if kind == 'cond':
    return max(_count(branch.jaxpr, norms) for branch in params['branches'])
  inner = sum(_count(program, norms) for program in _programs_in(params))
  return inner * (params['length'] if kind == 'scan' else 1)


# Layers whose primitives do not show their cost: on CPU a depthwise convolution
# is a sum of shifted products, and attention pads its heads. Arguments are the
# shapes of the layer's arguments.
_LAYERS = {
  'depthwise_conv': lambda x, kernel: math.prod(x) * math.prod(kernel[:-2]),
  'depthwise_over_time': lambda x, kernel: math.prod(x) * kernel[0],
  'correlation': lambda x, _: math.prod(x) * correlation.WINDOW**2,
  'attention': lambda qkv: 2 * qkv[1] * math.prod(qkv) // 3,
  'layer_norm': lambda x, *_: 5 * math.prod(x),
  'scale_and_shift': lambda x, *_: 2 * math.prod(x),
}
_NORMS = ('layer_norm', 'scale_and_shift')
_FILES = tuple(
  module.__file__ for module in (attention, correlation, depthwise, norms)
)


def _layer_of_ours(program) -> str:
  """Returns the name of a jitted layer, if it is in `_LAYERS`."""
  origin = program.debug_info
  ours = origin.func_filename in _FILES and origin.func_name in _LAYERS
  return origin.func_name if ours else ''


def _programs_in(params: dict[str, Any]) -> list:
  """Returns the programs that an operation calls (jit, scan, custom_vjp)."""
  leaves = jax.tree.leaves(params, is_leaf=lambda x: hasattr(x, 'eqns'))
  return [value for value in leaves if hasattr(value, 'eqns')]
