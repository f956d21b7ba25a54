# SPDX-License-Identifier: Apache-2.0
"""The table of every file of a folder."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


def make_table(folder, *options):
  command = [sys.executable, 'benchmarks/decode_table.py', str(folder)]
  return subprocess.run(
    [*command, *options],
    cwd=ROOT,
    env={'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )


def test_the_table_has_a_line_for_each_file(class_folder, tmp_path):
  (tmp_path / 'broken.mp4').write_text('no video')
  (tmp_path / 'good.mp4').symlink_to(class_folder / 'wave' / 'wave 2.mp4')
  probe = tmp_path / 'probe.tsv'
  probe.write_text(
    'file\tdecoded_frames\trotation\ngood.mp4\t12\t0\nbroken.mp4\t\t\n'
  )
  out = tmp_path / 'table.md'
  run = make_table(tmp_path, f'--probe={probe}', f'--out={out}')
  assert run.returncode == 0, run.stderr
  assert '| good.mp4 | 12 | 32x24 | 0 | 25.00 | h264 | ok | 12 |' in run.stdout
  assert '| broken.mp4 | 0 |' in run.stdout and 'no video' in run.stdout
  assert '2 files; 0 differ' in out.read_text()
  probe.write_text('file\tdecoded_frames\trotation\ngood.mp4\t13\t0\n')
  assert make_table(tmp_path, f'--probe={probe}').returncode == 1
