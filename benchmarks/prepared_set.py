# SPDX-License-Identifier: Apache-2.0
"""Measures making and reading a prepared set, compared to plain files.

  python -m benchmarks.prepared_set FOLDER --out=benchmarks/results

The readable videos of FOLDER are copied, under new names, until there are
`--count`. The copies are prepared, in sets of increasing size, each by the
command in its own process; the kernel reports its peak memory. Then videos are
read in random order from the files and from the set.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import measure
from data.media import Treatment
from flatten_jax.inputs.sources import prepared
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import Video

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CLASSES = 10


def main(argv=None):
  """Prepares a set from copies of videos, reads both, and compares."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--count', type=int, default=3000)
  parser.add_argument('--reads', type=int, default=400)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  originals = readable(args.folder)
  with tempfile.TemporaryDirectory(prefix='prepared_set_') as scratch:
    scratch = pathlib.Path(scratch)
    lines = [*conditions(args, originals), '']
    lines += making(originals, args.count, scratch)
    lines += ['', *reading(scratch, args.reads)]
  text = '\n'.join(lines) + '\n'
  print(text)
  if args.out:
    (args.out / 'prepared_set.md').write_text(text)


def readable(folder, least=20_000):
  """Returns videos of `least` bytes or more whose first frame is readable.

  Raises:
    SystemExit: there is none.
  """
  found = []
  for path in measure.videos_below(folder):
    if path.stat().st_size < least:
      continue
    try:
      Treatment()(str(path))
    except VideoError:
      continue
    found.append(path)
  if not found:
    raise SystemExit(
      f'{folder} must have readable videos of {least / 1e3:.0f} kB or more, to '
      'measure more than the opening of files; there is none.'
    )
  return found


def conditions(args, originals):
  """Returns the head of the report: date, machine and videos."""
  size = sum(path.stat().st_size for path in originals) / len(originals)
  load = os.getloadavg()[0]
  return [
    '# A prepared set compared to plain files',
    '',
    f'{measure.machine()}; load at the start {load:.1f}, shared machine. Files '
    'were in the page cache: this is the cost of the software, not of a disk.',
    '',
    f'{args.count} videos, copies of {len(originals)} real ones of '
    f'{size / 1e3:.0f} kB on average. `python -m benchmarks.prepared_set`',
  ]


# --- Making -------------------------------------------------------------------


def making(originals, count, scratch):
  """Measures times and peak memory of copying and of preparing."""
  rows = [('copy the files', *copy(originals, count, scratch / 'files'), None)]
  for videos in (count // 9, count // 3, count):
    size = link_some(scratch / 'files', scratch / 'some', videos)
    runs = [('first', 1)]
    if videos == count:
      runs = [('none', 1), ('first', 2), ('first', 1)]
    for check, processes in runs:
      shutil.rmtree(scratch / 'set', ignore_errors=True)
      cost = prepare(scratch / 'some', scratch / 'set', check, processes)
      many = 'es' if processes > 1 else ''
      what = f'prepare, {processes} process{many}, check: {check}'
      rows.append((what, videos, size, *cost))
    shutil.rmtree(scratch / 'some')
  table = [
    '## Making it',
    '',
    '| | videos | MB | seconds | CPU seconds | videos/s | MB/s | peak, MiB |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for what, videos, size, seconds, used, memory in rows:
    table.append(
      f'| {what} | {videos} | {size / 1e6:.0f} | {seconds:.1f} | {used:.1f} | '
      f'{videos / seconds:.0f} | {size / 1e6 / seconds:.0f} | '
      f'{"" if memory is None else f"{memory:.0f}"} |'
    )
  return [
    *table,
    '',
    'Seconds include starting Python and TFDS. "first" decodes the first frame '
    'of every video. Peak is the resident memory of the largest process. Wall '
    'time is that of a shared machine; CPU time measures the work.',
  ]


def copy(originals, count, folder):
  """Copies `count` videos. -> count, bytes, seconds, CPU seconds."""
  start, used, size = time.perf_counter(), time.process_time(), 0
  for i in range(count):
    source = originals[i % len(originals)]
    target = folder / f'class{i % CLASSES}' / f'{i:05d}{source.suffix}'
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    size += source.stat().st_size
  used = time.process_time() - used
  return count, size, time.perf_counter() - start, used


def link_some(files, folder, count):
  """Links the first `count` videos into a folder, and returns their bytes."""
  size = 0
  for path in sorted(files.rglob('*.*'))[:count]:
    link = folder / path.relative_to(files)
    link.parent.mkdir(parents=True, exist_ok=True)
    os.link(path, link)
    size += path.stat().st_size
  return size


def prepare(files, out, check, processes):
  """Runs the command. -> seconds, CPU seconds and peak memory in MiB."""
  command = [sys.executable, '-m', 'data.prepare', 'folder']
  command += [f'--videos={files}', f'--out={out}', '--shard_mib=64']
  command += [f'--check={check}', f'--processes={processes}']
  start = time.perf_counter()
  with open(os.devnull, 'w') as null:
    process = subprocess.Popen(
      command, cwd=REPOSITORY, stdout=null, stderr=null
    )
    _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    raise RuntimeError(f'{command} ended with {process.returncode}')
  used = usage.ru_utime + usage.ru_stime
  return time.perf_counter() - start, used, usage.ru_maxrss / 1024


# --- Reading ------------------------------------------------------------------


def reading(scratch, reads):
  """Measures random access to files and records: bytes alone, and clips."""
  start = time.perf_counter()
  settings = {'class_names': '', 'split_dir': '', 'fold': -1, 'holdout': 0.2}
  settings |= {'val_holdout': 0.0, 'group': ''}
  splits, _ = prepared.open_rows(str(scratch / 'set'), settings)
  opening = time.perf_counter() - start
  rows = [row for split in splits.values() for row in split]
  sample = random.Random(0).sample(rows, min(reads, len(rows)))
  places = {
    'files': [scratch / 'files' / row.id for row in sample],
    'set': [row.path for row in sample],
  }
  places['set'][0].read()  # Opens the set.
  few = {name: some[: reads // 4] for name, some in places.items()}
  sizes, clips = best_of_two(places, read_bytes), best_of_two(few, read_clip)
  cells = [
    f'{1e3 * seconds:.2f} ({size / 1e6 / seconds:.0f})'
    for seconds, size in sizes.values()
  ]
  times = [f'{1e3 * seconds:.1f}' for seconds, _ in clips.values()]
  return [
    '## Reading it at random',
    '',
    f'Opening the set of {len(rows)} videos took {opening:.2f} s, import of '
    'TFDS included.',
    '',
    '| one thread, CPU time | files | prepared set |',
    '|---|---|---|',
    f'| the bytes of a video, ms (MB/s) | {" | ".join(cells)} |',
    '| a clip of 16 frames at stride 4, short side 224, ms | '
    f'{" | ".join(times)} |',
  ]


def best_of_two(places, use):
  """Returns {name: (CPU seconds, bytes)} per place; names take turns."""
  best = dict.fromkeys(places, (float('inf'), 0))
  for _ in range(2):
    for name, some in places.items():
      start = time.process_time()
      size = sum(use(place) for place in some) / len(some)
      seconds = (time.process_time() - start) / len(some)
      best[name] = min(best[name], (seconds, size))
  return best


def read_bytes(place):
  """Returns the number of bytes read."""
  data = place.read() if hasattr(place, 'read') else place.read_bytes()
  return len(data)


def read_clip(place):
  """Reads 16 frames at stride 4."""
  with Video(place, 224) as video:
    video.read(np.minimum(np.arange(16) * 4, video.num_frames - 1))
  return 0


if __name__ == '__main__':
  main()
