# SPDX-License-Identifier: Apache-2.0
"""Tabulates how every video of a folder is read, one line each.

  python -m benchmarks.decode_table FOLDER [--probe=probe.tsv] [--out=FILE]

`--probe` is a table of another program's full decodes (columns file,
decoded_frames, rotation); the last column compares the two, and the exit code
is 1 if they differ. "sampled from" is the number of frames that a clip of 16
frames was sampled from, "ms" the time of reading it.
"""

import argparse
import csv
import pathlib
import sys
import time

import av
import numpy as np

from benchmarks import measure
from flatten_jax.inputs.parts import read_clip
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import probe
from flatten_jax.inputs.video.reader import Reader

COLUMNS = ('file', 'frames', 'shown as', 'rotation', 'fps', 'codec')
COLUMNS += ('what happened', 'sampled from', 'ms', 'agrees')


def describe(file: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
  """Returns one line of the table."""
  row = dict.fromkeys(COLUMNS, '')
  row['file'] = file.relative_to(folder).as_posix()
  try:
    info = probe(file)
  except VideoError as error:
    return row | {'frames': '0', 'what happened': f'error: {error.cause}'}
  lengths = []

  def sample(part):
    lengths.append(part.length)
    return np.linspace(0, part.length - 1, 16).astype(int)

  happened = f'decoding stopped: {info.damage}' if info.damage else 'ok'
  begin = time.perf_counter()
  try:
    read_clip(Reader({}), Record('', file, 0), 224, sample)
  except VideoError as error:
    happened += f', reading a clip failed: {error.cause}'
  took = time.perf_counter() - begin
  return row | {
    'frames': str(info.num_frames),
    'shown as': f'{info.width}x{info.height}',
    'rotation': str(info.rotation),
    'fps': f'{info.fps:.2f}',
    'codec': info.codec,
    'what happened': happened,
    'sampled from': ', then '.join(map(str, lengths)),
    'ms': f'{took * 1e3:.0f}',
  }


def compare(row: dict[str, str], other: dict[str, str]) -> str:
  """Returns 'yes', or the number of frames or the rotation that differs."""
  frames = other['decoded_frames'] or '0'
  if row['frames'] != frames:
    return f'no: {frames} frames'
  if frames != '0' and row['rotation'] != other['rotation']:
    return f'no: rotation {other["rotation"]}'
  return 'yes'


def main(argv: list[str] | None = None) -> int:
  """Tabulates every file; returns 1 if `--probe` differs."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--probe', type=pathlib.Path)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  others = {}
  if args.probe:
    with open(args.probe, newline='') as file:
      others = {r['file']: r for r in csv.DictReader(file, delimiter='\t')}
    files = [args.folder / name for name in others]
  else:
    files = measure.videos_below(args.folder)
  lines = ['| ' + ' | '.join(COLUMNS) + ' |', '|---' * len(COLUMNS) + '|']
  differ = 0
  for file in files:
    row = describe(file, args.folder)
    if args.probe:
      row['agrees'] = compare(row, others[row['file']])
      differ += row['agrees'] != 'yes'
    lines.append('| ' + ' | '.join(row[name] for name in COLUMNS) + ' |')
    print(lines[-1], flush=True)
  summary = f'{len(files)} files'
  if args.probe:
    summary += f'; {differ} differ from the other program, which reads the '
    summary += 'first video stream'
  if args.out:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
      '# Reading of every file\n\n'
      f'{summary}. {measure.machine()}, PyAV {av.__version__}.\n\n'
      + '\n'.join(lines)
      + '\n'
    )
  print(f'{summary}.')
  return min(differ, 1)


if __name__ == '__main__':
  sys.exit(main())
