# SPDX-License-Identifier: Apache-2.0
"""The README's commands, run as they stand there but for their size."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from absl import flags
import pytest

from flatten_jax.inputs.synthetic import motion_clips
import main

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
# The same for modes that train more than once.
FEWER = {
  'cross_validate': {'--seeds': '1'},
  'ablate': {
    '--seeds': '1',
    '--variants': 'nested',
    '--config.data.num_frames': '16',
    '--config.data.crop': '8',
  },
}
# In this order: a later page uses what an earlier one left.
PAGES = ('README.md', *sorted(f'docs/{p.name}' for p in ROOT.glob('docs/*.md')))


def commands(pages=PAGES) -> list[str]:
  """Every `python ...` of the pages, continued lines joined, each once."""
  found = []
  for page in pages:
    text = (ROOT / page).read_text().replace('\\\n', ' ')
    lines = re.findall(
      r'^ {4}(python (?:main\.py|my_\w+\.py|-m data\.prepare) [-/\w].*)$',
      text,
      re.MULTILINE,
    )
    found += [re.sub(r'\s+', ' ', line).partition(' #')[0] for line in lines]
  return [line for line in dict.fromkeys(found) if not line.endswith('...')]


def test_the_readme_shows_every_mode():
  lines = commands(['README.md'])
  modes = {re.search(r'--mode=(\w+)', line) for line in lines}
  named = {match[1] for match in modes if match}
  assert named | {'train'} == set(main._MODES)
  assert len(lines) >= 15


def test_no_command_of_the_pages_has_a_flag_in_vain():
  for line in commands():
    if 'main.py' not in line:
      continue
    given = set(re.findall(r' --(\w+)', line))
    mode = re.search(r'--mode=(\w+)', line)
    assert given <= {'mode', 'workdir', *main.MODES_OF}, line
    main.check_flags(mode[1] if mode else 'train', given & set(main.MODES_OF))


def test_every_flag_is_for_modes_that_there_are():
  for name, modes in main.MODES_OF.items():
    assert name in flags.FLAGS and set(modes) <= set(main._MODES)


def snippets() -> dict[str, str]:
  """The pages' Python files, by the name that their first line gives."""
  text = '\n'.join((ROOT / page).read_text() for page in PAGES)
  blocks = re.findall(r'^```python\n# (\w+\.py)\n(.*?)^```', text, re.S | re.M)
  return dict(blocks)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Stands in for the videos, lists and workdirs that the README names."""
  folder = tmp_path_factory.mktemp('readme')
  videos = motion_clips.make(
    folder / 'embedded', train=24, val=12, test=12, progress=False
  )
  rows = ['path,label,fold']
  for number, path in enumerate(sorted((videos / 'train').rglob('*.mp4'))):
    rows.append(f'{path},{path.parent.name},{number % 2}')
  publish_as_kinetics(videos, folder / 'published')
  for name, text in snippets().items():
    (folder / name).write_text(text)
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


def publish_as_kinetics(videos: pathlib.Path, folder: pathlib.Path) -> None:
  """The same videos with the annotations and file names of Kinetics."""
  for split in ('train', 'val'):
    rows = ['label,youtube_id,time_start,time_end,split']
    for number, path in enumerate(sorted((videos / split).rglob('*.mp4'))):
      name = f'{split[:3]}-{number:07d}'
      rows.append(f'{path.parent.name},{name},10,20,{split}')
      target = folder / 'videos' / split / f'{name}_000010_000020.mp4'
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(path, target)
    (folder / 'annotations').mkdir(exist_ok=True)
    table = folder / 'annotations' / f'{split}.csv'
    table.write_text('\n'.join(rows) + '\n')


@pytest.mark.slow
def test_the_readmes_commands_run(files):
  """In their order, as later ones use what earlier ones left."""
  environment = os.environ | {'PYTHONPATH': str(files)}
  for line in commands():
    arguments = [stand_in(a, files) for a in shlex.split(line)[1:]]
    if '--config=' in line and '--mode=cost' not in line:
      arguments = smaller(arguments)
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=ROOT,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
  results = json.loads((files / 'quickstart' / 'results.json').read_text())
  assert results['test']['videos'] == 12


def smaller(arguments: list[str]) -> list[str]:
  """What the README leaves open, made small; how often it trains, in any case.

  The last of several equal flags counts.
  """
  given = {argument.partition('=')[0] for argument in arguments}
  modes = [a.partition('=')[2] for a in arguments if a.startswith('--mode=')]
  fewer = FEWER.get(modes[0], {}) if modes else {}
  small = {k: v for k, v in SMALL.items() if k not in given} | fewer
  return arguments + [f'{key}={value}' for key, value in small.items()]


def stand_in(argument: str, files: pathlib.Path) -> str:
  """An argument with the README's places replaced by ours."""
  argument = argument.replace('quickstart.py:', 'quickstart.py:clips=24,')
  if argument.endswith('quickstart.py'):
    argument += ':clips=24'
  for place, ours in {
    'my_list.py': f'{files}/my_list.py',
    'runs/': f'{files}/',
    '/ckpt/k400_uniformer_s': f'{files}/k400',
    '/lists/': f'{files}/',
    '/videos/clips.csv': f'{files}/clips.csv',
    '/videos': f'{files}/embedded',
    '/k400/': f'{files}/published/',
    '/prepared/ssv2': f'{files}/prepared/kinetics400',
    '/prepared/': f'{files}/prepared/',
  }.items():
    key, equals, value = argument.rpartition('=')
    if value.startswith(place):
      return f'{key}{equals}{ours}{value[len(place) :]}'
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
    (
      ['--workdir=x', '--config=configs/folder.py', '--views=3x4'],
      ['--views is for --mode=evaluate, evaluate_folds, predict; --mode=train'],
    ),
    (
      ['--workdir=x', '--mode=score', '--config=configs/folder.py'],
      ['--mode=score does not take it'],
    ),
    (
      ['--workdir=x', '--mode=predict', '--every=2'],
      ['--every is for --timeline'],
    ),
    (
      ['--workdir=x', '--mode=explain', '--video=a.mp4', '--videos=3'],
      ['give one of them'],
    ),
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
