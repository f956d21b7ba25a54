# SPDX-License-Identifier: Apache-2.0
"""The process keeps what it frees, so a step maps no memory anew."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource
from flatten_jax import host_memory
done = host_memory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
faults = []
for _ in range(3):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  block = libc.malloc(200_000_000)
  libc.memset(block, 1, 200_000_000)
  libc.free(block)
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(done, *faults)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc only')
def test_a_block_of_the_same_size_costs_page_faults_only_once():
  # In a process of its own: the setting is for good.
  out = subprocess.check_output([sys.executable, '-c', COUNT_FAULTS], text=True)
  done, first, *later = out.split()
  if done == 'False':
    pytest.skip('Not the GNU C library.')
  assert int(first) > 50  # Tens of thousands, but for huge pages.
  assert all(int(faults) < 50 for faults in later)
