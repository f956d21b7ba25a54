# SPDX-License-Identifier: Apache-2.0
"""Every script of benchmarks/ that is quick with tiny arguments, and its page.

decode_table.py and fuzz_decoding.py are in tests/inputs/video. What needs
PyTorch, a GPU or minutes is not run: convolutions.py, step_time.py, memory.py,
gpu.py, survival.py and the parts of gpu_round.py.
"""

import argparse
import importlib.util
import json
import math
import os
import re

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gpu_round, layer_forms, measure, scale
from tests.support.video_maker import write_video


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """A folder of two videos of 100 kB and more: noise."""
  folder = tmp_path_factory.mktemp('videos')
  for number in range(2):
    shape = 40, 48, 64, 3
    frames = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    write_video(folder / f'{number}.mp4', frames, options={'crf': '4'})
  return folder


@pytest.fixture
def load(monkeypatch):
  """Imports a script, which may change settings of the whole process."""
  monkeypatch.setenv('XLA_FLAGS', os.environ['XLA_FLAGS'])
  monkeypatch.setenv('OPENCV_FFMPEG_CAPTURE_OPTIONS', 'threads;1')
  threads = cv2.getNumThreads()
  yield lambda name: importlib.import_module(f'benchmarks.{name}')
  cv2.setNumThreads(threads)


def figures(text: str) -> dict[str, list[float]]:
  """Returns {first cell: the numbers after it} of each row of all tables."""
  found = {}
  for line in text.splitlines():
    name, *cells = (cell.strip() for cell in line.strip('|').split('|'))
    numbers = [float(c) for c in cells if re.fullmatch(r'-?\d+\.?\d*|nan', c)]
    if line.startswith('|') and numbers:
      found[name] = numbers
  return found


# Script -> arguments, the page, and how many numbers some of its rows have.
SCRIPTS = {
  'augmentation': (
    '--repeats=1 --frames=2 --height=24 --width=32 --crop=16 --batch_size=1 '
    '--out={out}',
    'augmentation.md',
    {'Rotate': 1, 'the whole recipe': 1, 'brightness': 2},
  ),
  'decode_memory': (
    '--clips={videos} --decodes=40 --out={out}/page.md',
    'page.md',
    {'0': 3, '40': 3},
  ),
  'flow': (
    '{videos} --size=32 --frames=9 --count=4 --videos=1 --rounds=1 --out={out}',
    'flow.md',
    {'OpenCV in a loop': 3, 'stacks, prepared': 3},
  ),
  'input_throughput': (
    '{videos} --files 0.mp4 1.mp4 --frames=4 --size=32 --repeats=2 --out={out}',
    'input_throughput.md',
    {'0.mp4': 5, '1.mp4': 5, 'relative to ours': 5},
  ),
  'prepared_set': (
    '{videos} --count=20 --reads=8 --out={out}',
    'prepared_set.md',
    {'copy the files': 6, 'prepare, 1 process, check: first': 7},
  ),
  'reencoding': (
    '{videos} --count=1 --out={out}',
    'reencoding.md',
    {'as they are': 2, 'short side 256, GOP 50': 3},
  ),
  'scaling': (
    '--devices= --sizes=uniformer_test:1 --side=32 --batch=1 --rounds=1 '
    '--output={out}/page.md',
    'page.md',
    {'uniformer_test': 8},
  ),
}


SLOW = ('prepared_set', 'scaling')  # They start programs, or compile a step.


@pytest.mark.parametrize(
  'name',
  [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SCRIPTS],
)
def test_a_script_makes_a_page_with_its_machine_and_figures(
  name, load, videos, tmp_path
):
  arguments, page, expected = SCRIPTS[name]
  given = [a.format(videos=videos, out=tmp_path) for a in arguments.split()]
  load(name).main(given)
  text = (tmp_path / page).read_text()
  assert measure.machine() in text
  rows = figures(text)
  assert all(math.isfinite(x) for row in rows.values() for x in row), text
  for row, count in expected.items():
    assert len(rows[row]) >= count, text


def test_a_stream_is_measured_until_the_minutes_are_over(load, tmp_path):
  out = tmp_path / 'stream.json'
  load('stream_memory').main(['--minutes=0', f'--out={out}'])
  found = json.loads(out.read_text())
  assert found['machine'] == measure.machine()
  (row,) = found['minutes']
  assert row['minute'] == 0 and row['answers'] == 1
  assert row['rss_mib'] > 0 and row['latency_ms_median'] > 0


def test_steps_are_made_for_as_many_devices_as_there_are(load):
  scaling = load('scaling')
  args = argparse.Namespace(side=32, batch=1)
  step = scaling.Step('uniformer_test', 1, args, devices=2, sharding='fsdp')
  assert len(step.arrays['clip'].sharding.device_set) == 2
  with pytest.raises(SystemExit, match=r'at most 8, .* got 16'):
    scaling.main(['--devices=16'])


@pytest.mark.parametrize(
  'name, arguments, error',
  [
    ('decode_memory', '--clips={}', 'has no videos'),
    ('decode_table', '{}', 'has no videos'),
    ('flow', '{}', 'has no videos'),
    ('flow', '{} --count=40', 'readable videos of more than 41 frames'),
    ('fuzz_decoding', '--clips={}', 'has no videos'),
    ('prepared_set', '{}', 'has no videos'),
    ('reencoding', '{}', 'videos of 100 kB or more'),
  ],
)
def test_folders_without_such_videos_are_refused(
  name, arguments, error, load, videos, tmp_path
):
  if name == 'reencoding':
    (tmp_path / 'small.mp4').touch()
  folder = videos if '--count' in arguments else tmp_path
  with pytest.raises(SystemExit, match=error):
    load(name).main(arguments.format(folder).split())


# --- What takes no time -------------------------------------------------------


def test_calls_take_turns_and_medians_leave_out_the_first_round():
  now, order = [0.0], []

  def call(name, seconds):
    order.append(name)
    now[0] += seconds.pop(0)

  a, b = [100.0, 3.0, 1.0, 2.0], [100.0, 5.0, 5.0, 9.0]
  calls = {'a': lambda: call('a', a), 'b': lambda: call('b', b)}
  clocks = (lambda: now[0], lambda: 2 * now[0])
  assert measure.in_turn(calls, 3, clocks) == {'a': (2, 4), 'b': (5, 10)}
  assert order == ['a', 'b'] * 4


def test_a_form_or_a_reference_that_fails_is_a_row():
  def failing(x):
    raise ValueError('not on this device')

  inputs, double = (jnp.ones(3),), lambda x: 2 * x
  forms = {'ours': double, 'plain': double, 'other': failing}
  ours, plain, other = layer_forms.compare(forms, inputs, 'float32', 1)
  assert ours['gap'] == plain['gap'] == 0 and ours['with gradient'] > 0
  assert other == {'form': 'other', 'error': 'not on this device'}
  forms = {'ours': double, 'plain': failing}
  reference, ours, plain = layer_forms.compare(forms, inputs, 'float32', 1)
  assert 'reference' in reference['form'] and reference['error']
  assert 'gap' not in ours and ours['forward'] > 0 and plain['error']


def test_the_tables_of_compiled_runs(load, tmp_path, capsys):
  step = {
    'model': 'uniformer_s',
    'sharding': 'replicated',
    'device_kind': 'NVIDIA H100 80GB HBM3',
    'dtype': 'bfloat16',
    'devices': 8,
    'mesh': {'data': 8},
    'clips_per_chip': 16,
    'fits': True,
    'recomputed': 0,
    'memory_bytes': 2**34,
    'gmacs_per_chip': 5600.0,
    'our_gmacs_per_chip': 5000.0,
    'collectives': [
      {'kind': 'all-reduce', 'dtype': 'f32', 'messages': 33, 'bytes': 85e6}
    ],
  }
  compiled = {'machine': 'h100:1x1x8', 'train': step}
  (tmp_path / 'compile.json').write_text(json.dumps(compiled))
  scale.main([str(tmp_path)])
  memory, roofline = capsys.readouterr().out.split('\n\n')[:2]
  assert '33 all-reduce f32 85.0' in memory and '16' in memory
  # 85 MB that are sent and received, at 450 GB/s.
  assert figures(roofline)['uniformer_s'][1] == 0.4


def test_a_part_that_takes_too_long_may_end_its_own_processes(tmp_path):
  script = (
    'import signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended its own"))\n'
    'print("ready", flush=True)\n'
    'time.sleep(60)'
  )
  args = argparse.Namespace(out=tmp_path, packages='')
  ended = gpu_round.run('part', 2.0, ['-c', script], args)
  assert ended == 'stopped after 2 s'
  assert (tmp_path / 'part.log').read_text() == 'ready\nended its own\n'


def test_the_parts_of_a_round_are_commands_that_exist(tmp_path):
  args = argparse.Namespace(out=tmp_path, small=False, videos=tmp_path)
  for _, (first, name, *_) in gpu_round.parts(args).values():
    assert first == 'main.py' or importlib.util.find_spec(name), name


def test_parts_for_which_there_is_no_time_are_left_out(tmp_path, monkeypatch):
  monkeypatch.setattr(gpu_round, 'SECONDS', 0)
  gpu_round.main([f'--out={tmp_path}', '--only=kill,train'])
  summary = (tmp_path / 'summary.md').read_text()
  assert '| kill | 0 | left out: the time is up |' in summary
  assert '| train | 0 | left out: the time is up |' in summary
