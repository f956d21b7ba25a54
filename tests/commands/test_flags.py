# SPDX-License-Identifier: Apache-2.0
"""Flags and modes of the command line, and messages about wrong ones."""

import re

from absl import flags
import pytest

from flatten_jax import command_line
from tests.support import readme


def test_the_readme_shows_every_mode():
  lines = readme.commands(['README.md'])
  modes = {re.search(r'--mode=(\w+)', line) for line in lines}
  named = {match[1] for match in modes if match}
  assert named | {'train'} == set(command_line.MODES)
  assert len(lines) >= 15


def test_every_command_is_in_a_group_that_runs():
  lines = [line for group in readme.GROUPS.values() for line in group]
  assert sorted(lines) == sorted(readme.commands())


def test_the_pages_give_no_flag_to_a_mode_that_ignores_it():
  for line in readme.commands():
    if 'main.py' not in line:
      continue
    given = set(re.findall(r' --(\w+)', line))
    mode = re.search(r'--mode=(\w+)', line)
    assert given <= {'mode', 'workdir'} | command_line.mode_flags(), line
    given &= command_line.mode_flags()
    command_line.check_flags(mode[1] if mode else 'train', given)


def test_every_flag_of_a_mode_exists():
  assert command_line.mode_flags() <= set(flags.FLAGS)


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
      ["'frame' is not an argument", 'frames=0'],
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
def test_a_wrong_command_is_refused_with_the_reason(
  arguments, words, server, tmp_path
):
  workdir = tmp_path / 'x'
  arguments = [a.replace('=x', f'={workdir}') for a in arguments]
  done = server.run(['main.py', *arguments])
  assert done.returncode != 0
  for word in words:
    assert word in done.stdout + done.stderr
  assert 'Traceback' not in done.stdout + done.stderr
  assert not workdir.exists()


@pytest.mark.parametrize('debug', [False, True])
def test_bad_data_is_one_message_unless_debug_is_set(debug, server, tmp_path):
  arguments = [
    f'--workdir={tmp_path}',
    '--config=configs/folder.py',
    f'--config.data.root={tmp_path}/absent',
    f'--debug={debug}',
  ]
  done = server.run(['main.py', *arguments])
  assert done.returncode == 1
  message = f'FileNotFoundError: data.root: there is no {tmp_path}/absent'
  assert done.stderr.strip().endswith(message)
  assert ('Traceback' in done.stderr) == debug
  if not debug:
    assert 'Traceback' in (tmp_path / 'log.txt').read_text()
