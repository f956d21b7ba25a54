# SPDX-License-Identifier: Apache-2.0
"""Converts JAX functions to ONNX with jax2onnx.

jax2onnx translates primitives one by one, and patches jax.numpy and Flax while
it traces, which our code does not tolerate. So the program is traced here,
rewritten without calls, choices and 3D convolutions, and then converted.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import logging
import pathlib
from typing import Any

import jax
from jax import lax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import devices

# Two commands, since jax2onnx requires an old Orbax that it never imports.
INSTALL = '`pip install ".[onnx]"` and `pip install --no-deps jax2onnx==0.17.1`'
# Calls that are inlined.
_CALLS = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call')


def write(
  function: Callable[[jax.Array], jax.Array],
  clips: jax.ShapeDtypeStruct,
  path: pathlib.Path,
  metadata: Mapping[str, str],
) -> None:
  """Writes a function clips -> logits as an ONNX file, for any batch size.

  Its constants become the file's weights. `clips` has a symbolic first axis.

  Raises:
    RuntimeError: jax2onnx is not installed; the message contains the command.
  """
  try:
    # They log every plugin and every uncertain shape.
    for name in ('jax2onnx', 'onnx_ir'):
      logging.getLogger(name).setLevel(logging.ERROR)
    import jax2onnx
    import onnx
    import onnxruntime  # noqa: F401  It checks the file.
  except ImportError as error:
    raise RuntimeError(f'ONNX needs {INSTALL} ({error}).') from error
  with devices.cross_platform_export():
    program = jax.make_jaxpr(function)(clips)
  model = jax2onnx.to_onnx(
    lambda clips: evaluate(program.jaxpr, program.consts, [clips])[0],
    [clips],
    input_names=['clips'],
    output_names=['logits'],
    model_name='flatten_jax',
  )
  onnx.helper.set_model_props(model, dict(metadata))
  onnx.save(model, path)


def evaluate(
  jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]
) -> list[Any]:
  """Evaluates a traced program without calls, choices and 3D filters."""
  values = dict(zip(jaxpr.constvars, consts, strict=True))
  values |= zip(jaxpr.invars, args, strict=True)

  def read(atom):
    known = isinstance(atom, core.Literal)
    return np.asarray(atom.val, atom.aval.dtype) if known else values[atom]

  for equation in jaxpr.eqns:
    results = _apply(equation, [read(atom) for atom in equation.invars])
    values |= zip(equation.outvars, results, strict=True)
  return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: core.JaxprEqn, args: list[Any]) -> Sequence[Any]:
  """Evaluates one primitive."""
  name, params = equation.primitive.name, equation.params
  if name in _CALLS:
    inner = params.get('jaxpr') or params['call_jaxpr']
    return evaluate(inner.jaxpr, inner.consts, args)
  if name == 'checkpoint':  # A block of a model with `remat`.
    return evaluate(params['jaxpr'], [], args)
  if name == 'platform_index':
    # No platform-specific form is for ONNX.
    return [params['platforms'].index(None)]
  if name == 'cond' and isinstance(args[0], int):
    inner = params['branches'][args[0]]
    return evaluate(inner.jaxpr, inner.consts, args[1:])
  if name == 'clamp':  # Of any batch size; jax2onnx's needs a known one.
    least, x, most = args
    return [jnp.minimum(jnp.maximum(x, least), most)]
  if name == 'conv_general_dilated' and args[0].ndim == 5:
    return [_conv3d(*args, **params)]
  if name == 'pad' and _is_known(args[1]):
    widths = [(low, high) for low, high, _ in params['padding_config']]
    between = any(inner for _, _, inner in params['padding_config'])
    if not between and np.min(widths) >= 0:
      # jax2onnx converts jnp.pad for symbolic shapes, but not this primitive.
      return [jnp.pad(args[0], widths, constant_values=args[1].item())]
  known = all(map(_is_known, args)) and all(
    isinstance(size, int) for out in equation.outvars for size in out.aval.shape
  )
  # Constants are folded, e.g. transposed weights.
  when = jax.ensure_compile_time_eval if known else contextlib.nullcontext
  with when():
    bound = equation.primitive.get_bind_params(params)
    results = equation.primitive.bind(*args, **bound)
  return results if equation.primitive.multiple_results else [results]


def _is_known(value: Any) -> bool:
  return not isinstance(value, jax.core.Tracer)


def _conv3d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  window_strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  feature_group_count: int,
  **_,
) -> jax.Array:
  """Computes a 3D convolution as a sum of 2D ones, one per kernel frame.

  [B T H W C] and [t h w C/G O] -> [B T' H' W' O].
  """
  stride = window_strides[0]
  x = jnp.pad(x, ((0, 0), padding[0], *((0, 0),) * 3))
  frames = (x.shape[1] - kernel.shape[0]) // stride + 1
  total = 0
  for offset in range(kernel.shape[0]):
    shifted = x[:, offset : offset + (frames - 1) * stride + 1 : stride]
    total += lax.conv_general_dilated(
      shifted.reshape(-1, *x.shape[2:]),
      kernel[offset],
      window_strides=window_strides[1:],
      padding=padding[1:],
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=feature_group_count,
    )
  return total.reshape(-1, frames, *total.shape[1:])
