# SPDX-License-Identifier: Apache-2.0
"""Times what devices do and what the input does, each by itself."""

from collections.abc import Callable, Iterator
from concurrent import futures
import contextlib
import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.training.throughput import end_of

SECONDS = 60.0  # For each part: slow machines make fewer steps.
LEAST = 5  # Of anything that is timed.


def durations(call: Callable[[], Any], num_steps: int) -> list[float]:
  """Seconds from the end of a call to that of the next, [num_steps].

  The host stays two calls ahead, as in training: what is timed is the device.
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
    return np.diff([end.result() for end in ends]).tolist()


def affordable(num_steps: int, seconds: float) -> int:
  """How many steps of so many seconds there is time for."""
  if jax.process_count() > 1:
    return num_steps  # All processes have to make equally many.
  return int(np.clip(SECONDS / max(seconds, 1e-9), LEAST, num_steps))


def summary(name: str, times: list[float]) -> dict[str, float]:
  """Median, and the 10th and 90th percentile, in ms."""
  low, median, high = 1e3 * np.percentile(times, [10, 50, 90])
  return {
    f'{name}_ms': float(median),
    f'{name}_ms_p10': float(low),
    f'{name}_ms_p90': float(high),
    f'{name}_count': len(times),
  }


def input_alone(
  batches: Iterator[pipeline.Batch], num_steps: int
) -> dict[str, float]:
  """Clips per second of the input, while devices rest.

  That of this process, times their number.
  """
  for _ in range(2):
    next(batches)  # What was made ahead.
  start, clips = time.monotonic(), 0
  for count in range(num_steps):
    clips += len(next(batches)['label'])
    if count + 1 >= LEAST and time.monotonic() - start > SECONDS / 2:
      break
  clips *= jax.process_count()
  return {'input_clips_per_second': clips / (time.monotonic() - start)}


def host_cost(train: Videos, config: ml_collections.ConfigDict) -> float:
  """Processor time of a clip in ms: read by one thread, nothing else going on.

  Where `data.frame_cache_gib` keeps frames, that of the first epoch.
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
  """Collects a word for each program that comes from the compilation cache."""
  found = []

  def listen(event: str, **_) -> None:
    if event.endswith('compilation_cache/cache_hits'):
      found.append(event)

  jax.monitoring.register_event_listener(listen)
  yield found
  jax.monitoring.unregister_event_listener(listen)


@contextlib.contextmanager
def tracing(folder: pathlib.Path) -> Iterator[None]:
  """Writes a trace; of Python only what is annotated, or it would be huge."""
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  with jax.profiler.trace(
    folder, create_perfetto_trace=True, profiler_options=options
  ):
    yield
