# SPDX-License-Identifier: Apache-2.0
"""Commands whose first word is a mode, and what --help and config print."""

import json
import pathlib
import re

import pytest

from data import prepare
import flatten_jax as fj
from flatten_jax.command_line import (
  arguments,
  config_page,
  data_sets_page,
  help_page,
  modes,
  run,
  short_commands,
)
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.reporting import model_table
from flatten_jax.runtime.configuration import (
  config_keys,
  default_config,
  recipes,
  run_config,
)
from tests.support import readme

SMALL = [
  (key, value)
  for key, value in readme.SMALL.items()
  if not key.startswith('--config.model.')
] + [('--config.model', 'uniformer_test')]
OF_RUN = run_config.__file__
FOLDER = arguments.find_config('folder')


def expand(*words: str) -> list[str]:
  argv = ['flatten-jax', *words]
  return short_commands.expand(arguments.read(argv))[1:]


@pytest.fixture
def finished(tmp_path):
  """A workdir, as far as a command can tell."""
  (tmp_path / 'run' / 'checkpoints').mkdir(parents=True)
  return str(tmp_path / 'run')


def test_videos_bring_the_config_of_own_videos(tmp_path):
  assert expand('train', str(tmp_path)) == [
    f'--config={FOLDER}',
    '--mode=train',
    f'--config.data.root={tmp_path}',
  ]


def test_a_config_is_named_with_its_arguments(tmp_path):
  words = expand('train', 'quickstart:clips=24', str(tmp_path))
  file = arguments.find_config('quickstart')
  assert words[0] == f'--config={file}:clips=24'
  assert words[-1] == f'--config.data.root={tmp_path}'
  given = expand('cross_validate', str(tmp_path), '--config=folder')
  assert [w for w in given if w.startswith('--config=')] == given[:1]


def test_a_run_is_its_workdir(finished):
  assert expand('train', finished) == ['--mode=train', f'--workdir={finished}']
  assert expand('eval', finished) == [
    '--mode=evaluate',
    f'--workdir={finished}',
  ]


def test_a_demo_is_of_a_run_a_file_or_the_weights_of_the_package(finished):
  assert expand('demo', '--port=7861') == ['--mode=demo', '--port=7861']
  for word in (finished, 'export/model.onnx', 'uniformer_nano/quickstart'):
    assert expand('demo', word) == ['--mode=demo', f'--workdir={word}']
  modes.check_flags('demo', {'workdir', 'host', 'port'})
  assert run.default_workdir('demo') is None


@pytest.mark.parametrize('mode', ['inspect', 'profile', 'config', 'cost'])
def test_a_run_brings_its_config(mode, finished):
  assert expand(mode, finished) == [f'--mode={mode}', f'--workdir={finished}']
  modes.check_flags(mode, {'workdir'})


@pytest.mark.parametrize('mode', ['train', 'inspect', 'evaluate', 'explain'])
def test_keys_are_changes_of_the_config_of_a_run(mode, finished):
  words = expand(mode, finished, '--lr=0.1')
  assert words[0] == f'--config={OF_RUN}:{finished}'
  assert words[-1] == '--config.lr=0.1'
  long = [f'--mode={mode}', f'--workdir={finished}', '--config.lr=0.1']
  assert expand(*long) == [words[0], *long]
  assert expand(*long, '--config=folder')[0] == f'--config={FOLDER}'


def test_published_weights_bring_their_config(tmp_path, monkeypatch):
  monkeypatch.setattr('flatten_jax.paths.cache', tmp_path.joinpath)
  name = 'uniformer_nano/quickstart'
  config, *rest = expand('evaluate', name, '--config.data.root=/videos')
  assert rest == [
    '--mode=evaluate',
    f'--workdir={name}',
    '--config.data.root=/videos',
  ]
  folder = config.removeprefix(f'--config={OF_RUN}:')
  assert run_config.get_config(folder).model.name == 'uniformer_nano'


def test_a_run_brings_its_config_to_another_workdir(finished):
  assert expand('train', finished, '--workdir=new') == [
    f'--config={OF_RUN}:{finished}',
    '--mode=train',
    '--workdir=new',
  ]
  same = f'--workdir={finished}/'
  assert expand('train', finished, same)[:2] == [
    '--mode=train',
    f'--workdir={finished}',
  ]


def test_a_run_is_not_where_several_are_made(finished):
  words = expand('cross_validate', finished)  # A folder of videos, perhaps.
  assert f'--config.data.root={finished}' in words
  with pytest.raises(arguments.UsageError, match='needs videos or a config'):
    modes.check_flags('ablate', {'workdir'})


def test_videos_follow_the_run(finished):
  words = expand('predict', finished, 'a.mp4', '-', '--timeline')
  assert words == [
    '--mode=predict',
    f'--workdir={finished}',
    '--video=a.mp4',
    '--video=-',
    '--timeline',
  ]
  words = expand('predict', f'--workdir={finished}', 'a.mp4')
  assert words == ['--mode=predict', '--video=a.mp4', f'--workdir={finished}']


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    ('evaluate RUN --workdir=b', 'takes one run; got RUN --workdir=b.'),
    ('demo RUN --workdir=b', 'takes one run; got RUN --workdir=b.'),
    ('config RUN RUN', 'takes one run; got RUN RUN.'),
    ('train RUN RUN', 'takes one run; got RUN RUN.'),
    ('config quickstart motions', 'one config; got quickstart motions.'),
    ('train quickstart --config=folder', 'one config; got --config=FOLDER'),
    ('train RUN folder --workdir=b', 'takes one config; got RUN folder.'),
    ('train colabs docs', 'one folder or list of videos; got colabs docs.'),
    ('train colabs --root=docs', 'got colabs --config.data.root=docs.'),
    ('fuse a b --runs=c,d', 'as words or as --runs; got a b and --runs=c,d.'),
    ('models a --pattern=b', 'takes one pattern; got a --pattern=b.'),
  ],
)
def test_what_is_given_twice_is_refused(words, said, finished):
  said = said.replace('RUN', finished).replace('FOLDER', FOLDER)
  with pytest.raises(arguments.UsageError, match=re.escape(said)):
    expand(*words.replace('RUN', finished).split())


def test_several_runs_are_compared_or_fused():
  assert expand('curves', 'a', 'b')[1:] == ['--run=a', '--run=b']
  assert expand('fuse', 'a', 'b')[1:] == ['--runs=a,b']


@pytest.mark.parametrize(
  ('word', 'meant'),
  [
    ('--epochs=4', '--config.epochs=4'),
    ('--batch-size=8', '--config.batch_size=8'),
    ('--model=resnet50', '--config.model.name=resnet50'),
    ('--crop=64', '--config.data.crop=64'),
    ('--config.lr=1', '--config.lr=1'),
    ('--seeds=2', '--seeds=2'),
  ],
)
def test_after_a_mode_keys_are_flags(word, meant):
  assert expand('cross_validate', 'folder', word)[-1] == meant
  assert expand('cross_validate', 'folder', *word.split('='))[-1] == meant


def test_a_command_without_a_mode_stays_as_it_is():
  words = ['--config.lr=1', '--workdir=x']
  assert expand(*words) == words
  assert expand('--workdir=x', 'extra') == ['--workdir=x', 'extra']


def test_a_new_run_gets_the_next_number(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert run.default_workdir('inspect') == 'runs/1'
  for name in ('2', '9', '10', 'mine', '3x'):
    (tmp_path / 'runs' / name).mkdir(parents=True)
  assert run.default_workdir('train') == 'runs/11'
  with pytest.raises(arguments.UsageError, match='The newest is runs/10'):
    run.default_workdir('predict')
  assert run.default_workdir('models') is None
  with pytest.raises(arguments.UsageError, match='several processes needs'):
    run.default_workdir('train', several=True)


def test_a_run_that_ends_early_says_how_to_resume_it(
  finished, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr('sys.argv', ['main.py'])
  for workdir in (finished, str(tmp_path / 'nothing')):
    with pytest.raises(KeyboardInterrupt), run._says_how_to_resume(workdir):
      raise KeyboardInterrupt
  said = capsys.readouterr().err
  assert said == f'`python main.py train {finished}` resumes it.\n'


def test_every_mode_has_help_of_its_own():
  everything = help_page.page(['main.py', '--help'])
  for name, mode in modes.MODES.items():
    assert re.search(rf'^  {name} ', everything, re.M)
    page = help_page.page(['main.py', name, '--help'])
    assert page.startswith(f'python main.py {name} {mode.words.value}')
    for flag in {'views', 'seeds', 'out'} & set(mode.flags):
      assert f'--{flag} ' in page
    assert max(map(len, page.splitlines())) <= 80


def test_the_version_is_that_of_the_package(server):
  done = server.run(['main.py', '--version'])
  assert done.stdout == f'flatten-jax {fj.__version__}\n'
  citation = pathlib.Path('CITATION.cff').read_text()
  assert f'version: {fj.__version__}\n' in citation


def test_a_config_is_printed_with_every_key_and_its_comment():
  config = default_config.base()
  config.epochs = 20.0
  config.model.window = 8
  config.model.name = 'swinv2_test'
  config.data.crop = 192
  text = config_page.page(config)
  lines = text.splitlines()
  for key in config_keys.known_keys():
    if not key.startswith('data.'):
      assert any(line.startswith(f'{key} = ') for line in lines), key
  assert 'epochs = 20.0  # Default: 110.0. -1: chosen from the number' in text
  assert 'model.window = 8' in lines
  assert 'data.crop = 192' in text
  assert '# Layout: ' in text


def test_a_config_says_what_the_videos_decide():
  config = default_config.base()
  recipes.leave_open(config)
  text = config_page.page(config)
  assert '\nepochs: chosen by the videos and the device\n' in text


def test_all_configs_are_listed():
  text = config_page.page(None)
  for name in arguments.config_files():
    assert re.search(rf'^  {name} +\w', text, re.M)


def test_a_machine_follows_the_cost_and_tables_are_narrow():
  machines = [
    model_table.machine(gflops) for gflops in (0.04, 1, 1.1, 100, 101)
  ]
  assert machines == ['CPU', 'CPU', 'one GPU', 'one GPU', 'several GPUs']
  for table in (fj.model_table(), fj.model_table('video_swin_b')):
    assert max(map(len, table.splitlines())) <= 120
    assert 'kinetics400_window16' in table


def test_data_sets_are_listed_with_their_commands_and_configs():
  text = data_sets_page.page()
  for name, data_set in prepare.DATA_SETS.items():
    if data_set.published.homepage:
      assert f'data.prepare {name} ' in text
      for count in data_set.published.videos.values():
        assert f'{count} ' in text
  for name in arguments.config_files().keys() - {'folder'}:
    assert re.search(rf'\b{name}\b', text), name


def test_models_are_listed_by_a_pattern():
  table = fj.model_table('uniformer_n*')
  assert 'uniformer_nano' in table
  assert '9 x 32 px rgb, flattened' in table
  assert '0.035' in table
  assert 'motions' in table
  assert 'resnet50' not in table
  assert re.search('0.035.* CPU  ', table)
  with pytest.raises(ValueError, match="Did you mean 'resnet50'"):
    fj.model_table('resnet5')


def test_a_run_is_made_resumed_and_used_by_short_commands(server, tmp_path):
  videos = motion_clips.make(
    tmp_path / 'clips', train=12, val=12, test=12, progress=False
  )
  workdir = str(tmp_path / 'run')
  small = [f'{key}={value}'.replace('--config.', '--') for key, value in SMALL]
  command = ['main.py', 'train', str(videos), f'--workdir={workdir}', *small]
  others = (['main.py', mode, workdir] for mode in ('train', 'inspect'))
  for words in (command, *others):
    done = server.run(words)
    assert done.returncode == 0, done.stderr
  assert (tmp_path / 'run' / 'results.json').exists()
  made = f'The workdir is {workdir}\n'
  assert made in (tmp_path / 'run' / 'log.txt').read_text()
  done = server.run(['main.py', 'train', workdir, '--epochs=3'])
  assert done.returncode == 1
  assert '\n  epochs: was 1.0, is 3.0\n' in done.stderr
  flags = done.stderr.splitlines()[-1].split()
  done = server.run(['main.py', 'train', workdir, '--epochs=3', *flags])
  assert done.returncode == 0, done.stderr
  assert 'with the head' in (tmp_path / 'run_new' / 'log.txt').read_text()
  done = server.run(['main.py', 'train', workdir, '--log_every=9'])
  assert 'another log_every: was 50, is 9' in done.stdout
  overrides = json.loads((tmp_path / 'run' / 'run.json').read_text())
  assert {'epochs', 'log_every'} <= set(overrides['overrides'])
  assert overrides['config_file'] == 'configs/folder.py'
  done = server.run(
    ['main.py', 'evaluate', workdir, '--views=1x1', '--loggers=csv']
  )
  assert done.returncode == 0, done.stderr
  table = (tmp_path / 'run' / 'metrics.csv').read_text().splitlines()
  assert {'train/loss', 'evaluate/test_1x1/top1'} < {*table[0].split(',')}
  done = server.run(['main.py', 'config', workdir])
  assert "model.name = 'uniformer_test'" in done.stdout
  video = str(next(videos.rglob('*.mp4')))
  done = server.run(['main.py', 'predict', workdir, video])
  assert done.returncode == 0, done.stderr
  assert ' % ' in done.stdout
