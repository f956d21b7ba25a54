# SPDX-License-Identifier: Apache-2.0
"""Flags and modes of the command line, and messages about wrong ones."""

import pathlib
import re
import signal
import time
import types

from absl import flags
import pytest

from flatten_jax.command_line import arguments, modes, run
from tests.support import readme


def test_the_readme_shows_every_mode():
  lines = readme.commands(['README.md'])
  named = {readme.mode_of(line) for line in lines if 'main.py' in line}
  assert named == set(modes.MODES)
  assert len(lines) >= 15


def test_every_command_is_in_a_group_that_runs():
  tests = pathlib.Path(__file__).parent.glob('test_readme_*.py')
  text = ''.join(file.read_text() for file in tests)
  run = re.findall(r"run_readme\('(\w+)'\)", text)
  assert sorted(run) == sorted(readme.GROUPS)
  assert {readme.group(line) for line in readme.commands()} == {*run}
  lines = [line for group in readme.GROUPS.values() for line in group]
  left_out = {*readme.commands()} - {*lines}
  assert {*map(readme.meaning, left_out)} <= {*map(readme.meaning, lines)}


def test_the_pages_give_no_flag_to_a_mode_that_ignores_it():
  for line in readme.commands():
    if 'main.py --' not in line:  # Short ones are run as they are.
      continue
    given = set(re.findall(r' --(\w+)', line))
    mode = re.search(r'--mode=(\w+)', line)
    assert given <= {'mode', 'workdir'} | modes.mode_flags(), line
    given &= {'workdir', *modes.mode_flags()}
    modes.check_flags(mode[1] if mode else 'train', given)


def test_every_flag_of_a_mode_exists():
  assert modes.mode_flags() <= set(flags.FLAGS)


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (
      [],
      [
        'train needs videos or a config: train VIDEOS, or --mode=train --config'
      ],
    ),
    (['--workdir=x'], ['has no run, whose config could be used. A new one']),
    (['trian', '--config=folder'], ["no mode 'trian'. Did you mean 'train'?"]),
    (['train', 'folder', '--lr=-1'], ['config.lr must be a number, from 0']),
    (['train', 'folder', '--epochs=0'], ['-1 chooses it from the number of']),
    (['train', 'folder', '--time_crop=1'], ['config.data.time_crop must be']),
    (['train', '/nowhere'], ["'/nowhere' is not a folder or a list of videos"]),
    (['train', 'quickstar'], ["Did you mean 'quickstart'? `train --help`"]),
    (['predict'], ['predict needs a run: predict RUN VIDEO ..., or --mode=']),
    (['predict', 'main.py'], ['main.py is not a run, which comes first: pred']),
    (
      ['predict', 'http://x/a.mp4'],
      ['http://x/a.mp4 is not a run, which comes'],
    ),
    (
      ['predict', 'HTTP://x/a.mp4'],
      ['HTTP://x/a.mp4 is not a run, which comes'],
    ),
    (
      ['predict', 'uniformer_nano/quickstart', 'a.mp4', '--workdir=x'],
      ['predict takes one run; got uniformer_nano/quickstart and --workdir='],
    ),
    (
      ['predict', 'uniformer_nano/quickstart', 'a.mp4', '--num_frames=5'],
      ['predict takes no keys of a config; got --config.data.num_frames.'],
    ),
    (
      ['evaluate', 'uniformer_nano/no', '--data.root=/videos'],
      ['There are no weights uniformer_nano/no.'],
    ),
    (
      ['--mode=config', '--workdir=hf://user/name'],
      ['config takes no model of the Hub; got hf://user/name. A training'],
    ),
    (
      ['export', 'nowhere', '--out=gs://bucket/x'],
      ['--out must be a folder; got gs://bucket/x.'],
    ),
    (
      ['predict', 'nowhere', 'a.mp4', '--out=hf://user/name'],
      ['--out must be a folder; got hf://user/name.'],
    ),
    (
      ['push', 'nowhere', 'file:///tmp/y'],
      ['--to must be a folder or a repository, hf://user/name; got file:///'],
    ),
    (['score', 'file:///tmp/y'], ['file:///tmp/y cannot be opened: expected']),
    (['inspect', 'file:///tmp/y'], ['Write a folder without file://.']),
    (
      ['evaluate', 'file:///tmp/y', '--batch_size=2'],
      ['file:///tmp/y cannot be opened: expected a folder'],
    ),
    (
      ['lr_range', 'folder', '--steps=5'],
      ["--steps must be a whole number, 10 or more; got '5'."],
    ),
    (
      ['stream', 'nowhere', '-', '--reconnects=-1'],
      ["--reconnects must be a whole number, 0 or more; got '-1'."],
    ),
    (
      ['demo', '--port=99999'],
      ["--port must be a whole number, from 1 to 65535; got '99999'."],
    ),
    (
      ['evaluate', 'nowhere', '--data.root=/x'],
      ['nowhere is not a run, which'],
    ),
    (['report', 'x', 'y'], ['report takes one run; got x y.']),
    (['data_sets', 'x'], ['data_sets stands alone; got x.']),
    (['models', 'resnet', 'x'], ['models takes one pattern; got resnet x.']),
    (['models', 'resnet5'], ["no model 'resnet5'. Did you mean 'resnet50'?"]),
    (['train', 'folder', '--epoch=3'], ['Did you mean --config.epochs?']),
    (['inspect'], ['inspect needs videos or a config: inspect VIDEOS, or']),
    (['--workdir=x', '--mode=fly'], ['train', 'evaluate', 'inspect']),
    (['--workdir=x', '--mode=eval'], ["Did you mean 'evaluate'?"]),
    (['--workdir=x', '--mode=Train'], ["Did you mean 'train'?"]),
    (['--workdir=x', '--config=configs/nope.py'], ['nope.py', 'quickstart']),
    (
      ['--workdir=x', '--config=configs/quickstat.py'],
      ["no config 'configs/quickstat.py'. Did you mean 'quickstart'?"],
    ),
    (['--workdir=x', '--config=README.md'], ['README.md is not a config']),
    (['--workdir=x', '--config=main.py'], ['main.py is not a config']),
    (['--workdir=x', '--config='], ['--config has no value']),
    (['--config=folder', '--workdir'], ['--workdir has no value']),
    (['--config', '--workdir=x'], ['--config has no value']),
    (
      ['evaluate', 'uniformer_nano/quickstart', '--views', '--split=val'],
      ['--views has no value. Write --views=VALUE'],
    ),
    (['train', 'folder', '--root', '--epochs=3'], ['--root has no value']),
    (['train', 'folder', '--noepochs'], ['Did you mean --config.epochs?']),
    (['config=folder'], ['Write --config=folder']),
    (
      ['--workdir=x', 'tests'],
      ["'tests' belongs to no flag. Write --flag=value"],
    ),
    (['--config.lr=-1', '--workdir=x', '--config=folder'], ['config.lr must']),
    (['--workdir=x', '--config=folder', '--epochs=4'], ['--config.epochs?']),
    (['--config=folder', '--batch-size=8'], ['--config.batch_size?']),
    (['--config=folder', '--model=x'], ['--config.model.name?']),
    (['--config=folder', '--wrkdir=x'], ['Did you mean --workdir?']),
    (['--config=folder', '--config.num_frames=9'], ['data.num_frames?']),
    (['--config=folder', '--config.lr.max=9'], ['There is no config.lr.max']),
    (
      ['--config=folder', '--workdir=x', '--config.model.drop_pat=1'],
      ["has no option drop_pat. Did you mean 'drop_path_rate'?"],
    ),
    (
      ['--config=folder', '--workdir=x', '--config.batch_size=1e2'],
      ["config.batch_size must be a whole number, 1 or more; got '1e2'; the"],
    ),
    (
      ['--config=folder', '--workdir=x', '--config.lr=-1'],
      ['config.lr must be a number, from 0 to 10; got -1.0; AdamW takes'],
    ),
    (
      ['--mode=evaluate', '--workdir=x', '--config.data.fold=0'],
      ['x is not a run, which evaluate needs.'],
    ),
    (['predict', 'x', '--epochs=3'], ['x is not a run, which predict needs.']),
    (
      ['--mode=train', '--workdir=x', '--config.epochs=3'],
      ['--config.epochs changes a value of a config: give --config=FILE'],
    ),
    (
      ['--mode=predict', '--workdir=x', '--video=a', '--every=1s'],
      ["--every must be a number; got '1s'."],
    ),
    (
      ['--mode=ablate', '--config=folder', '--workdir=x', '--seeds=0'],
      ["--seeds must be a whole number, 1 or more; got '0'."],
    ),
    (
      ['--workdir=x', '--config=configs/folder.py', '--config.epoch=3'],
      ['no config.epoch. Did you mean config.epochs?'],
    ),
    (
      ['--workdir=x', '--config=configs/folder.py:frame=3'],
      ["'frame' is not an argument", 'frames=0'],
    ),
    (['--workdir=x', 'extra'], ['extra']),
    (
      [
        *('--workdir=x', '--config=folder', '--config.clip_model=one_frame'),
        '--config.data.num_frames=9',
      ],
      ['--config.clip_model=one_frame takes 1 frame of a video; got'],
    ),
    (['--workdir=x', '--mode=fuse'], ['--mode=fuse needs --runs=WORKDIR,']),
    (
      ['--workdir=x', '--mode=fuse', '--runs=nowhere,there'],
      ['There is no run nowhere'],
    ),
    (
      ['--workdir=x', '--config=configs/folder.py', '--views=3x4'],
      ['--views is for --mode=evaluate, evaluate_folds, predict, stream; --m'],
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
      ['stream', 'rtsp://me:secret@camera/1'],
      [
        'rtsp://camera/1 is not a run, which comes first: stream RUN rtsp://cam'
      ],
    ),
    (['--workdir=x', '--mode=stream'], ['--mode=stream needs one --video=URL']),
    (
      ['--workdir=x', '--mode=stream', '--video=-', '--annotate'],
      ['--annotate is for --mode=predict; --mode=stream does not take it'],
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
  text = done.stdout + done.stderr
  for word in words:
    assert word in text
  assert len(text.strip().splitlines()) == 1
  assert 'Error' not in text
  assert not workdir.exists()


def test_the_demo_opens_models_of_the_hub(server):
  pytest.importorskip('gradio', reason='the extra [demo] is not installed')
  done = server.run(['main.py', 'demo', 'hf://user'])
  wanted = 'A model on the Hugging Face Hub is hf://user/name, or hf://'
  assert done.stderr.strip().startswith(wanted)


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
  message = f'data.root: there is no {tmp_path}/absent'
  assert done.stderr.strip().endswith(message)
  assert ('Traceback' in done.stderr) == debug
  if not debug:
    assert 'Traceback' in (tmp_path / 'log.txt').read_text()


def test_help_is_short_and_succeeds(server):
  one = (
    ['--mode=predict', '--help'],
    ['--mode', 'predict', '-h'],
    ['predict', '--help'],
  )
  for words in (['--help'], ['-h'], *one):
    done = server.run(['main.py', *words])
    assert done.returncode == 0
    assert ('--window' in done.stdout) == (len(words) > 1)
    assert ('cross_validate' in done.stdout) == (len(words) == 1)
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
  ('word', 'meant'),
  [
    ('\u2013mode=score', '--mode=score'),  # An en dash of a web page.
    ('\u2014workdir=x', '--workdir=x'),
    ('-workdir=x', '--workdir=x'),
    ('--workdir=\u201cx y\u201d', '--workdir=x y'),
    ("--workdir='x'", '--workdir=x'),
    ("--dataset='a' or 'b'", "--dataset='a' or 'b'"),
    ("--config.loggers='csv', 'a:B'", "--config.loggers=('csv', 'a:B')"),
    ("--config.loggers=('csv','a:B')", "--config.loggers=('csv','a:B')"),
    ('--config.clip_norm=1', '--config.grad_clip_norm=1'),
    ('--config.mix=clips', '--config.mix_stage=before_flatten'),
    ('--noconfig.data.flip', '--noconfig.data.flip'),
    ('--config.loggers=csv,a:B', "--config.loggers=('csv', 'a:B')"),
    ('--views=', '--views='),
    ('-', '-'),
    ('--debug', '--debug'),
  ],
)
def test_words_are_read_as_they_are_meant(word, meant):
  assert arguments.read(['main.py', word]) == ['main.py', meant]


def test_a_value_may_be_the_next_word():
  words = ['--mode', 'score', '-workdir', 'x', '--config.lr', '1']
  meant = ['--mode=score', '--workdir=x', '--config.lr=1']
  assert arguments.read(['', *words])[1:] == meant
  assert arguments.read(['', '--config.lr', '-1'])[1:] == ['--config.lr=-1']
  assert arguments.read(['', '--config.data.flip', 'no'])[2] == 'no'


@pytest.mark.parametrize(
  ('words', 'meant'),
  [
    (['--timeline', 'False'], ['--timeline=False']),
    (['--timeline', 'a.mp4'], ['--timeline', 'a.mp4']),
    (['--flip', 'true'], ['--config.data.flip=true']),
    (['--flip'], ['--config.data.flip']),
    (['--noflip'], ['--noconfig.data.flip']),
    (['--notimeline'], ['--notimeline']),
  ],
)
def test_booleans_are_read_as_they_are_meant(words, meant):
  assert arguments.read(['', 'predict', *words]) == ['', 'predict', *meant]


@pytest.mark.parametrize(
  'name',
  ['folder', 'folder.py', 'configs/folder', 'configs/folder.py'],
)
def test_a_config_is_found_by_its_name(name):
  assert arguments.find_config(name).endswith('configs/folder.py')


def test_the_file_of_a_config_may_be_in_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'my.py').write_text("def get_config(arg=''): ...")
  assert arguments.find_config('~/my.py') == str(tmp_path / 'my.py')


def test_an_interrupt_is_one_line(server, tmp_path):
  config = tmp_path / 'slow.py'
  config.write_text('def get_config():\n  raise KeyboardInterrupt\n')
  done = server.run(['main.py', f'--config={config}', f'--workdir={tmp_path}'])
  assert done.returncode == 130
  assert done.stderr.strip() == 'Interrupted.'


@pytest.fixture
def interruptible():
  """Jobs in the background ignore Ctrl-C, and so do their tests."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_a_callback_swallows_comes_again(interruptible):
  swallowed = types.SimpleNamespace(exc_type=KeyboardInterrupt)
  with pytest.raises(KeyboardInterrupt):
    run._interrupt_again(swallowed)
    for _ in range(100):
      time.sleep(0.1)
