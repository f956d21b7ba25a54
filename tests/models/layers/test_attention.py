# SPDX-License-Identifier: Apache-2.0
"""Tests of every form of attention against the textbook one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flatten_jax.models.layers import attention, devices
from tests.support.other_devices import AMD, H100, TPU

FORMS = [attention.plain_attention, attention.lean_attention]


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def textbook(qkv):
  q, k, v = jnp.moveaxis(qkv, 2, 0)
  scores = jnp.einsum('bqhd,bkhd->bhqk', q, k) / math.sqrt(q.shape[-1])
  return jnp.einsum('bhqk,bkhd->bqhd', jax.nn.softmax(scores), v)


def with_gradient(function, qkv):
  """The output, and the gradient of its product with fixed noise."""

  @jax.jit
  def run(qkv):
    out, backward = jax.vjp(function, qkv)
    return out, *backward(draw(*out.shape, seed=9).astype(out.dtype))

  return run(qkv)


@pytest.fixture
def small_blocks(monkeypatch):
  """Nine positions in blocks of two: the last is not full."""
  monkeypatch.setattr(attention, '_BLOCK_SIZE', 18)


@pytest.mark.parametrize('head_dim', [28, 32])
@pytest.mark.parametrize('form', FORMS)
def test_softmax_attention_and_its_gradient(form, head_dim, small_blocks):
  qkv = 2 * draw(2, 9, 3, 4, head_dim)
  with jax.enable_x64(True):
    exact = with_gradient(textbook, qkv.astype(np.float64))
    double = with_gradient(form, qkv.astype(np.float64))
  for a, b in zip(double, exact, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
  for a, b in zip(with_gradient(form, qkv), exact, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-6 * np.abs(b).max())


@pytest.mark.parametrize('form', FORMS)
def test_scores_beyond_the_range_of_exp_stay_finite(form, small_blocks):
  for x in with_gradient(form, 40 * draw(1, 9, 3, 1, 16)):
    assert np.isfinite(x).all()


@pytest.mark.parametrize('form', FORMS)
def test_the_gradient_has_the_dtype_of_its_argument(form, small_blocks):
  qkv = draw(2, 9, 3, 2, 8)
  full = with_gradient(form, qkv)
  half = with_gradient(form, qkv.astype(jnp.bfloat16))
  for a, b in zip(half, full, strict=True):
    assert a.dtype == jnp.bfloat16
    scale = np.abs(b).max()
    np.testing.assert_allclose(np.float32(a), b, atol=0.05 * scale)


def sizes(program):
  """Yields the size of every array in a program."""
  for equation in program.eqns:
    yield from (math.prod(x.aval.shape) for x in equation.outvars)
    for value in jax.tree.leaves(
      equation.params, is_leaf=lambda x: hasattr(x, 'jaxpr')
    ):
      value = getattr(value, 'jaxpr', value)
      if hasattr(value, 'eqns'):
        yield from sizes(value)


def test_many_positions_never_exist_as_a_square_of_weights():
  positions = 3136  # UniFormer-S at 896 pixels, stage 3.
  qkv = jax.ShapeDtypeStruct((2, positions, 3, 5, 64), jnp.float32)
  gradient = jax.grad(lambda qkv: attention.attention(qkv).sum())
  largest = max(sizes(jax.make_jaxpr(gradient)(qkv).jaxpr))
  assert largest < 2 * 5 * positions**2 / 8


@pytest.mark.parametrize(
  ('device', 'dtype', 'positions', 'form'),
  [
    (jax.devices()[0], 'float32', 9, 'plain'),
    (jax.devices()[0], 'float32', 1025, 'lean'),
    (TPU, 'bfloat16', 9, 'lean'),
    (AMD, 'bfloat16', 9, 'lean'),
    (H100, 'float32', 9, 'lean'),
    (H100, 'bfloat16', 9, 'fused'),
  ],
)
def test_the_form_depends_on_device_and_size(
  device, dtype, positions, form, monkeypatch
):
  taken = []
  for name in ('plain', 'lean', 'fused'):
    monkeypatch.setattr(
      attention,
      f'{name}_attention',
      lambda qkv, *_, n=name: taken.append(n),
    )
  qkv = jnp.zeros((1, positions, 3, 1, 8), dtype)
  attention.attention.__wrapped__(qkv, target=devices.Target.of(device))
  assert taken == [form]


def test_a_program_for_another_device_is_not_that_of_this_one():
  def is_lean():
    qkv = jnp.zeros((1, 9, 3, 1, 8))
    return 'scan' in str(jax.make_jaxpr(lambda x: attention.attention(x))(qkv))

  assert not is_lean()
  with devices.use([TPU]):
    assert is_lean()
  assert not is_lean()


def test_half_precision_on_a_gpu_takes_the_fused_kernel(monkeypatch):
  asked = {}
  library = jax.nn.dot_product_attention

  def stand_in(q, k, v, *, scale, implementation):
    asked.update(dim=q.shape[-1], scale=scale, implementation=implementation)
    return library(q, k, v, scale=scale)

  qkv = jnp.asarray(draw(1, 9, 3, 2, 28), jnp.bfloat16)
  expected = attention.attention(qkv)
  monkeypatch.setattr(attention.jax.nn, 'dot_product_attention', stand_in)
  with devices.use([H100]):
    out = attention.attention(qkv)
  assert asked == {'dim': 32, 'scale': 28**-0.5, 'implementation': 'cudnn'}
  np.testing.assert_allclose(np.float32(out), np.float32(expected), atol=2e-2)
