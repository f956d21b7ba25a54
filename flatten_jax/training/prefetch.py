# SPDX-License-Identifier: Apache-2.0
"""Transfers the next batch to the devices while they compute."""

from collections.abc import Callable, Iterator
import contextlib

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

    If that fails, the next call of `next` raises, so that the current step is
    still logged and saved.
    """
    try:
      self._ahead = self._get()
    except Exception as error:
      self._failure = error

  def next(self) -> tuple[Batch, dict[str, jax.Array]]:
    """Returns the next batch, on the host and on the devices."""
    if self._failure:
      raise self._failure
    batch, self._ahead = self._ahead or self._get(), None
    return batch

  def _get(self) -> tuple[Batch, dict[str, jax.Array]]:
    with self._input_wait():
      batch = next(self._batches)
    return batch, self._to_devices(batch)
