# SPDX-License-Identifier: Apache-2.0
"""Memory of a container."""

import pytest

from flatten_jax.profiling import memory

MIB = 2**20


@pytest.mark.parametrize(
  ('stat', 'free'),
  [
    # Of 60 MiB in use, 50 are files.
    ('anon 10485760\ninactive_file 41943040\nactive_file 10485760\n', 90),
    ('anon 10485760\n', 40),
    ('wrong', 40),
    (None, 40),
  ],
)
def test_files_in_the_cache_of_a_container_are_free(
  stat, free, tmp_path, monkeypatch
):
  (tmp_path / 'memory.max').write_text(f'{100 * MIB}\n')
  (tmp_path / 'memory.current').write_text(f'{60 * MIB}\n')
  if stat is not None:
    (tmp_path / 'memory.stat').write_text(stat)
  monkeypatch.setattr(memory, '_CGROUP', tmp_path)
  assert memory.host_free_bytes() == free * MIB
