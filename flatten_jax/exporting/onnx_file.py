# SPDX-License-Identifier: Apache-2.0
"""JAX functions to ONNX by jax2onnx, rewritten first into what it knows.

jax2onnx translates JAX's primitives one by one, and takes over the functions of
jax.numpy and Flax while it traces, which not all of our code allows. So we
trace, take the program apart, and hand it over primitive by primitive.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import functools
import logging
import pathlib
from typing import Any

import jax
from jax import lax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import devices

# Two commands, as jax2onnx asks for an old Orbax, which it never imports.
INSTALL = '`pip install ".[onnx]"` and `pip install --no-deps jax2onnx==0.17.1`'
# Calls that may as well be written out.
_CALLS = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call')


def write(
  function: Callable[[jax.Array], jax.Array],
  clips: jax.ShapeDtypeStruct,
  path: pathlib.Path,
  metadata: Mapping[str, str],
) -> None:
  """Writes clips -> logits as an ONNX file, for any number of clips.

  Args:
    function: to be traced; its constants become the file's weights.
    clips: shape with a symbolic first axis, and dtype.
    path: of the file.
    metadata: for the file's properties.

  Raises:
    RuntimeError: jax2onnx is not there; says how to install it.
  """
  onnx, to_onnx = load()
  with devices.cross_platform_export():
    program = jax.make_jaxpr(function)(clips)
  model = to_onnx(
    functools.partial(_evaluate_one, program),
    [clips],
    input_names=['clips'],
    output_names=['logits'],
    model_name='flatten_jax',
  )
  onnx.helper.set_model_props(model, dict(metadata))
  onnx.save(model, path)


def load() -> tuple[Any, Callable]:
  """The modules onnx and jax2onnx's converter.

  Raises:
    RuntimeError: they are not there; says how to install them.
  """
  try:
    import onnx

    # It logs every plugin and every shape that it is not sure of.
    for name in ('jax2onnx', 'onnx_ir'):
      logging.getLogger(name).setLevel(logging.ERROR)
    import jax2onnx
    import onnxruntime  # noqa: F401  What the file is checked with.
  except ImportError as error:
    raise RuntimeError(f'ONNX needs {INSTALL} ({error}).') from error
  return onnx, jax2onnx.to_onnx


def _evaluate_one(program: core.ClosedJaxpr, clips: jax.Array) -> jax.Array:
  (logits,) = evaluate(program.jaxpr, program.consts, [clips])
  return logits


def evaluate(
  jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]
) -> list[Any]:
  """Computes a traced program anew, without calls, choices and 3D filters."""
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
  """The results of one primitive."""
  name, params = equation.primitive.name, equation.params
  if name in _CALLS:
    inner = params.get('jaxpr') or params['call_jaxpr']
    return evaluate(inner.jaxpr, inner.consts, args)
  if name == 'checkpoint':  # What a model with `remat` computes twice.
    return evaluate(params['jaxpr'], [], args)
  if name == 'platform_index':
    # ONNX is none of the platforms that have a form of their own.
    return [params['platforms'].index(None)]
  if name == 'cond' and isinstance(args[0], int):
    inner = params['branches'][args[0]]
    return evaluate(inner.jaxpr, inner.consts, args[1:])
  if name == 'conv_general_dilated' and args[0].ndim == 5:
    return [_conv3d(*args, **params)]
  if name == 'pad' and _only_adds(params) and _is_known(args[1]):
    # jnp.pad jax2onnx also takes for arrays of open shape.
    widths = [(low, high) for low, high, _ in params['padding_config']]
    return [jnp.pad(args[0], widths, constant_values=args[1].item())]
  known = all(map(_is_known, args)) and all(
    isinstance(size, int) for out in equation.outvars for size in out.aval.shape
  )
  # What depends on no clip is computed now: weights in another order of axes.
  when = jax.ensure_compile_time_eval if known else contextlib.nullcontext
  with when():
    bound = equation.primitive.get_bind_params(params)
    results = equation.primitive.bind(*args, **bound)
  return results if equation.primitive.multiple_results else [results]


def _is_known(value: Any) -> bool:
  return not isinstance(value, jax.core.Tracer)


def _only_adds(pad: Mapping[str, Any]) -> bool:
  """Whether lax.pad puts something around an array, and does no more."""
  return all(
    low >= 0 and high >= 0 and not between
    for low, high, between in pad['padding_config']
  )


def _conv3d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  window_strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  feature_group_count: int,
  **_,
) -> jax.Array:
  """A 3D convolution as a sum of 2D ones, one for each moment of the kernel.

  [B T H W C] and [t h w C/G O] -> [B T' H' W' O], the only order of axes that
  our models have.
  """
  stride = window_strides[0]
  x = jnp.pad(x, ((0, 0), padding[0], *((0, 0),) * 3))
  frames = (x.shape[1] - kernel.shape[0]) // stride + 1
  total = 0
  for moment in range(kernel.shape[0]):
    seen = x[:, moment : moment + (frames - 1) * stride + 1 : stride]
    total += lax.conv_general_dilated(
      seen.reshape(-1, *x.shape[2:]),
      kernel[moment],
      window_strides=window_strides[1:],
      padding=padding[1:],
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=feature_group_count,
    )
  return total.reshape(-1, frames, *total.shape[1:])
