# SPDX-License-Identifier: Apache-2.0
"""Optimizer keys that contradict each other are refused, with both names."""

import re

import pytest

from configs import common
from flatten_jax.models.layers import devices
from flatten_jax.runtime.configuration import config as configs, recipe_rules
from tests.support.other_devices import TPU

STEPS = {'schedule': 'steps', 'lr_steps': (11.0, 14.0)}


@pytest.mark.parametrize(
  ('keys', 'message'),
  [
    (
      {'lr_steps': (11.0,)},
      "config.lr_steps acts with config.schedule='steps'",
    ),
    ({'lr_step_factor': 0.5}, "got 0.5 with 'cosine'"),
    (
      {'data': {'crop_scale': (1.2, 1.3)}},
      "config.data.crop_scale acts with config.data.crop_method='scale' or ",
    ),
    (
      {'data': {'crop_positions': 5}},
      "config.data.crop_positions acts with config.data.crop_method='multi_s",
    ),
    (
      {'data': {'flip': False, 'flip_pairs': (('left', 'right'),)}},
      'config.data.flip_pairs acts with config.data.flip=True only',
    ),
    ({'nesterov': True}, "config.nesterov acts with config.optimizer='sgd'"),
    (
      {'optimizer': 'sgd', 'beta1': 0.8},
      "config.beta1 acts with config.optimizer='adamw' only; got 0.8 with "
      "'sgd'. Set both, or neither: its default is 0.9.",
    ),
    ({'optimizer': 'sgd', 'beta2': 0.9}, 'config.beta2 acts with'),
    ({'optimizer': 'sgd', 'adam_eps': 1e-4}, 'config.adam_eps acts with'),
    (
      {'data': {'crop_method': 'scale', 'crop_area': (0.5, 1.0)}},
      "config.data.crop_area acts with config.data.crop_method='area' only",
    ),
    (
      {'data': {'crop_method': 'scale', 'crop_aspect': (1.0, 1.0)}},
      'config.data.crop_aspect acts with',
    ),
    ({'momentum': 0.8}, "config.momentum acts with config.optimizer='sgd'"),
    (
      {'optimizer': 'sgd', 'nesterov': True, 'momentum': 0.0},
      'config.nesterov needs config.momentum',
    ),
    ({'schedule': 'steps'}, 'needs the epochs of its steps'),
    (STEPS | {'epochs': 14.0}, 'before the end of 14 epochs; got 14'),
    (
      STEPS | {'epochs': 5.0, 'warmup_epochs': 0.0},
      '--config.lr_steps="(3.54, 4.5,)"',
    ),
    (
      STEPS | {'epochs': 0.3, 'warmup_epochs': 0.0},
      '--config.lr_steps="(0.212, 0.27,)"',
    ),
    ({'lr': 1.6}, 'config.lr must be at most 1 with AdamW, which moves'),
    ({'min_lr': 1e-3}, 'config.min_lr must be at most config.lr=0.0001'),
    ({'warmup_lr': 1e-3}, 'config.warmup_lr must be at most config.lr'),
    (
      {'grad_clip_groups': 0, 'grad_clip_norm': 0.0},
      'config.grad_clip_groups must be 1 without clipping',
    ),
    ({'refit': True, 'patience': 3.0}, 'without config.patience only; got 3.0'),
    (
      {'refit': True, 'data': {'weighted': True}},
      'without config.data.weighted only; got True',
    ),
    (
      {'param_groups': (('head', 1.0, 1.0), ('head', 2.0, 1.0))},
      'must have each text once',
    ),
  ],
)
def test_what_makes_no_sense_together_is_refused(keys, message):
  config = common.base()
  config.update(keys)
  with pytest.raises(ValueError, match=re.escape(message)):
    configs.fill_and_check(config)


@pytest.mark.parametrize(
  'keys',
  [
    {'optimizer': 'sgd', 'lr': 1.6, 'nesterov': True},
    STEPS | {'lr': 1e-7, 'warmup_lr': 0.0},  # `min_lr` does not act.
    STEPS | {'epochs': -1.0},
    {'grad_clip_groups': 4},
    {'schedule': 'cosine_by_epoch'},
  ],
)
def test_recipes_that_make_sense_are_taken(keys):
  config = common.base()
  config.update(keys)
  configs.fill_and_check(config)


def test_rates_of_an_earlier_run_are_not_refused():
  config = common.base()
  config.min_lr = 0.1
  configs.fill_and_check(config, trusted=config)


def test_keys_without_effect_of_an_earlier_run_are_not_refused():
  saved = common.base()
  saved.update({'optimizer': 'sgd', 'beta1': 0.8})
  configs.fill_and_check(saved, trusted=saved)
  config = saved.copy_and_resolve_references()
  config.beta1 = 0.7
  with pytest.raises(ValueError, match=r'config\.beta1 acts with'):
    configs.fill_and_check(config, trusted=saved)


def test_steps_are_checked_once_the_epochs_are_chosen():
  config = common.base()
  config.update(STEPS | {'epochs': -1.0, 'lr_steps': (19.0, 40.0)})
  config = configs.fill_and_check(config)
  with pytest.raises(ValueError, match='before the end of 20 epochs; got 40'):
    configs.resolve(config, {'train': range(10_000)})


def test_groups_to_clip_are_saved_as_a_number(config):
  """So a run can be resumed on other devices with the same steps."""
  recipe_rules.choose_clip_groups(config)
  assert config.grad_clip_groups == 1
  config.grad_clip_groups = 0
  first = config.copy_and_resolve_references()
  recipe_rules.choose_clip_groups(first)
  assert first.grad_clip_groups == 8  # Devices.
  resumed = configs.fill_and_check(config, saved=first)
  assert resumed.grad_clip_groups == 8
  config.grad_clip_groups = 3
  with pytest.raises(ValueError, match=r'must divide the .* clips of a step'):
    recipe_rules.choose_clip_groups(config)


def test_a_resumed_run_keeps_its_groups_of_batch_norm(config):
  config.batch_norm = 'per_device'
  first = config.copy_and_resolve_references()
  first.batch_norm_groups = 4
  assert configs.fill_and_check(config, saved=first).batch_norm_groups == 4


@pytest.mark.parametrize(
  ('videos', 'batch', 'epochs', 'shown'),
  [
    (6, 32, 2.0, '1 step only, of 6 videos x 2 epochs in batches of 32'),
    (6, 32, 2.0, '--config.batch_size=4 --config.epochs=67, say, which is 100'),
    (200, 256, 5.0, '4 steps only, of 200 videos x 5 epochs in batches of 256'),
    (200, 256, 5.0, 'batch_size=25 --config.epochs=13, say, which is 104 step'),
    (64, 512, 50.0, 'Write --config.batch_size=8, say, which is 400 steps.'),
    (300, 32, 1.0, 'Write --config.epochs=11, say, which is 103 steps.'),
    (320, 32, 1.0, ''),  # Ten steps.
    (6, 32, -1.0, ''),  # Not chosen yet.
  ],
)
def test_a_schedule_of_fewer_than_ten_steps_is_warned_of(
  videos, batch, epochs, shown
):
  config = common.base()
  config.batch_size, config.epochs = batch, epochs
  with devices.use([TPU]):
    text = recipe_rules.few_steps(config, videos)
  assert shown in text and bool(shown) == bool(text)


def test_a_smaller_batch_still_divides_over_the_devices():
  config = common.base()
  config.batch_size, config.epochs = 64, 5.0
  with devices.use([TPU] * 8):
    assert '--config.batch_size=8 ' in recipe_rules.few_steps(config, 70)


def test_the_warning_of_few_steps_comes_before_the_training(caplog):
  caplog.set_level('WARNING', 'flatten_jax')
  config = configs.fill_and_check(common.base())
  config.batch_size, config.epochs, config.warmup_epochs = 32, 2.0, -1.0
  configs.resolve(config, {'train': range(6)})
  assert '1 step only, of 6 videos x 2 epochs' in caplog.text
