# SPDX-License-Identifier: Apache-2.0
"""Work that is divided over the devices of a mesh."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

from flatten_jax.models.layers import depthwise, devices, norms
from flatten_jax.models.layers.dense import add_bias
from flatten_jax.models.layers.transformer import Attention
from tests.support.other_devices import AMD, H100, TPU


@pytest.fixture
def mesh():
  return mesh_of(8, 1)


def mesh_of(data, model):
  auto = (AxisType.Auto,) * 2
  return jax.make_mesh((data, model), ('data', 'model'), axis_types=auto)


def on(mesh, function, *args):
  """Calls a function for a mesh; the first argument is divided over it."""
  places = [NamedSharding(mesh, PartitionSpec('data'))]
  places += [NamedSharding(mesh, PartitionSpec())] * (len(args) - 1)

  def traced(*args):
    with devices.use(mesh):
      return function(*args)

  return jax.jit(traced)(*map(jax.device_put, args, places))


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_targets_are_read_of_devices():
  assert devices.Target.of(H100) == devices.Target('gpu', 9.0)
  assert devices.Target.of(AMD) == devices.Target('gpu', 0.0)
  assert devices.Target.of(jax.devices()[0]).is_cpu
  with devices.use([TPU] * 3):
    assert devices.target().platform == 'tpu'
    assert len(devices.current()) == 3
    assert devices.parts('data') == 1  # No mesh.
  assert devices.target().is_cpu


def test_gradients_of_devices_are_added_up_in_float32(mesh):
  """256 + 1 is 256 in bfloat16, which has eight bits."""
  x = jnp.ones((8, 1), jnp.bfloat16).at[0].set(256)

  def gradient(x, kernel):
    def total(kernel):
      return devices.with_parameter(jnp.matmul, x, kernel).sum()

    return jax.grad(total)(kernel)

  assert on(mesh, gradient, x, jnp.ones((1, 1)))[0, 0] == 263


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize(
  ('function', 'kernel'),
  [
    (jnp.matmul, (6, 5)),
    (add_bias, (6,)),
    (depthwise.depthwise_conv, (3, 3, 1, 6)),
  ],
)
def test_gradients_are_those_of_one_device(function, kernel, dtype, mesh):
  shape = (16, 4, 4, 6) if len(kernel) == 4 else (16, 6)
  x, kernel = draw(*shape).astype(dtype), draw(*kernel, seed=1)

  def loss(x, kernel):
    y = devices.with_parameter(function, x, kernel)
    return (y.astype(jnp.float32) ** 2).mean()

  both = jax.value_and_grad(loss, argnums=(0, 1))
  alone, together = both(x, kernel), on(mesh, both, x, kernel)
  atol = 1e-6 if dtype == 'float32' else 1e-2
  for ours, expected in zip(
    jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
  ):
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(
      np.float32(ours), np.float32(expected), atol=atol
    )


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('axis', [0, 1])
def test_divided_parameters_are_gathered_for_each_pass(axis, dtype, mesh):
  x, kernel = draw(16, 8).astype(dtype), draw(8, 24, seed=1)

  def loss(kernel, x):
    with devices.gather_after(x):
      y = devices.with_parameter(jnp.matmul, jnp.sin(x), kernel)
      y = devices.with_parameter(jnp.matmul, jnp.sin(y), kernel.T)
    return (y.astype(jnp.float32) ** 2).mean()

  def divided(shape):
    return axis if shape == kernel.shape else 1 - axis

  def traced(kernel, x):
    with devices.use(mesh, divided):
      return jax.value_and_grad(loss)(kernel, x)

  place = PartitionSpec(*(None,) * axis, 'data')
  places = [
    NamedSharding(mesh, spec) for spec in (place, PartitionSpec('data'))
  ]
  program = jax.jit(
    traced, in_shardings=places, out_shardings=(None, places[0])
  ).lower(kernel, x).compile()  # fmt: skip
  found = program.as_text()
  # In both layers, and again in the second, which needs it for the gradient.
  assert found.count(' all-gather(') == 3
  assert found.count(' reduce-scatter(') == 2
  value, gradient = program(*map(jax.device_put, (kernel, x), places))
  expected = jax.value_and_grad(loss)(kernel, x)
  tolerance = 1e-6 if dtype == 'float32' else 1e-2
  np.testing.assert_allclose(value, expected[0], rtol=tolerance)
  np.testing.assert_allclose(gradient, expected[1], atol=tolerance)


@pytest.mark.parametrize('offset', [0, 30])
def test_batch_norm_is_that_of_one_device(offset, mesh):
  x = draw(16, 3, 5) + offset

  def run(x):
    norm = norms.BatchNorm(5)
    y = norm(x, train=True)
    return y, norm.mean[...], norm.var[...]

  def gradient(x):
    return jax.grad(lambda x: (run(x)[0] ** 3).sum())(x)

  for function, rtol in ((run, 1e-4), (gradient, 1e-3)):
    alone, together = function(jnp.asarray(x)), on(mesh, function, x)
    for ours, expected in zip(
      jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
    ):
      np.testing.assert_allclose(ours, expected, rtol=rtol, atol=1e-4)


@pytest.mark.parametrize('model', [2, 4])  # 6 heads: divided, and whole.
def test_attention_divided_over_devices_is_that_of_one(model):
  from flax import nnx

  layer = Attention(48, 8, rngs=nnx.Rngs(0))
  layer.qkv.bias.set_value(draw(144, seed=2))
  x = draw(8, 9, 48)
  graphdef, state = nnx.split(layer)

  def run(x, state):
    def loss(state):
      return (nnx.merge(graphdef, state).attend(x) ** 2).sum()

    return jax.value_and_grad(loss)(state)

  alone = run(jnp.asarray(x), state)
  together = on(mesh_of(8 // model, model), run, x, state)
  for ours, expected in zip(
    jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
  ):
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
