# SPDX-License-Identifier: Apache-2.0
"""Timers of the devices and of the input, each alone."""

from collections.abc import Callable, Iterator
from concurrent import futures
import contextlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.training.throughput import end_of

SECONDS = 60.0  # For each measurement; slow machines run fewer steps.
LEAST = 5  # Steps of each measurement.


def affordable(num_steps: int, seconds: float) -> int:
  """Returns the number of steps of `seconds` that fit the time limit."""
  if jax.process_count() > 1:
    return num_steps  # All processes must run the same number.
  return int(np.clip(SECONDS / max(seconds, 1e-9), LEAST, num_steps))


def durations(
  name: str, call: Callable[[], Any], num_steps: int
) -> dict[str, float]:
  """Times successive calls from end to end: median and percentiles in ms.

  The host stays two calls ahead, as in training, so that the device is timed.
  """
  jax.block_until_ready(call())
  start = time.monotonic()
  jax.block_until_ready(call())
  count = affordable(num_steps, time.monotonic() - start)
  with futures.ThreadPoolExecutor(1) as watch:
    ends = []
    for _ in range(count + 1):
      ends.append(watch.submit(end_of, call()))
      if len(ends) > 2:
        ends[-3].result()
    times = 1e3 * np.diff([end.result() for end in ends])
  low, median, high = np.percentile(times, [10, 50, 90]).tolist()
  return {
    f'{name}_ms': median,
    f'{name}_ms_p10': low,
    f'{name}_ms_p90': high,
    f'{name}_count': count,
  }


def input_alone(
  batches: Iterator[pipeline.Batch], num_steps: int
) -> dict[str, float]:
  """Measures clips per second of the input of all processes, devices idle."""
  for _ in range(2):
    next(batches)  # They were prefetched.
  start, clips = time.monotonic(), 0
  for count in range(num_steps):
    clips += len(next(batches)['label'])
    if count + 1 >= LEAST and time.monotonic() - start > SECONDS / 2:
      break
  clips *= jax.process_count()
  return {'input_clips_per_second': clips / (time.monotonic() - start)}


def host_cost(train: Videos, config: ml_collections.ConfigDict) -> float:
  """Returns the CPU time of a clip in ms, read by one thread.

  With `data.frame_cache_gib` it is the time of the first epoch.
  """
  repeated = config.data.repeated_aug
  with pipeline.train_batches(
    train, config.data, seed=config.seed, batch_size=8 // repeated, threads=1
  ) as batches:
    next(batches)
    start, begun, clips = time.process_time(), time.monotonic(), 0
    while clips < 64 and time.monotonic() - begun < SECONDS / 4:
      clips += len(next(batches)['label'])
    return 1e3 * (time.process_time() - start) / clips


@contextlib.contextmanager
def cache_hits() -> Iterator[list[str]]:
  """Yields a list that gets an item for each program found in the cache."""
  found = []

  def listen(event: str, **_) -> None:
    if event.endswith('compilation_cache/cache_hits'):
      found.append(event)

  jax.monitoring.register_event_listener(listen)
  yield found
  jax.monitoring.unregister_event_listener(listen)
