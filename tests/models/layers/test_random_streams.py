# SPDX-License-Identifier: Apache-2.0
"""Random streams: the keys of Flax's, without its work in a trace."""

from flax import nnx
import jax
import numpy as np
import pytest

from flatten_jax.models.layers import random_streams


def keys(rngs, count=3):
  found = [rngs.dropout() for _ in range(count)]
  return np.array([jax.random.key_data(key) for key in found])


@pytest.mark.parametrize('given', [7, None])
def test_keys_are_those_of_flax(given):
  key = jax.random.key(3)
  streams = {} if given is not None else {'dropout': key}
  expected = keys(nnx.Rngs(given, **streams))
  found = keys(random_streams.make(given, **streams))
  np.testing.assert_array_equal(found, expected)
  assert len(np.unique(found, axis=0)) == len(found)


def test_a_count_is_a_number_while_a_function_is_traced():
  counts = []

  @jax.jit
  def traced(key):
    rngs = random_streams.make(dropout=key)
    rngs.dropout(), rngs.dropout()
    counts.append(rngs.dropout.count[...])
    return jax.random.key_data(rngs.dropout())

  key = jax.random.key(3)
  last = keys(nnx.Rngs(dropout=key))[-1]
  np.testing.assert_array_equal(traced(key), last)
  assert not isinstance(counts[0], jax.Array) and counts[0] == 2
