# SPDX-License-Identifier: Apache-2.0
"""Settings and fixtures of all tests."""

import gc
import os
import pathlib
import shutil
import tempfile

# Set before jax is imported. Eight devices, so that arrays are sharded; no
# optimization by LLVM, because tests compile more than they compute and this
# saves 40 % of it. XLA_FLAGS=--xla_backend_optimization_level=3 restores it.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    '--xla_backend_optimization_level=0',
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
  )
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')

import jax
import pytest

from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.runtime.devices import host_memory
from tests.support.folders import PARITY, REAL_CLIPS
from tests.support.small_run import small_config

jax.config.update('jax_numpy_rank_promotion', 'raise')
# Tracing makes many objects: looking for garbage so often, among all modules,
# takes a quarter of its time.
gc.freeze()
gc.set_threshold(20_000, 20, 20)

# Folders and files whose tests take a minute or more.
LONG = {
  'commands',
  'models',
  'test_colabs.py',
  'test_compatibility.py',
  'test_configs.py',
  'test_multihost.py',
  'test_package.py',
  'training',
}


def pytest_configure(config):
  """Lets all processes of a session share the programs that they compile."""
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  folder = tempfile.mkdtemp(prefix='compiled_for_tests_')
  config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
  os.environ['JAX_COMPILATION_CACHE_DIR'] = folder  # Of workers and commands.
  jax.config.update('jax_compilation_cache_dir', folder)


def pytest_collection_modifyitems(items):
  """Starts the longest files first: one begun last keeps one process busy."""
  items.sort(key=lambda item: not LONG & set(item.path.parts))


@pytest.fixture(scope='session', autouse=True)
def return_freed_memory():
  """Runs in this process do not keep the peak memory of full-size models."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(host_memory, 'keep_freed_memory', lambda: False)
    yield


@pytest.fixture(scope='session')
def real_clips() -> pathlib.Path:
  """A folder of real videos; tests that need it are skipped without it."""
  if not REAL_CLIPS.is_dir():
    pytest.skip(f'No real clips in {REAL_CLIPS}; set FLATTEN_JAX_CLIPS.')
  return REAL_CLIPS


@pytest.fixture(scope='session')
def parity_folder() -> pathlib.Path:
  """Outputs of the official models; tests that need them skip without."""
  if not PARITY.is_dir():
    pytest.skip(f'No parity files in {PARITY}; set FLATTEN_JAX_PARITY.')
  return PARITY


@pytest.fixture(scope='session')
def clips_root(tmp_path_factory):
  """The embedded data set with few videos, in class folders."""
  root = tmp_path_factory.mktemp('clips') / 'motion_clips'
  return motion_clips.make(root, train=24, val=12, test=12, progress=False)


@pytest.fixture
def config(clips_root):
  """Three epochs of three steps, with the tiny model on four frames."""
  return small_config(clips_root)


@pytest.fixture(scope='session')
def shared_config(clips_root):
  """The same for fixtures that outlive a test; must not be changed."""
  return small_config(clips_root)
