# SPDX-License-Identifier: Apache-2.0
"""Memory of the devices, which for a CPU is the machine's."""

import os
import pathlib

import jax

SHARE = 0.8  # Of the host's free memory, so that no program is killed.
_CGROUP = pathlib.Path('/sys/fs/cgroup')


def free_bytes() -> int | None:
  """Returns the memory that a device may still use; None if unknown.

  On a CPU it is a share of the host's free memory, of each simulated device.
  """
  if jax.default_backend() == 'cpu':
    free = host_free_bytes()
    return free and int(SHARE * free / jax.local_device_count())
  stats = jax.local_devices()[0].memory_stats() or {}
  return stats.get('bytes_limit')  # A plan counts the state that is there.


def host_free_bytes() -> int | None:
  """Returns what programs can take without swapping, None if unknown.

  A container may have less than the machine.
  """
  found = []
  try:
    lines = pathlib.Path('/proc/meminfo').read_text().splitlines()
    found += [int(x.split()[1]) * 1024 for x in lines if 'MemAvailable' in x]
    limit = (_CGROUP / 'memory.max').read_text().strip()
    if limit != 'max':
      used = int((_CGROUP / 'memory.current').read_text()) - _file_cache()
      found.append(max(int(limit) - used, 0))
  except (OSError, ValueError):
    pass
  if found:
    return min(found)
  try:  # Not Linux: half of what is built in.
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2
  except (OSError, ValueError):
    return None


def _file_cache() -> int:
  """Returns the bytes of files that a container gives up before it is full."""
  try:
    lines = (_CGROUP / 'memory.stat').read_text().splitlines()
    found = dict(line.split() for line in lines)
    return int(found['active_file']) + int(found['inactive_file'])
  except (OSError, ValueError, KeyError):
    return 0


def peak_bytes() -> int | None:
  """Returns the most that a device has had in use; None if it does not tell."""
  found = [
    (device.memory_stats() or {}).get('peak_bytes_in_use')
    for device in jax.local_devices()
  ]
  return max((count for count in found if count), default=None)


def gib(count: float) -> str:
  """Formats a number of bytes."""
  size = count / 2**30
  return f'{size:.2f} GiB' if size >= 1 else f'{1024 * size:.1f} MiB'
