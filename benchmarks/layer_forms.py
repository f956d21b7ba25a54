# SPDX-License-Identifier: Apache-2.0
r"""Times the forms of attention and of depthwise convolution on a device.

  python -m benchmarks.layer_forms
  python -m benchmarks.layer_forms --dtype=bfloat16 --batch=32
  python -m benchmarks.layer_forms --small     # seconds, on a CPU

For each shape of the models: the form that the models take on this device, the
other forms, those that JAX ships (`jax.nn.dot_product_attention`, its Pallas
kernels for GPUs and TPUs), and a Pallas kernel of a depthwise convolution. They
are called in turn, forward and with the gradient; medians. Each has to compute
what the plain form computes in float32; `--small` runs Pallas kernels in
interpret mode, which checks them and says nothing of their speed. A form that a
device or a shape does not suit has its error in the table.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import functools
import json
import pathlib
from typing import Any

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp
import numpy as np
import tabulate

from benchmarks import measure
from flatten_jax.models.layers import attention, depthwise

RESULTS = pathlib.Path(__file__).parent / 'results'
# Positions, heads, width of a head.
ATTENTION = {
  'UniFormer-S 896, stage 3': (3136, 5, 64),
  'UniFormer-S 896, stage 4': (784, 8, 64),
  'UniFormer-XXS 640, stage 3': (1600, 8, 28),
  'TimeSformer, ViViT, space': (197, 12, 64),
  'TimeSformer, time': (8, 12, 64),
}
# Positions, channels, size of the kernel.
DEPTHWISE = {
  'UniFormer-S 896, stage 1': ((224, 224), 64, 5),
  'UniFormer-S 896, stage 2': ((112, 112), 128, 5),
  'UniFormer-S 896, stage 3': ((56, 56), 320, 3),
  '3D UniFormer-S, stage 1': ((8, 56, 56), 64, 5),
}
SMALL = (
  {'small': (128, 2, 64)},
  {'small': ((16, 16), 32, 3), 'small, 3D': ((4, 8, 8), 32, 3)},
)
Form = Callable[..., jax.Array]


def attention_forms(interpret: bool) -> dict[str, Form]:
  """Returns functions [B N 3 h D] -> [B N h D] by name."""

  def jax_own(qkv, implementation):
    q, k, v = jnp.moveaxis(qkv, 2, 0)
    return jax.nn.dot_product_attention(q, k, v, implementation=implementation)

  def pallas_gpu(qkv):
    from jax.experimental.pallas.ops.gpu import attention as kernel

    q, k, v = jnp.moveaxis(qkv, 2, 0)
    scale = qkv.shape[-1] ** -0.5
    return kernel.mha(q, k, v, None, sm_scale=scale, interpret=interpret)

  def pallas_tpu(qkv):
    from jax.experimental.pallas.ops.tpu import flash_attention as kernel

    q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # [B h N D] each.
    scale = qkv.shape[-1] ** -0.5
    return kernel.flash_attention(q, k, v, sm_scale=scale).swapaxes(1, 2)

  forms: dict[str, Form] = {
    'as the models': attention.attention,
    'plain': attention.plain_attention,
    'lean': attention.lean_attention,
    'jax.nn, XLA': functools.partial(jax_own, implementation='xla'),
  }
  platform = jax.default_backend()
  if platform == 'gpu':
    forms['cuDNN'] = attention.fused_attention
  if platform == 'gpu' or interpret:
    forms['Pallas, GPU'] = pallas_gpu
  if platform == 'tpu':
    forms['Pallas, TPU'] = pallas_tpu
  return forms


def depthwise_forms(interpret: bool) -> dict[str, Form]:
  """Returns functions [B (T) H W C], [k k (k) 1 C] -> [B (T) H W C]."""
  forms: dict[str, Form] = {
    'as the models': depthwise.depthwise_conv,
    'XLA': depthwise.native_depthwise_conv,
    'by shifts': depthwise.depthwise_conv_by_shifts,
  }
  if jax.default_backend() != 'cpu' or interpret:
    forms['Pallas'] = functools.partial(pallas_depthwise, interpret=interpret)
  return forms


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def pallas_depthwise(
  x: jax.Array, kernel: jax.Array, interpret: bool = False
) -> jax.Array:
  """A depthwise convolution that reads its input from memory once.

  The gradient of the input is such a convolution, that of the kernel is XLA's.
  """
  *sizes, _, channels = kernel.shape
  space = x.shape[1:-1]
  pads = ((0, 0), *((k // 2, k // 2) for k in sizes), (0, 0))
  # A GPU takes tiles whose sides are powers of two.
  high, wide, deep = map(_largest_power, (*space[-2:], channels), (8, 32, 64))
  offsets = list(np.ndindex(*sizes))

  def convolve(x_ref, kernel_ref, out_ref):
    row, column = pl.program_id(1) * high, pl.program_id(2) * wide
    total = jnp.zeros(out_ref.shape, jnp.float32)
    for *before, down, right in offsets:
      frames = (pl.ds(o, n) for o, n in zip(before, space, strict=False))
      rows, columns = pl.ds(row + down, high), pl.ds(column + right, wide)
      tap = kernel_ref[*before, down, right].reshape(-1)
      total += x_ref[:, *frames, rows, columns] * tap
    out_ref[...] = total.astype(out_ref.dtype)

  padded = jnp.pad(x, pads)
  whole, between = (0,) * len(space), (0,) * (len(space) - 2)
  return pl.pallas_call(
    convolve,
    grid=(len(x), space[-2] // high, space[-1] // wide, channels // deep),
    in_specs=[
      pl.BlockSpec(
        (1, *padded.shape[1:-1], deep), lambda i, _, __, c: (i, *whole, c)
      ),
      pl.BlockSpec((*sizes, 1, deep), lambda *ids: (*whole, 0, ids[-1])),
    ],
    out_specs=pl.BlockSpec(
      (1, *space[:-2], high, wide, deep),
      lambda i, row, column, c: (i, *between, row, column, c),
    ),
    out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
    interpret=interpret,
  )(padded, kernel)


def _largest_power(number: int, limit: int) -> int:
  """Returns the largest power of two up to `limit` that divides a number."""
  return min(number & -number, limit)


def _pallas_forward(x, kernel, interpret):
  return pallas_depthwise(x, kernel, interpret), (x, kernel)


def _pallas_backward(interpret, saved, grad):
  x, kernel = saved
  flipped = jnp.flip(kernel, range(kernel.ndim - 2))
  _, pull = jax.vjp(lambda k: depthwise.native_depthwise_conv(x, k), kernel)
  return pallas_depthwise(grad, flipped, interpret), pull(grad)[0]


pallas_depthwise.defvjp(_pallas_forward, _pallas_backward)


def cases(args: argparse.Namespace) -> Iterator[tuple[str, dict, tuple]]:
  """Yields a title, forms by name, and their arguments in float32."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.standard_normal(shape, np.float32))

  in_attention, in_depthwise = SMALL if args.small else (ATTENTION, DEPTHWISE)
  for name, (length, heads, dim) in in_attention.items():
    title = f'Attention, {name}: {args.batch} x {length} x {heads} x {dim}'
    qkv = draw(args.batch, length, 3, heads, dim)
    yield title, attention_forms(args.small), (qkv,)
  for name, (space, channels, size) in in_depthwise.items():
    shape = ' x '.join(map(str, (args.batch, *space, channels)))
    title = f'Depthwise {size} wide, {name}: {shape}'
    kernel = draw(*(size,) * len(space), 1, channels) / size ** len(space)
    x = draw(args.batch, *space, channels)
    yield title, depthwise_forms(args.small), (x, kernel)


def with_gradient(form: Form) -> Callable:
  """Returns a function of the gradients of all arguments."""

  def loss(*args):
    return (form(*args).astype(jnp.float32) ** 2).sum()

  def gradients(*args):
    return jax.grad(loss, range(len(args)))(*args)

  return gradients


def compare(
  forms: dict[str, Form], args: tuple, dtype: str, repeats: int
) -> list[dict[str, Any]]:
  """Returns a row for each form: its times in ms, or its error."""
  reference = list(forms)[1]  # 'plain', or 'XLA'.
  half = [x.astype(dtype) for x in args]
  rows: dict[str, dict[str, Any]] = {}
  calls: dict[tuple[str, str], Callable] = {}
  expected, error = outputs(compiled(forms[reference], args))
  if error:
    name = f'{reference} in float32, the reference'
    rows[name] = {'form': name, 'error': error}
  for name, form in forms.items():
    own_calls = compiled(form, half)
    found, error = outputs(own_calls)
    rows[name] = {'form': name} | ({'error': error} if error else {})
    if error:
      continue
    calls |= {(name, kind): call for kind, call in own_calls.items()}
    if expected:
      gap = max(map(gap_of, found, expected))
      rows[name]['gap'] = gap
      if not gap <= (1e-4 if dtype == 'float32' else 0.05):  # Or NaN.
        rows[name]['error'] = 'computes something else'
  for (name, kind), (seconds,) in measure.in_turn(calls, repeats).items():
    rows[name][kind] = 1e3 * seconds
  return list(rows.values())


def compiled(form: Form, args: Sequence[jax.Array]) -> dict[str, Callable]:
  """Returns calls that wait for a form's output, and for its gradients too."""

  def of(function: Callable) -> Callable:
    jitted = jax.jit(function)
    return lambda: jax.block_until_ready(jitted(*args))

  return {'forward': of(form), 'with gradient': of(with_gradient(form))}


def outputs(calls: dict[str, Callable]) -> tuple[list[jax.Array], str]:
  """Returns all arrays that calls give, or the error of one, for the table."""
  try:
    return jax.tree.leaves([call() for call in calls.values()]), ''
  except Exception as error:
    text = str(error).strip().splitlines() or [type(error).__name__]
    return [], text[0][:80]


def gap_of(ours: jax.Array, expected: jax.Array) -> float:
  """Returns the largest difference, over the largest number expected."""
  gap = jnp.abs(ours.astype(jnp.float32) - expected).max()
  return float(gap / jnp.abs(expected).max())


def page(found: dict[str, list[dict[str, Any]]], facts: str) -> str:
  """Formats the results."""
  lines = ['# Forms of layers', '', facts, '']
  for title, rows in found.items():
    table = [
      [
        row['form'],
        f'{row["forward"]:.2f}' if 'forward' in row else '',
        f'{row["with gradient"]:.2f}' if 'with gradient' in row else '',
        f'{row["gap"]:.0e}' if 'gap' in row else '',
        row.get('error', ''),
      ]
      for row in rows
    ]
    header = ['form', 'forward ms', 'with gradient ms', 'difference', '']
    text = tabulate.tabulate(
      table, header, tablefmt='github', disable_numparse=True
    )
    lines += [f'## {title}', '', text, '']
  return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
  """Times every shape, and writes the page after each."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--dtype', default='', help='float32 or bfloat16')
  parser.add_argument('--batch', type=int, default=0, help='clips; 16, or 1')
  parser.add_argument('--repeats', type=int, default=20)
  parser.add_argument(
    '--only', default='', help='shapes with this in the title'
  )
  parser.add_argument('--small', action='store_true', help='tiny shapes')
  parser.add_argument('--output', default=str(RESULTS / 'layer_forms'))
  args = parser.parse_args(argv)
  on_cpu = jax.default_backend() == 'cpu'
  args.dtype = args.dtype or ('float32' if on_cpu else 'bfloat16')
  args.batch = args.batch or (1 if on_cpu else 16)
  device = jax.devices()[0].device_kind
  facts = (
    'Made by `python -m benchmarks.layer_forms`, which explains them: '
    f'{device}, {args.dtype}, jax {jax.__version__}; {measure.machine()}.'
  )
  found, output = {}, pathlib.Path(args.output)
  output.parent.mkdir(parents=True, exist_ok=True)
  for title, forms, inputs in cases(args):
    if args.only in title:
      found[title] = compare(forms, inputs, args.dtype, args.repeats)
      print(title, *found[title], sep='\n  ', flush=True)
      output.with_suffix('.md').write_text(page(found, facts))
      output.with_suffix('.json').write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
  main()
