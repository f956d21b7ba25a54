# SPDX-License-Identifier: Apache-2.0
r"""Measures the memory of a process that decodes thousands of videos.

  python -m benchmarks.decode_memory --clips=/videos

Files below the folder, sound or damaged, are read many times as training reads
them, with the time limit on, while resident memory is recorded.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
import ctypes
import pathlib
import resource
import time

import av
import numpy as np

from benchmarks import measure
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import FrameCountCorrected
from flatten_jax.inputs.video.reader import Reader

NUM_FRAMES, SHORT_SIDE = 8, 128


def held() -> float:
  """Returns resident MiB after the allocator has released free memory."""
  ctypes.CDLL('libc.so.6').malloc_trim(0)
  return measure.resident()


def random_frames(count: int) -> np.ndarray:
  """Draws frames at stride 2, as in training."""
  start = np.random.default_rng().integers(count)
  return np.minimum(start + 2 * np.arange(NUM_FRAMES), count - 1)


def main(argv: list[str] | None = None) -> None:
  """Prints the table, and writes it to `--out`."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--clips', type=pathlib.Path, required=True)
  parser.add_argument('--decodes', type=int, default=10_000)
  parser.add_argument('--threads', type=int, default=2)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  paths = measure.videos_below(args.clips)
  order = np.random.default_rng(0).integers(len(paths), size=args.decodes)
  reader, failed = Reader({'time_limit': 60.0}), 0

  def read(number: int) -> bool:
    try:
      with reader.open(paths[number], SHORT_SIDE) as video:
        try:
          video.read(random_frames(video.num_frames))
        except FrameCountCorrected:
          video.read(random_frames(video.num_frames))
    except VideoError:
      return False
    return True

  rows, done, start = (
    [(0, measure.resident(), held(), 0.0)],
    0,
    time.monotonic(),
  )
  with ThreadPoolExecutor(args.threads) as pool:
    for part in np.array_split(order, 20):
      failed += sum(not good for good in pool.map(read, part.tolist()))
      done += len(part)
      rows.append((done, measure.resident(), held(), time.monotonic() - start))
  text = describe(args, len(paths), failed, rows)
  print(text)
  if args.out:
    args.out.write_text(text)


def describe(args, num_paths: int, failed: int, rows: list) -> str:
  """Returns the page: setup, memory by number of decodes, slope."""
  counts, _, sizes, _ = np.array(rows).T
  # The first tenth fills caches; after it, memory must not grow.
  settled = counts >= 0.1 * args.decodes
  slope = np.polyfit(counts[settled], sizes[settled], 1)[0]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  lines = [
    '# Memory over many decodes',
    '',
    f'{args.decodes} clips of {NUM_FRAMES} frames, short side {SHORT_SIDE}, '
    f'drawn from {num_paths} files of every kind, damaged ones among them '
    f'({failed} reads ended in an error), in {args.threads} threads of one '
    f'process. {measure.machine()}, PyAV {av.__version__}.',
    '',
    '    python -m benchmarks.decode_memory --clips=/videos',
    '',
    '| decodes | resident MiB | without free memory | s |',
    '|--:|--:|--:|--:|',
    *(
      f'| {int(n)} | {size:.1f} | {used:.1f} | {s:.0f} |'
      for n, size, used, s in rows
    ),
    '',
    'At each line, glibc is asked to give back what it holds of free memory.',
    f'Peak {peak:.1f} MiB. Slope of what is in use, after the first tenth: '
    f'{1000 * slope:+.3f} MiB per 1000 decodes.',
    '',
  ]
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
