# SPDX-License-Identifier: Apache-2.0
"""The README's commands, run as they stand there but for their size."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from flatten_jax.inputs import motion_clips

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What makes a command of hours a command of seconds.
SMALL = {
  '--config.model.name': 'uniformer_test',
  '--config.model.pretrained': '',
  '--config.data.num_frames': '4',
  '--config.data.crop': '16',
  '--config.data.short_side': '20',
  '--config.batch_size': '8',
  '--config.epochs': '1',
  '--config.warmup_epochs': '0.5',
}


def commands() -> list[str]:
  """Every `python main.py ...` of the README, continued lines joined."""
  text = (ROOT / 'README.md').read_text().replace('\\\n', ' ')
  lines = re.findall(r'^ {4}(python main\.py .*)$', text, re.MULTILINE)
  return [re.sub(r'\s+', ' ', line) for line in lines]


def test_the_readme_shows_every_mode():
  modes = {re.search(r'--mode=(\w+)', line) for line in commands()}
  named = {match[1] for match in modes if match}
  assert named == {'evaluate', 'score', 'inspect'}
  assert len(commands()) >= 8


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Stands in for the videos, lists and workdirs that the README names."""
  folder = tmp_path_factory.mktemp('readme')
  videos = motion_clips.make(
    folder / 'embedded', train=24, val=12, test=12, progress=False
  )
  rows = ['path,label,fold']
  for number, path in enumerate(sorted((videos / 'train').rglob('*.mp4'))):
    rows.append(f'{path},{path.parent.name},{number % 4}')
  lists = {
    'clips.csv': rows,
    # Two clips of each class, in a row: one for each list.
    'train.csv': rows[:1] + rows[1::2],
    'test.csv': rows[:1] + rows[2::2],
  }
  for name, lines in lists.items():
    text = '\n'.join(line.rsplit(',', 1)[0] for line in lines) + '\n'
    if name == 'clips.csv':
      text = '\n'.join(lines) + '\n'
    (folder / name).write_text(text)
  return folder


@pytest.mark.slow
def test_the_readmes_commands_run(files):
  """In their order, as later ones use what earlier ones left."""
  for line in commands():
    arguments = shlex.split(line)[1:]
    trains = '--mode' not in line or 'inspect' in line
    given = {argument.split('=')[0] for argument in arguments}
    if trains:
      arguments += [f'{k}={v}' for k, v in SMALL.items() if k not in given]
    arguments = [stand_in(argument, files) for argument in arguments]
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
  results = json.loads((files / 'quickstart' / 'results.json').read_text())
  assert results['test']['videos'] == 12


def stand_in(argument: str, files: pathlib.Path) -> str:
  """An argument with the README's places replaced by ours."""
  if argument.startswith('--config=configs/quickstart.py'):
    return '--config=configs/quickstart.py:clips=24'
  for place, ours in {
    'runs/': f'{files}/',
    '/ckpt': f'{files}/ckpt',
    '/lists/': f'{files}/',
    '/videos/clips.csv': f'{files}/clips.csv',
    '/videos': f'{files}/embedded',
    '/data/kinetics400': f'{files}/embedded',
  }.items():
    key, _, value = argument.partition('=')
    if value.startswith(place):
      return f'{key}={ours}{value[len(place) :]}'
  return argument


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    ([], ['--workdir']),
    (['--workdir=x'], ['--mode=train needs --config']),
    (['--workdir=x', '--mode=fly'], ['train', 'evaluate', 'inspect']),
    (['--workdir=x', '--config=configs/nope.py'], ['nope.py']),
    (
      ['--workdir=x', '--config=configs/folder.py', '--config.epoch=3'],
      ['epoch', 'epochs'],
    ),
    (
      ['--workdir=x', '--config=configs/folder.py:frame=3'],
      ["'frame' is no argument", 'frames=0'],
    ),
    (['--workdir=x', 'extra'], ['extra']),
  ],
)
def test_a_wrong_command_says_what_is_wrong(arguments, words, tmp_path):
  workdir = tmp_path / 'x'
  arguments = [a.replace('=x', f'={workdir}') for a in arguments]
  done = subprocess.run(
    [sys.executable, 'main.py', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode != 0
  for word in words:
    assert word in done.stdout + done.stderr
  assert 'Traceback' not in done.stdout + done.stderr
  assert not workdir.exists()


@pytest.mark.parametrize('debug', [False, True])
def test_bad_data_is_one_message_unless_more_is_asked_for(debug, tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      'main.py',
      f'--workdir={tmp_path}',
      '--config=configs/folder.py',
      f'--config.data.root={tmp_path}/absent',
      f'--debug={debug}',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  message = f'FileNotFoundError: data.root: there is no {tmp_path}/absent'
  assert done.stderr.strip().endswith(message)
  assert ('Traceback' in done.stderr) == debug
  if not debug:
    assert 'Traceback' in (tmp_path / 'log.txt').read_text()
