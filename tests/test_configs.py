# SPDX-License-Identifier: Apache-2.0
"""The configs hold the paper's numbers, and no key of their own."""

import importlib
import pathlib

import pytest

from configs import common

CONFIGS = sorted(
  file.stem
  for file in (pathlib.Path(__file__).parents[1] / 'configs').glob('*.py')
  if file.stem not in ('__init__', 'common')
)


def get(name, arg=''):
  return importlib.import_module(f'configs.{name}').get_config(arg)


def keys(config):
  return {
    name: keys(value) if hasattr(value, 'keys') else None
    for name, value in config.items()
  }


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_has_the_keys_of_the_base_and_no_other(name):
  """A misspelled key in a config file would otherwise do nothing."""
  assert keys(get(name)) == keys(common.base())


@pytest.mark.parametrize(
  ('arg', 'frames', 'batch_size'), [('', 16, 64), ('frames=9', 9, 128)]
)
def test_k400_uniformer_xxs_is_table_5(arg, frames, batch_size):
  config = get('k400_uniformer_xxs', arg)
  assert config.data.num_frames == frames
  assert config.batch_size == batch_size
  assert config.data.crop == 160
  assert config.lr == 5e-4
  assert (config.epochs, config.warmup_epochs) == (110, 10)
  assert (config.weight_decay, config.beta1) == (0.05, 0.9)
  assert (config.data.num_clips, config.data.num_crops) == (1, 1)
  assert (config.mixup, config.cutmix, config.label_smoothing) == (
    0.8,
    1.0,
    0.1,
  )
  assert config.flatten == 'row_major'


def test_arguments_are_converted_and_checked():
  assert get('k400_uniformer_xxs', 'flatten=nested').flatten == 'nested'
  with pytest.raises(ValueError, match='frames=16'):
    get('k400_uniformer_xxs', 'frame=9')
  with pytest.raises(ValueError, match='int'):
    get('k400_uniformer_xxs', 'frames=nine')


def test_quickstart_and_folder_never_flip():
  """Left and right are labels of the one, and may be of the other."""
  assert not get('quickstart').data.flip
  assert not get('folder').data.flip
