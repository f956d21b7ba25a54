# SPDX-License-Identifier: Apache-2.0
"""Keeps the devices fed: the next batch travels while they compute."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import os

import jax

from flatten_jax.inputs.pipeline import Batch


class DevicePrefetcher:
  """Transfers one batch ahead of the step that uses it.

  Call `start_next` after a step was dispatched and before anything waits for
  it, so that the transfer overlaps with the computation. `next` returns the
  batch that `start_next` got, so batch k belongs to step k + 1 in any case.

  Args:
    batches: on the host.
    to_devices: starts the transfer of a batch, without waiting for it.
    input_wait: context entered while a batch is made, see
      `ThroughputMeter.input_wait`.
  """

  def __init__(
    self,
    batches: Iterator[Batch],
    to_devices: Callable[[Batch], dict[str, jax.Array]],
    input_wait: Callable[[], contextlib.AbstractContextManager],
  ):
    self._batches = batches
    self._to_devices = to_devices
    self._input_wait = input_wait
    self._ahead: tuple[Batch, dict[str, jax.Array]] | None = None
    self._failure: Exception | None = None

  def start_next(self) -> None:
    """Gets the next batch and starts its transfer.

    Where that fails, the next `next` raises: the step that is being computed
    ends as it would have, with its log line and its checkpoint.
    """
    try:
      self._ahead = self._get()
    except Exception as error:
      self._failure = error

  def next(self) -> tuple[Batch, dict[str, jax.Array]]:
    """The next batch, on the host and on the devices."""
    if self._failure:
      raise self._failure
    taken, self._ahead = self._ahead or self._get(), None
    return taken

  def _get(self) -> tuple[Batch, dict[str, jax.Array]]:
    with self._input_wait():
      batch = next(self._batches)
    return batch, self._to_devices(batch)


def advice(data: Mapping) -> str:
  """What to change in `config.data` where the devices wait for videos."""
  cores, threads = available_cores(), max(data['threads'], 1)
  readers = threads * max(data['workers'], 1)
  ways = []
  if readers < cores:
    ways.append(
      f'read in more processes (--config.data.workers={cores - 1})'
      if cores > 4
      else f'read in more threads (--config.data.threads={cores})'
    )
  ways.append('encode the videos smaller (data.prepare --short_side=320)')
  if not data['frame_cache_gib']:
    ways.append(
      'cache small decoded frames (--config.data.frame_cache_gib, with '
      'data.short_side)'
    )
  return (
    f'{readers} threads read, on {cores} cores. To wait less: '
    f'{"; ".join(ways)}.'
  )


def available_cores() -> int:
  """How many this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # Not Linux.
    return os.cpu_count() or 1
