# SPDX-License-Identifier: Apache-2.0
r"""Every model of the paper on one machine with a GPU: what it reaches there.

  python -m benchmarks.gpu --videos=/videos
  python -m benchmarks.gpu --videos=/videos --only=uniformer_xxs --workers=15
  python -m benchmarks.gpu --small        # on a CPU: does this script work?

For each row of the paper's Table 1, at its size and batch, in bfloat16, on the
Kinetics recipe: steps/s, share of the device's peak, memory, what Flatten takes
of a step (normalising and laying out: below 1 %), how many clips/s the input
makes from --videos on this machine's cores, and whether training waits for it.
Each row is a `main.py --mode=profile` in a process of its own, so that one that
runs out of memory takes no other with it; it is tried again with its batch in
2, 4 and 8 parts (`config.grad_accum_steps`), which the table says.

Needs a GPU (or TPU) with its jax, two minutes a row, and a folder of videos in
class folders, at least some hundred, of the size that you will train on. Left
in benchmarks/results/: gpu.json, gpu.md; pages and traces of the rows in
--workdir.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = (
  'k400_uniformer_xxs.py:frames=16',
  'k400_uniformer_s.py:frames=16',
  'k400_uniformer_xxs.py:frames=9',
  'k400_uniformer_s.py:frames=9',
  'k400_swinv2_t.py',
  'k400_resnet101.py',
  'k400_uniformer3d_xxs.py:frames=16',
  'k400_uniformer3d_s.py:frames=16',
)
SMALL = {  # Seconds a row rather than hours, on a CPU.
  'model.name': 'uniformer_test',
  'data.num_frames': 4,
  'data.crop': 16,
  'data.short_side': 20,
  'batch_size': 4,
}
OUT_OF_MEMORY = ('RESOURCE_EXHAUSTED', 'out of memory', 'Out of memory')


def main():
  """Measures the rows one by one, and writes the report after each."""
  args = arguments()
  workdir = pathlib.Path(args.workdir or tempfile.mkdtemp(prefix='gpu_'))
  rows = [row for row in ROWS if args.only in row][: 2 if args.small else None]
  found = []
  for row in rows:
    found.append(measure(row, workdir / row.replace(':', '_'), args))
    print(line(found[-1]), flush=True)
    write(found, pathlib.Path(args.out))


def measure(row: str, workdir: pathlib.Path, args) -> dict[str, Any]:
  """Returns the results of a row in profile.json, or its error."""
  for parts in (1, 2, 4, 8):
    done = subprocess.run(
      command(row, workdir, parts, args),
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode == 0:
      found = json.loads((workdir / 'profile.json').read_text())
      return {'row': row} | found
    error = done.stderr.strip().splitlines()[-1:] or ['no message']
    if not any(words in done.stderr for words in OUT_OF_MEMORY):
      break
  return {'row': row, 'grad_accum_steps': parts, 'error': error[0]}


def command(row: str, workdir: pathlib.Path, parts: int, args) -> list[str]:
  """The profile of one row, as one could call it by hand."""
  values = {
    'model.dtype': 'bfloat16',
    'grad_accum_steps': parts,
    'data.workers': args.workers,
    'data.threads': args.threads,
  }
  if args.videos:
    values['data.root'] = args.videos
  else:
    values['data.motion_clips'] = 48
  if args.small:
    values |= SMALL
  return [
    sys.executable,
    'main.py',
    '--mode=profile',
    f'--config=configs/{row}',
    f'--workdir={workdir}',
    *(f'--config.{name}={value}' for name, value in values.items()),
  ]


COLUMNS = (
  'row', 'batch', 'steps/s', 'step ms', 'clips/s', 'TFLOP/s', 'of the peak',
  'Flatten', 'in use', 'input clips/s', 'waiting', 'compiled in',
)  # fmt: skip


def cells(found: dict[str, Any]) -> list[str]:
  """A row of the table."""
  f = found
  if 'error' in f:
    blank = [''] * (len(COLUMNS) - 3)
    return [f['row'], f'in {f["grad_accum_steps"]} parts', f['error'], *blank]
  count = f['grad_accum_steps']
  parts = f' in {count} parts' if count > 1 else ''
  peaks = [peak for peak in f['memory_peak'] if peak]
  return [
    f['row'],
    f'{f["clips_per_step"]}{parts}',
    f'{1e3 / f["step_ms"]:.2f}',
    f'{f["step_ms"]:.1f} ({f["step_ms_p10"]:.1f}-{f["step_ms_p90"]:.1f})',
    f'{f["step_clips_per_second"]:.0f}',
    f'{f["tflops"]:.3g}',
    f'{f["peak_percent"]:.1f} %' if f['peak_percent'] else 'unknown',
    f'{f["prepare_percent"]:.2f} % ({f["layout_percent"]:.2f} % the layout)',
    f'{max(peaks) / 2**30:.1f} GiB' if peaks else 'unknown',
    f'{f["input_clips_per_second"]:.0f}',
    f'{f["waiting_percent"]:.0f} %',
    f'{f["compile_seconds"]:.0f} s',
  ]


def line(found: dict[str, Any]) -> str:
  return '| ' + ' | '.join(cells(found)) + ' |'


def write(rows: list[dict[str, Any]], out: pathlib.Path) -> None:
  """All rows so far: a row that hangs loses none of those before."""
  first = next((row for row in rows if 'error' not in row), None)
  facts = 'Nothing could be measured.'
  if first:
    workers, threads = first['readers']
    facts = (
      f'{first["date"]}, {first["devices"]} x {first["device"]}, '
      f'{first["cores"]} cores, {workers} processes x {threads} threads that '
      f'read; jax {first["machine"]["libraries"]["jax"]}, commit '
      f'{first["machine"]["commit"]}.'
    )
  lines = [
    '# Every model on one machine',
    '',
    facts,
    'Made by `python -m benchmarks.gpu`, which explains the measurements.',
    'Step times are medians, with 10th and 90th percentile; Flatten is what',
    'normalizing and flattening take alone, as a share of a step.',
    '',
    '| ' + ' | '.join(COLUMNS) + ' |',
    '|---' * len(COLUMNS) + '|',
    *map(line, rows),
  ]
  out.mkdir(parents=True, exist_ok=True)
  (out / 'gpu.md').write_text('\n'.join(lines) + '\n')
  (out / 'gpu.json').write_text(json.dumps(rows, indent=2) + '\n')


def arguments():
  """Parses the command line."""
  cores = os.cpu_count() or 1
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--videos', default='', help='a folder of class folders')
  parser.add_argument('--only', default='', help='rows with this in the name')
  parser.add_argument('--workers', type=int, default=max(cores - 1, 1))
  parser.add_argument('--threads', type=int, default=1, help='of each worker')
  parser.add_argument('--workdir', default='')
  parser.add_argument('--out', default=str(ROOT / 'benchmarks' / 'results'))
  parser.add_argument(
    '--small', action='store_true', help='two rows, tiny; the embedded videos'
  )
  args = parser.parse_args()
  if not args.videos and not args.small:
    parser.error('Give --videos=FOLDER, or --small to try this script.')
  args.videos = args.videos and str(pathlib.Path(args.videos).resolve())
  return args


if __name__ == '__main__':
  main()
