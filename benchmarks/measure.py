# SPDX-License-Identifier: Apache-2.0
"""Shared by the benchmarks: the machine's name, memory, calls in turn."""

from collections.abc import Callable, Hashable, Mapping
import datetime
import os
import pathlib
import platform
import resource
import statistics
import time
from typing import TypeVar

Name = TypeVar('Name', bound=Hashable)


def machine() -> str:
  """Returns date, processor, cores, Python and commit, for a page's head."""
  # Here: it imports jax, which scripts that measure their memory do without.
  from flatten_jax.runtime.workdir import run_log

  return (
    f'{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, Python '
    f'{platform.python_version()}, commit {run_log.commit() or "unknown"}'
  )


def processor() -> str:
  """Returns the name of the processor, or else of the architecture."""
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
    return text.split('model name')[1].split(':')[1].split('\n')[0].strip()
  except (OSError, IndexError):
    return platform.processor() or platform.machine()


def videos_below(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files below a folder that are named like videos, in order.

  Raises:
    SystemExit: there are none.
  """
  # Here: scripts that measure their memory begin with as little as they can.
  from flatten_jax.inputs.sources.rows import has_video_suffix

  found = [p for p in sorted(folder.rglob('*')) if has_video_suffix(p.name)]
  if not found:
    raise SystemExit(f'{folder} has no videos, at any depth')
  return found


def resident() -> float:
  """Returns the resident memory of this process in MiB (Linux)."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * resource.getpagesize() / 2**20


def in_turn(
  calls: Mapping[Name, Callable[[], object]],
  rounds: int,
  clocks: tuple[Callable[[], float], ...] = (time.perf_counter,),
) -> dict[Name, tuple[float, ...]]:
  """Makes all calls in every round, so that a busy machine slows all of them.

  A round before these compiles and fills caches.

  Returns:
    The median seconds of each call by each clock.
  """
  times: dict[Name, list[list[float]]] = {name: [] for name in calls}
  for number in range(rounds + 1):
    for name, call in calls.items():
      before = [clock() for clock in clocks]
      call()
      passed = [clock() - b for clock, b in zip(clocks, before, strict=True)]
      if number:
        times[name].append(passed)
  return {
    name: tuple(map(statistics.median, zip(*found, strict=True)))
    for name, found in times.items()
  }
