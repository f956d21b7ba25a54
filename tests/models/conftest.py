# SPDX-License-Identifier: Apache-2.0
"""Settings of the tests that compare models with their official code."""

import gc

import jax
import pytest


@pytest.fixture(autouse=True, scope='module')
def full_precision():
  """Multiplies in full precision on accelerators, too."""
  with jax.default_matmul_precision('highest'):
    yield


@pytest.fixture(autouse=True, scope='module')
def forget_programs():
  """Frees the compiled programs of a file, and what they refer to."""
  yield
  jax.clear_caches()
  gc.collect()


@pytest.fixture(autouse=True)
def free_memory(request):
  """Frees full-size models: gigabytes may hang on a cycle of small objects."""
  yield
  if 'parity_folder' in request.fixturenames:
    gc.collect()
