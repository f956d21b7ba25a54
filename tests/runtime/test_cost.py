# SPDX-License-Identifier: Apache-2.0
"""Tests of GFLOPs and parameters against the papers."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models.layers import attention, depthwise
from flatten_jax.runtime import cost as cost_lib

TABLE = [  # Model, frames, resolution, GFLOPs, million parameters.
  ('uniformer_xxs', 9, 160, 10.528, 9.383),
  ('uniformer_xxs', 16, 160, 22.857, 9.383),
  ('uniformer_s', 9, 224, 47.480, 21.237),
  ('uniformer_s', 16, 224, 107.265, 21.237),
  ('resnet101', 16, 224, 125.31, 43.320),
  # Published: 4.6, 17.6, 4.5 and 8.7.
  ('vit_small_patch16_224', 1, 224, 4.608, 21.820),
  ('vit_base_patch16_224', 1, 224, 17.582, 86.106),
  ('convnext_tiny', 1, 224, 4.470, 28.128),
  ('convnext_small', 1, 224, 8.705, 49.762),
  ('uniformer3d_s', 8, 224, 17.613, 21.400),
  ('uniformer3d_s', 16, 224, 41.757, 21.400),
  ('uniformer3d_xxs', 8, 160, 3.239, 9.834),
  ('uniformer3d_xxs', 16, 160, 6.866, 9.834),
]


@pytest.mark.parametrize('name, frames, resolution, gflops, params', TABLE)
def test_costs_equal_the_papers(name, frames, resolution, gflops, params):
  cost = fj.cost(name, frames=frames, resolution=resolution)
  assert cost.gflops == pytest.approx(gflops, rel=1e-3)
  assert cost.params / 1e6 == pytest.approx(params, rel=1e-3)
  assert str(cost) == f'{cost.gflops:.3f} GFLOPs, {params:.3f} M parameters'


def test_the_window_of_the_paper_is_24():
  costs = {}
  for window in (8, 12, 24):
    model = nnx.eval_shape(
      lambda w=window: fj.create_model('swinv2_t', window=w)
    )
    costs[window] = fj.cost(model, frames=16, resolution=192)
  assert costs[24].gflops == pytest.approx(70.883, rel=1e-3)
  assert costs[24].params / 1e6 == pytest.approx(27.886, rel=1e-3)
  assert [round(costs[w].gflops, 1) for w in (8, 12)] == [53.5, 56.2]


def multiply_adds(function, *shapes):
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return cost_lib._count(jax.make_jaxpr(function)(*args).jaxpr)


def test_a_product_counts_its_multiplications():
  assert multiply_adds(jnp.matmul, (2, 3), (3, 5)) == 30
  scores = lambda q, k: jnp.einsum('bqd,bkd->bqk', q, k)  # noqa: E731
  assert multiply_adds(scores, (2, 3, 4), (2, 5, 4)) == 2 * 3 * 5 * 4


def test_a_convolution_counts_outputs_times_its_window():
  def conv(x, kernel, groups=1, stride=1):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )

  shape = (2, 8, 8, 4)
  assert multiply_adds(conv, shape, (3, 3, 4, 5)) == 2 * 64 * 5 * 9 * 4
  by_two = lambda x, kernel: conv(x, kernel, stride=2)  # noqa: E731
  assert multiply_adds(by_two, shape, (3, 3, 4, 5)) == 2 * 16 * 5 * 9 * 4
  grouped = lambda x, kernel: conv(x, kernel, groups=4)  # noqa: E731
  plain = multiply_adds(grouped, shape, (3, 3, 1, 4))
  assert plain == 2 * 64 * 4 * 9
  assert multiply_adds(depthwise.depthwise_conv, shape, (3, 3, 1, 4)) == plain


def test_a_transposed_convolution_does_not_count_the_zeros_between_inputs():
  def transposed(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), 'SAME')

  expected = 2 * 64 * 4 * 9 * 5  # Each input takes part in each weight.
  assert multiply_adds(transposed, (2, 8, 8, 4), (3, 3, 4, 5)) == expected


def test_attention_does_not_count_the_padding_of_its_heads():
  assert (
    multiply_adds(attention.attention, (2, 9, 3, 4, 28)) == 2 * 2 * 4 * 81 * 28
  )


def test_inner_functions_are_counted_and_loops_times_their_length():
  def function(x, w):
    def step(x, _):
      return jax.checkpoint(jax.jit(jnp.matmul))(x, w), None

    x, _ = jax.lax.scan(step, x, None, length=7)
    return jax.lax.cond(x.sum() > 0, lambda: x @ w, lambda: x)

  assert multiply_adds(function, (2, 3), (3, 3)) == 8 * 18


def test_a_function_has_a_cost_and_its_arrays_are_parameters():
  weights = jnp.ones((3, 10))
  cost = fj.cost(lambda x: x.mean((1, 2)) @ weights, frames=9, resolution=8)
  assert cost == cost_lib.Cost(30e-9, params=30, without_norms=30e-9)


def test_arrays_of_inner_functions_are_parameters_and_count_once():
  weights, other = jnp.ones((3, 3)), jnp.ones((3, 3))
  inner = jax.jit(lambda x: x @ weights)
  outer = jax.jit(lambda x: jax.checkpoint(inner)(inner(x)) @ other)
  cost = fj.cost(lambda x: inner(outer(x.mean((1, 2)))), 4, 8)
  assert (cost.params, round(cost.gflops * 1e9)) == (18, 4 * 9)


def test_the_layout_does_not_change_the_cost():
  model = fj.create_model('uniformer_test', num_classes=5)
  costs = {
    mode: fj.cost(model, frames=16, resolution=32, mode=mode)
    for mode in ('row_major', 'nested', 'random')
  }
  assert len(set(costs.values())) == 1
  with pytest.raises(ValueError, match='9'):
    fj.cost(model, frames=9, resolution=32, mode='nested')
  half = fj.cost(model, frames=8, resolution=32, grid=(2, 4))
  assert half.gflops < costs['nested'].gflops


def test_it_does_not_run_the_model():
  def function(x):
    seen.append(isinstance(x, jax.core.Tracer))
    return x @ np.ones((3, 2), np.float32)

  seen = []
  fj.cost(function, frames=1, resolution=4)
  assert seen == [True]
