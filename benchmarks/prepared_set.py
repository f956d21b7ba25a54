# SPDX-License-Identifier: Apache-2.0
"""What a prepared set costs to make and saves to read; beside plain files.

  python benchmarks/prepared_set.py FOLDER --out=benchmarks/results

The readable videos of FOLDER are copied, under new names, until there are
`--count`; that is the plain copy. Then they are prepared, in sets of growing
size, each by the command itself in a process of its own, whose peak memory is
the kernel's word for it. Then videos are read in random order from the files
and from the set. At last a dozen videos of FOLDER are encoded anew.
"""

import argparse
import datetime
import os
import pathlib
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from data.media import Treatment, Unreadable
from flatten_jax.inputs import decoding, prepared
from flatten_jax.inputs.lists import has_video_suffix

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CLASSES = 10


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--count', type=int, default=3000)
  parser.add_argument('--reads', type=int, default=400)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args()
  originals = readable(args.folder)
  with tempfile.TemporaryDirectory(prefix='prepared_set_') as scratch:
    scratch = pathlib.Path(scratch)
    lines = [*conditions(args, originals), '']
    lines += making(originals, args.count, scratch)
    lines += ['', *reading(scratch, args.reads)]
  lines += ['', *encoding(originals[:: len(originals) // 12 + 1])]
  text = '\n'.join(lines) + '\n'
  print(text)
  if args.out:
    (args.out / 'prepared_set.md').write_text(text)


def readable(folder):
  """Videos whose first frame can be decoded, and not too large."""
  found = []
  for path in sorted(folder.rglob('*')):
    if not has_video_suffix(path.name) or path.stat().st_size < 20_000:
      continue
    try:
      Treatment()(str(path))
    except Unreadable:
      continue
    found.append(path)
  return found


def conditions(args, originals):
  size = sum(path.stat().st_size for path in originals) / len(originals)
  when = datetime.datetime.now().astimezone().strftime('%Y-%m-%d')
  load = os.getloadavg()[0]
  return [
    '# A prepared set beside plain files',
    '',
    f'{when}, {platform.machine()}, {os.cpu_count()} cores, Python '
    f'{platform.python_version()}; load at the start {load:.1f}, others at '
    'work. Files were in the page cache: this is the cost of the software, '
    'not of a disk.',
    '',
    f'{args.count} videos, copies of {len(originals)} real ones of '
    f'{size / 1e3:.0f} kB on average. `python benchmarks/prepared_set.py`',
  ]


# --- Making -------------------------------------------------------------------


def making(originals, count, scratch):
  """Times and peak memory of copying and of preparing."""
  start, used = time.perf_counter(), time.process_time()
  size = 0
  for i in range(count):
    source = originals[i % len(originals)]
    target = (
      scratch / 'files' / f'class{i % CLASSES}' / f'{i:05d}{source.suffix}'
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    size += source.stat().st_size
  seconds, used = time.perf_counter() - start, time.process_time() - used
  rows = [('copy the files', count, size, seconds, used, None)]
  for videos in (count // 9, count // 3, count):
    files = scratch / 'some'
    for path in sorted((scratch / 'files').rglob('*.*'))[:videos]:
      link = files / path.relative_to(scratch / 'files')
      link.parent.mkdir(parents=True, exist_ok=True)
      os.link(path, link)
    size = sum(path.stat().st_size for path in files.rglob('*.*'))
    runs = [('first', 1)]
    if videos == count:
      runs = [('none', 1), ('first', 2), ('first', 1)]
    for check, processes in runs:
      shutil.rmtree(scratch / 'set', ignore_errors=True)
      cost = prepare(files, scratch / 'set', check, processes)
      what = (
        f'prepare, {processes} process{"es" * (processes > 1)}, check: {check}'
      )
      rows.append((what, videos, size, *cost))
    shutil.rmtree(files)
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
    'of every video. Peak is the resident memory of the one process that does '
    'it all; with two, of the largest. Seconds are those of a machine that '
    'others used; CPU seconds say what the work is.',
  ]


def prepare(files, out, check, processes):
  """Seconds, CPU seconds and peak memory in MiB of the command."""
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
  """Random access to files and to records: bytes alone, and clips."""
  start = time.perf_counter()
  rows, _ = prepared.open_rows(
    str(scratch / 'set'),
    {'class_names': '', 'fold': -1, 'folds': 4, 'holdout': 0.2},
  )
  opening = time.perf_counter() - start
  rows = [row for split in rows.values() for row in split]
  sample = random.Random(0).sample(rows, min(reads, len(rows)))
  readers = {
    'files': [scratch / 'files' / row.id for row in sample],
    'set': [row.path for row in sample],
  }
  readers['set'][0].read()  # Opens the set.
  times = {}
  for _ in range(2):  # By turns; the better of two.
    for name, places in readers.items():
      for what, use in (('bytes', read_bytes), ('clips', read_clip)):
        places = places if what == 'bytes' else places[: reads // 4]
        start = time.perf_counter()
        total = sum(use(place) for place in places)
        seconds = time.perf_counter() - start
        old = times.get((what, name), (np.inf, 0))[0]
        times[what, name] = min(old, seconds / len(places)), total / len(places)
  lines = [
    '## Reading it at random',
    '',
    f'Opening the set of {len(rows)} videos took {opening:.2f} s, import of '
    'TFDS included.',
    '',
    '| one thread | files | prepared set |',
    '|---|---|---|',
  ]
  milliseconds = {key: 1e3 * value[0] for key, value in times.items()}
  rate = {key: value[1] / 1e6 / value[0] for key, value in times.items()}
  lines.append(
    '| the bytes of a video, ms (MB/s) | '
    + ' | '.join(
      f'{milliseconds["bytes", n]:.2f} ({rate["bytes", n]:.0f})'
      for n in readers
    )
    + ' |'
  )
  lines.append(
    '| a clip of 16 frames at stride 4, short side 224, ms | '
    + ' | '.join(f'{milliseconds["clips", n]:.1f}' for n in readers)
    + ' |'
  )
  return lines


def read_bytes(place):
  """Number of bytes read."""
  data = place.read() if hasattr(place, 'read') else place.read_bytes()
  return len(data)


def read_clip(place):
  """Reads 16 frames, `stride` apart where there are so many."""

  def choose(count, fps):
    return np.minimum(np.arange(16) * 4, count - 1)

  decoding.read_clip(place, choose, 224)
  return 0


# --- Encoding anew ------------------------------------------------------------


def encoding(originals):
  """What a smaller size and a shorter GOP buy on the videos themselves."""
  rows = [
    ('as they are', None),
    ('short side 320, GOP 12', Treatment('first', 320)),
  ]
  lines = [
    '## Encoded anew',
    '',
    f'{len(originals)} of the real videos; a clip is 16 frames at stride 4 '
    'from a random place, short side 224, one thread.',
    '',
    '| | MB in all | to encode a video, s | to read a clip, CPU ms |',
    '|---|---|---|---|',
  ]
  with tempfile.TemporaryDirectory() as folder:
    for number, (what, treatment) in enumerate(rows):
      paths, start = originals, time.process_time()
      if treatment:
        paths = []
        for i, path in enumerate(originals):
          data, suffix = treatment(str(path))
          paths.append(pathlib.Path(folder, f'{number}_{i}{suffix}'))
          paths[-1].write_bytes(data)
      seconds = (time.process_time() - start) / len(originals)
      size = sum(path.stat().st_size for path in paths) / 1e6
      cost = 1e3 * min(clip_seconds(paths) for _ in range(2))
      spent = f'{seconds:.1f}' if treatment else ''
      lines.append(f'| {what} | {size:.1f} | {spent} | {cost:.0f} |')
  return lines


def clip_seconds(paths):
  """CPU seconds for a clip, on average over places that are always the same."""
  rng = np.random.default_rng(0)
  places = rng.random((3, len(paths)))
  start = time.process_time()
  for row in places:
    for path, place in zip(paths, row, strict=True):
      decoding.read_clip(
        path,
        lambda count, fps, place=place: np.minimum(
          int(place * max(count - 61, 0)) + 4 * np.arange(16), count - 1
        ),
        224,
      )
  return (time.process_time() - start) / places.size


if __name__ == '__main__':
  main()
