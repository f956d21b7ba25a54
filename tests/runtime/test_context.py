# SPDX-License-Identifier: Apache-2.0
"""The places that a run opens."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from flatten_jax.inputs import views
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs

HOME = pathlib.Path.home()
TWO_FOLDERS = """
import jax
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs

for n, cache in enumerate(('auto', '/dev/null/x', 'caf\\udce9', 'given[1]')):
  context.prepare_devices(configs.complete({'compile_cache': cache}))
  jax.jit(lambda x, n=n: x + n)(1)
"""


@pytest.mark.parametrize(
  ('given', 'variable', 'enabled', 'folder'),
  [
    ('auto', None, True, HOME / '.cache/flatten_jax/xla'),
    ('~/.cache/flatten_jax/xla', '/own', True, None),  # The default before.
    ('auto', '/own', True, None),
    ('auto', None, False, None),
    ('', None, True, None),
    ('~/x', '/own', True, HOME / 'x'),
  ],
)
def test_a_given_folder_of_programs_wins_then_the_variable_then_the_default(
  given, variable, enabled, folder, monkeypatch
):
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  names = 'jax_compilation_cache_dir', 'jax_enable_compilation_cache'
  before = {name: getattr(jax.config, name) for name in names}
  config = configs.complete({'compile_cache': given})
  try:
    jax.config.update('jax_compilation_cache_dir', variable)
    jax.config.update('jax_enable_compilation_cache', enabled)
    assert context.compile_cache(config) == folder
  finally:
    for name, value in before.items():
      jax.config.update(name, value)


def test_programs_are_kept_in_these_folders_and_trouble_is_a_warning(
  tmp_path, pytestconfig
):
  done = subprocess.run(
    [sys.executable, '-c', TWO_FOLDERS],
    cwd=tmp_path,
    env=os.environ
    | {
      'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'own'),
      'PYTHONPATH': str(pytestconfig.rootpath),
    },
    capture_output=True,
    text=True,
    check=True,
  )
  kept = [p.parent.name for p in tmp_path.glob('*/jit_*-cache')]
  assert sorted(kept) == ['given[1]', 'own', 'own', 'own']
  assert done.stderr.count('No cache of compiled programs in') == 2


@pytest.mark.parametrize(
  ('keys', 'crops', 'said'),
  [
    ({}, 10, ''),
    ({'data.flip': False}, 3, 'Tests take 3 crops, not the 10 of tsn_bnin'),
    ({'data.flip_pairs': (('left', 'right'),)}, 3, 'and data.flip_pairs says'),
    ({'data.flip_except': ('left',), 'data.num_crops': 1}, 1, ''),
    ({'data.flip': False, 'data.num_crops': 10}, 10, 'Half of the 10 test'),
    ({'data.flip': False, 'data.views': '224x25x10x1'}, 10, 'num_crops=3'),
  ],
)
def test_ten_crops_are_not_the_default_where_sides_tell_classes(
  keys, crops, said, tmp_path
):
  given = {'model.name': 'tsn_bninception', 'compile_cache': ''} | keys
  with context.open_run(configs.complete(given), tmp_path) as run:
    filled = run.config
  assert views.of_config(filled.data).crops == crops
  log = (tmp_path / 'log.txt').read_text()
  assert said in log
  assert ('mirrored' in log) == bool(said)
  if not keys:  # A run from before keeps the views that it has.
    filled.data.flip = False
    again = configs.fill_and_check(configs.complete(given), saved=filled)
    assert again.data.num_crops == 10
    assert configs.fill_and_check(filled).data.num_crops == 10
