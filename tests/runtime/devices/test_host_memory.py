# SPDX-License-Identifier: Apache-2.0
"""A process keeps freed memory, so that steps cause no new page faults."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource
from flatten_jax.runtime.devices import host_memory
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
def test_only_the_first_allocation_of_a_size_causes_page_faults():
  # In its own process, since the setting cannot be undone.
  out = subprocess.check_output([sys.executable, '-c', COUNT_FAULTS], text=True)
  done, first, *later = out.split()
  if done == 'False':
    pytest.skip('Not the GNU C library.')
  assert int(first) > 50  # Tens of thousands, but for huge pages.
  assert all(int(faults) < 50 for faults in later)
