# SPDX-License-Identifier: Apache-2.0
"""Measures clips of re-encoded videos, smaller and with shorter GOPs.

  python -m benchmarks.reencoding FOLDER --out=benchmarks/results

About `--count` of the readable videos of FOLDER are re-encoded, and clips are
read before and after: 16 frames at stride 4 from random places, short side 224,
in one thread.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import measure
from benchmarks.prepared_set import readable
from data.media import Treatment
from flatten_jax.inputs.video.read import Video

TREATMENTS = {
  'as they are': None,
  'short side 320, GOP 12': Treatment('first', 320),
  'short side 256, GOP 12': Treatment('first', 256),
  'short side 256, GOP 50': Treatment('first', 256, gop=50),
}


def main(argv=None):
  """Encodes a sample of videos in several ways and reads each of them."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--count', type=int, default=12)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  originals = readable(args.folder, least=100_000)
  originals = originals[:: max(1, len(originals) // args.count)]
  text = '\n'.join(encoding(originals)) + '\n'
  print(text)
  if args.out:
    (args.out / 'reencoding.md').write_text(text)


def encoding(originals):
  """Makes the table, in CPU time, which other processes do not change."""
  lines = [
    '# Re-encoded videos',
    '',
    f'{measure.machine()}, others at work. {len(originals)} '
    'real videos; a clip is 16 frames at stride 4 from a random place, short '
    'side 224, one thread. `python -m benchmarks.reencoding`',
    '',
    '| | MB in all | to encode a video, CPU s | to read a clip, CPU ms |',
    '|---|---|---|---|',
  ]
  with tempfile.TemporaryDirectory() as folder:
    for number, (what, treatment) in enumerate(TREATMENTS.items()):
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
  """Returns mean CPU seconds of a clip, at the same places every time."""
  rng = np.random.default_rng(0)
  places = rng.random((3, len(paths)))
  start = time.process_time()
  for row in places:
    for path, place in zip(paths, row, strict=True):
      with Video(path, 224) as video:
        count = video.num_frames
        first = int(place * max(count - 61, 0))
        video.read(np.minimum(first + 4 * np.arange(16), count - 1))
  return (time.process_time() - start) / places.size


if __name__ == '__main__':
  main()
