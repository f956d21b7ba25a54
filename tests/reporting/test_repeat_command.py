# SPDX-License-Identifier: Apache-2.0
"""The command on the page of a run gives the run's config."""

import shlex

from absl import flags
from ml_collections import config_flags
import pytest

from configs import common, folder, quickstart
from flatten_jax.reporting import repeat_command
from flatten_jax.runtime.configuration import config as configs, recipes


def parsed(lines, monkeypatch):
  """The config that the command line makes of a command."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    lock_config=False,
    accept_new_attributes=True,
    flag_values=values,
  )
  words = shlex.split(' '.join(lines))[1:]
  words = [w for w in words if not w.startswith('--workdir=')]
  monkeypatch.setattr('sys.argv', words)  # config_flags looks there.
  values(words)
  return values.config


def changed_base():
  config = common.base()
  config.model.name = 'uniformer_test'
  config.data.root = "/my videos/it's"
  config.data.crop_area = (0.5, 1.0)
  config.data.flip = False
  config.lr = 3e-4
  config.batch_size = 8
  config.param_groups = (('norm', 1.0, 0.0),)
  return configs.fill_and_check(config)


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize('file', ['', 'configs/gone.py', 'configs/folder.py'])
def test_a_run_without_a_file_is_the_open_config_with_all_values(
  monkeypatch, file
):
  config = changed_base()
  lines = repeat_command.lines(config, file, "it's mine")
  assert lines[0] == (
    'python main.py --config=configs/folder.py '
    "--workdir='runs/it'\"'\"'s mine_again'"
  )
  again = parsed(lines, monkeypatch)
  assert repeat_command._flat(again) == repeat_command._flat(config)


def test_only_flags_that_differ_from_the_file_are_given():
  config = quickstart.get_config('clips=240')
  config.epochs = 6.0
  lines = repeat_command.lines(config, 'configs/quickstart.py:clips=240', 'q')
  assert lines == [
    'python main.py --config=configs/quickstart.py:clips=240 '
    '--workdir=runs/q_again',
    '--config.epochs=6.0',
  ]
  other = repeat_command.lines(config, 'configs/quickstart.py', 'q')
  assert '--config.data.motion_clips=240' in other


def test_what_the_file_leaves_open_is_a_flag_if_it_was_one():
  config = configs.complete(folder.get_config())
  config = recipes.typical(config)
  config.data.root, config.data.fold, config.seed = '/videos', 2, 1
  config.epochs, config.lr = 20.0, 2e-3
  config = configs.fill_and_check(config)
  lines = repeat_command.lines(
    config, 'configs/folder.py', 'mine', ['data.root', 'epochs']
  )
  assert lines[1:] == [
    '--config.data.fold=2',
    '--config.data.root=/videos',
    '--config.epochs=20.0',
    '--config.seed=1',
  ]


def test_a_file_that_fails_is_as_good_as_none(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text('def get_config():\n  raise OSError("moved")\n')
  lines = repeat_command.lines(changed_base(), str(file), 'q')
  assert '--config=configs/folder.py' in lines[0]
