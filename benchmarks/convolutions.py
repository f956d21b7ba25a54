# SPDX-License-Identifier: Apache-2.0
r"""Times forms of convolutions of clips on one core of a CPU, and PyTorch's.

  python -m benchmarks.convolutions
  python -m benchmarks.convolutions --only=3x1x1 --repeats=9

For each kind of SlowFast, I3D and Inception at 112 px: XLA's own convolution,
the forms of layers/convolution.py and PyTorch's; also MotionSqueeze's
correlation, against the sum of a product for each of its 225 places. All run in
turn; medians of processor time, which is valid on a busy machine, too. A
gradient is that of kernel and input, of the kernel alone where the input is the
clip. XLA's own is left out there, since its gradient takes minutes.
Needs `pip install -e .[bench]`; takes a minute of the core.
"""

import argparse
import functools
import os
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from benchmarks import measure
from flatten_jax.models.layers import convolution
from flatten_jax.models.layers.correlation import RADIUS, WINDOW, correlation
from flatten_jax.runtime.devices import host_memory

RESULTS = pathlib.Path(__file__).parent / 'results' / 'convolutions.md'
# Place, frames, side, channels in and out, kernel, strides.
CASES = (
  ('slow res2, last', 8, 28, 64, 256, (1, 1, 1), (1, 1, 1)),
  ('slow res3, shortcut', 8, 28, 256, 512, (1, 1, 1), (1, 2, 2)),
  ('fast res2, last', 32, 28, 8, 32, (1, 1, 1), (1, 1, 1)),
  ('I3D res2', 8, 28, 256, 64, (3, 1, 1), (1, 1, 1)),
  ('I3D res4', 4, 7, 1024, 256, (3, 1, 1), (1, 1, 1)),
  ('fast res2', 32, 28, 32, 8, (3, 1, 1), (1, 1, 1)),
  ('fast to slow', 32, 28, 32, 64, (7, 1, 1), (4, 1, 1)),
  ('slow res2, inner', 8, 28, 64, 64, (1, 3, 3), (1, 1, 1)),
  ('slow res3, inner', 8, 28, 128, 128, (1, 3, 3), (1, 2, 2)),
  ('fast res2, inner', 32, 28, 8, 8, (1, 3, 3), (1, 1, 1)),
  ('slow stem', 8, 112, 3, 64, (1, 7, 7), (1, 2, 2)),
  ('I3D stem', 8, 112, 3, 64, (5, 7, 7), (1, 2, 2)),
  ('fast stem', 32, 112, 3, 8, (5, 7, 7), (1, 2, 2)),
  ('Inception stem', 16, 112, 3, 64, (7, 7, 7), (2, 2, 2)),
  ('Inception 2c', 8, 28, 64, 192, (3, 3, 3), (1, 1, 1)),
  ('Inception 3b', 8, 14, 96, 128, (3, 3, 3), (1, 1, 1)),
  ('Inception 4', 4, 7, 112, 224, (3, 3, 3), (1, 1, 1)),
)


def jax_calls(function, *inputs, only_last=False):
  """Returns the function, jitted, and its gradient alone."""
  forward = jax.jit(lambda *args: function(*args))

  @jax.jit
  def backward(out, *args):
    if only_last:
      last = lambda weight: function(*args[:-1], weight)  # noqa: E731
      return jax.vjp(last, args[-1])[1](out)
    return jax.vjp(function, *args)[1](out)

  inputs = [jnp.asarray(x) for x in inputs]
  out = forward(*inputs)
  return (
    lambda: jax.block_until_ready(forward(*inputs)),
    lambda: jax.block_until_ready(backward(out, *inputs)),
  )


def torch_calls(function, *inputs, only_last=False):
  """The same in PyTorch."""
  wanted = inputs[only_last:]
  for x in wanted:
    x.requires_grad_()
  out = function(*inputs)
  grad = functools.partial(torch.autograd.grad, retain_graph=True)

  def forward():
    with torch.no_grad():
      return function(*inputs)

  return forward, lambda: grad(out, wanted, out.detach())


def draw(*shape):
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def of_convolution(frames, side, dim_in, dim, size, strides):
  """Returns {form: (forward, backward)}."""
  x, kernel = draw(1, frames, side, side, dim_in), draw(*size, dim_in, dim)
  of_clip = dim_in == 3
  forms = {'ours': convolution.clip_conv, 'by frame': convolution.frame_conv}
  if not of_clip:
    forms["XLA's"] = convolution.native_conv
  if size[0] > 1 and strides[0] == 1:
    forms['summed'] = convolution.summed_conv
  calls = {
    name: jax_calls(
      functools.partial(form, strides=strides), x, kernel, only_last=of_clip
    )
    for name, form in forms.items()
  }
  calls["PyTorch's"] = torch_calls(
    functools.partial(
      functional.conv3d, stride=strides, padding=tuple(k // 2 for k in size)
    ),
    torch.from_numpy(x).movedim(-1, 1).contiguous(),
    torch.from_numpy(kernel).permute(4, 3, 0, 1, 2).contiguous(),
    only_last=of_clip,
  )
  return calls


def of_correlation(side):
  """Returns {form: (forward, backward)} for seven pairs of frames."""
  pair = draw(7, side, side, 64), draw(7, side, side, 64)
  places = [(i, j) for i in range(WINDOW) for j in range(WINDOW)]

  def by_place(x, other):
    around = ((0, 0), (RADIUS,) * 2, (RADIUS,) * 2, (0, 0))
    other = jnp.pad(other, around)
    near = [other[:, i : i + side, j : j + side] for i, j in places]
    return jnp.stack([(x * y).sum(-1) for y in near], -1)

  def in_torch(x, other):
    other = functional.pad(other, (RADIUS,) * 4)
    near = [other[:, :, i : i + side, j : j + side] for i, j in places]
    return torch.stack([(x * y).sum(1) for y in near], 1)

  maps = [torch.from_numpy(x).movedim(-1, 1).contiguous() for x in pair]
  return {
    'ours': jax_calls(correlation, *pair),
    'by place': jax_calls(by_place, *pair),
    "PyTorch's": torch_calls(in_torch, *maps),
  }


def times_of(calls, repeats):
  """Returns {form: [ms forward, ms backward]}, medians of processor time."""
  single = {
    (name, i): call
    for name, pair in calls.items()
    for i, call in enumerate(pair)
  }
  found = measure.in_turn(single, repeats, (time.process_time,))
  return {name: [1e3 * found[name, i][0] for i in (0, 1)] for name in calls}


def main(argv=None):
  """Prints a line for each case; without --only it writes the results."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--only', default='')
  parser.add_argument('--repeats', type=int, default=7)
  args = parser.parse_args(argv)
  os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  torch.set_num_threads(1)
  host_memory.keep_freed_memory()
  cases = {
    f'{"x".join(map(str, case[4]))}, {where}: {case[0]} x {case[1]}², '
    f'{case[2]} to {case[3]}': functools.partial(of_convolution, *case)
    for where, *case in CASES
  }
  for side in (14, 28):
    name = f'correlation of 7 x {side}², 64 channels'
    cases[name] = functools.partial(of_correlation, side)
  columns = ('ours', 'by frame', 'summed', "XLA's", 'by place', "PyTorch's")
  lines = [
    '# Convolutions of clips on one core',
    '',
    'Made by `python -m benchmarks.convolutions`: ms of processor time,',
    'forward / gradient.',
    '',
    f'{measure.machine()}, jax {jax.__version__}, torch {torch.__version__}.',
    '',
    f'| case | {" | ".join(columns)} |',
    f'|{"---|" * (len(columns) + 1)}',
  ]
  for name, make in cases.items():
    if args.only in name:
      found = times_of(make(), args.repeats)
      cells = [
        ' / '.join(f'{t:.1f}' for t in found.get(c, ())) for c in columns
      ]
      lines.append(f'| {name} | {" | ".join(cells)} |')
      print(lines[-1], flush=True)
  if not args.only:
    RESULTS.write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  main()
