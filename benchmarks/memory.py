# SPDX-License-Identifier: Apache-2.0
r"""Memory and time of a training step with bfloat16, remat and lean attention.

  python -m benchmarks.memory
  python -m benchmarks.memory --model=uniformer_xxs --side=640

Three figures for a training step (forward, loss, backward; parameters and
optimizer come on top):
- kept: what the forward pass leaves for the backward pass, as JAX traces it,
  the same on any device before its compiler improves on it;
- reserved: what XLA reserves on this device for all intermediate values. On CPU
  its scheduler favours parallelism over memory and undoes remat; here it is
  asked for the opposite, by a flag;
- seconds: the median of --steps rounds, each with one step of every way in
  turn; 0 leaves it out.
"""

import argparse
import os
import pathlib
from unittest import mock

# Before jax is imported, which reads it.
os.environ['XLA_FLAGS'] = (
  '--xla_cpu_enable_concurrency_optimized_scheduler=false '
  + os.environ.get('XLA_FLAGS', '')
)

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from benchmarks import measure
import flatten_jax as fj
from flatten_jax.models.layers import attention
from flatten_jax.runtime import state
from flatten_jax.runtime.devices import host_memory

BLOCK_SIZE = attention._BLOCK_SIZE
RESULTS = pathlib.Path(__file__).parent / 'results'
WAYS = {  # Name -> options of the model, and whether all weights are kept.
  'float32, N x N weights kept': ({}, True),
  'float32': ({}, False),
  'float32, remat': ({'remat': True}, False),
  'bfloat16': ({'dtype': 'bfloat16'}, False),
  'bfloat16, remat': ({'dtype': 'bfloat16', 'remat': True}, False),
}


def loss_of(name, options):
  """A function of parameters, statistics and a batch; its shapes (no values).

  Returns:
    The function, giving the loss and new statistics, and the shapes of a
    model's parameters and statistics.
  """
  model = nnx.eval_shape(lambda: fj.create_model(name, **options))
  graphdef, params, stats = state.split(model)

  def loss(params, stats, images, labels):
    model = nnx.merge(graphdef, params, stats, copy=True)
    logits = model(images, train=True).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), state.batch_stats_of(model)

  return loss, params, stats


def gibibytes(tree):
  """Returns the size of all arrays of a tree."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)) / 2**30


def prepare(name, options, batch, side):
  """Returns GiB kept and reserved by a training step, and a call of one."""
  loss, params, stats = loss_of(name, options)
  images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
  labels = jax.ShapeDtypeStruct((batch,), jnp.int32)

  def kept(params, stats, images, labels):
    _, backward, _ = jax.vjp(
      lambda params: loss(params, stats, images, labels), params, has_aux=True
    )
    return backward  # Holds all that it needs.

  shapes = (params, stats, images, labels)
  left = gibibytes(jax.eval_shape(kept, *shapes)) - gibibytes(params)
  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  compiled = step.lower(*shapes).compile()
  reserved = compiled.memory_analysis().temp_size_in_bytes / 2**30
  args = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return left, reserved, lambda: jax.block_until_ready(compiled(*args))


def main(argv=None):
  """Measures the ways of saving memory in turn, and writes the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--model', default='uniformer_s')
  parser.add_argument('--side', type=int, default=896)
  parser.add_argument('--batch', type=int, default=1)
  parser.add_argument('--steps', type=int, default=3)
  options = parser.parse_args(argv)
  host_memory.keep_freed_memory()
  lines = [
    f'# Memory and time of a training step: {options.model} on '
    f'{options.batch} x {options.side} x {options.side}',
    '',
    f'{measure.machine()}, {jax.default_backend()}, jax {jax.__version__}: '
    f'`python -m benchmarks.memory --model={options.model} '
    f'--side={options.side} --batch={options.batch}`',
    '',
    '| | kept, GiB | reserved, GiB | s / step |',
    '|---|---|---|---|',
  ]
  sizes, calls = {}, {}
  for way, (model_options, keep) in WAYS.items():
    with mock.patch.object(
      attention, '_BLOCK_SIZE', 10**9 if keep else BLOCK_SIZE
    ):
      jax.clear_caches()  # Of traces that took the other form of attention.
      *sizes[way], calls[way] = prepare(
        options.model, model_options, options.batch, options.side
      )
  seconds = measure.in_turn(calls, options.steps) if options.steps else {}
  for way, (left, reserved) in sizes.items():
    taken = ', '.join(f'{median:.2f}' for median in seconds.get(way, ()))
    lines.append(f'| {way} | {left:.2f} | {reserved:.2f} | {taken} |')
    print(lines[-1], flush=True)
  path = RESULTS / f'memory_{options.model}.md'
  path.write_text('\n'.join(lines) + '\n')
  print(f'Written to {path}')


if __name__ == '__main__':
  main()
