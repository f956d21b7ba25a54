# SPDX-License-Identifier: Apache-2.0
"""The places that a run opens."""

import os
import subprocess
import sys

import pytest

COMPILE = """
from configs import common
from flatten_jax.runtime import config as configs, context
import jax
config = configs.complete(
  {'compile_cache': CACHE} if CACHE is not None else common.base()
)
context.prepare_devices(config)
context.prepare_devices(config)
print(jax.jit(lambda x: x + 1)(1))
"""


@pytest.mark.parametrize(
  ('config', 'variables', 'folder'),
  [
    (None, {}, 'home/.cache/flatten_jax/xla'),
    ('~/.cache/flatten_jax/xla', {}, 'home/.cache/flatten_jax/xla'),  # Before.
    (None, {'XDG_CACHE_HOME': 'xdg'}, 'xdg/flatten_jax/xla'),
    (None, {'JAX_COMPILATION_CACHE_DIR': 'own'}, 'own'),
    ('', {'JAX_COMPILATION_CACHE_DIR': 'own'}, 'own'),
    ('a[1]', {'JAX_COMPILATION_CACHE_DIR': 'own'}, 'a[1]'),
    (None, {'JAX_ENABLE_COMPILATION_CACHE': '0'}, None),
    ('a', {'JAX_ENABLE_COMPILATION_CACHE': '0'}, None),
    ('', {}, None),
    ('/dev/null/x', {}, None),
    (os.fsdecode(b'\xe9'), {}, None),
  ],
)
def test_compiled_programs_are_kept_where_the_user_says(
  config, variables, folder, tmp_path, pytestconfig
):
  variables = {
    key: value if value == '0' else str(tmp_path / value)
    for key, value in variables.items()
  }
  kept = {
    k: v for k, v in os.environ.items() if not k.startswith(('JAX_', 'X'))
  }
  done = subprocess.run(
    [sys.executable, '-c', f'CACHE = {config!r}\n{COMPILE}'],
    cwd=tmp_path,
    env=kept
    | variables
    | {
      'HOME': str(tmp_path / 'home'),
      'JAX_PLATFORMS': 'cpu',
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
      'PYTHONPATH': str(pytestconfig.rootpath),
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout == '2\n', done.stderr
  found = {p.parent for p in tmp_path.rglob('*') if p.name.startswith('jit_')}
  assert found == ({tmp_path / folder} if folder else set())
