# SPDX-License-Identifier: Apache-2.0
"""Learning rates, compared with those of official code."""

import importlib
import json

import numpy as np
import pytest

from flatten_jax.runtime.configuration import default_config
from flatten_jax.training import schedules

# Epoch -> learning rate, from UniFormer's own schedule functions.
XXS_K400 = {
  0: 1e-06,
  0.5: 2.595e-05,
  1: 5.09e-05,
  9.99: 0.000499501,
  10: 0.0005,
  10.5: 0.0004999692198041743,
  60.0: 0.0002505,
  109: 1.1231131887499658e-06,
  109.99: 1.0000123123313787e-06,
}
S_HMDB51 = {
  0: 1e-06,
  3.5: 5.05e-05,
  6.99: 9.985857142857143e-05,
  7: 0.0001,
  38.5: 5.05e-05,
  69.99: 1.000006154515089e-06,
}
STEPS = {'schedule': 'steps', 'warmup_epochs': 0.0}


def make(keys, steps_per_epoch):
  config = default_config.base()
  config.update(keys)
  return schedules.make(config, steps_per_epoch)


def schedule_of(lr, warmup, epochs, steps_per_epoch=1000, **changes):
  keys = {'warmup_epochs': float(warmup), 'epochs': float(epochs), 'lr': lr}
  return make(keys | changes, steps_per_epoch)


@pytest.mark.parametrize(
  ('base', 'warmup', 'epochs', 'curve'),
  [(5e-4, 10, 110, XXS_K400), (1e-4, 7, 70, S_HMDB51)],
)
@pytest.mark.parametrize('steps_per_epoch', [1000, 1877.02])
def test_the_schedule_is_uniformers(
  base, warmup, epochs, curve, steps_per_epoch
):
  schedule = schedule_of(base, warmup, epochs, steps_per_epoch)
  for epoch, lr in curve.items():
    # A float32 cosine has an error of 1e-7 of the base rate.
    np.testing.assert_allclose(
      schedule(epoch * steps_per_epoch), lr, rtol=1e-5, atol=2e-7 * base
    )


def test_all_published_schedules_are_reproduced(parity_folder):
  """The schedules of every config and of UniFormer's own runs."""
  facts = json.loads((parity_folder / 'data_facts.json').read_text())['lr']
  assert len(facts) == 11
  for name, fact in facts.items():
    schedule = schedule_of(
      fact['base_lr'],
      fact['warmup_epochs'],
      fact['max_epoch'],
      warmup_lr=fact['warmup_start_lr'],
      min_lr=fact['end_lr'],
    )
    ours = schedule(1000 * np.array(fact['epoch']))
    np.testing.assert_allclose(
      ours, fact['lr'], rtol=1e-5, atol=2e-7 * fact['base_lr'], err_msg=name
    )


def test_a_warmup_as_long_as_the_run_is_refused():
  with pytest.raises(ValueError, match='warmup_epochs'):
    schedule_of(1.0, warmup=10, epochs=10)


def test_a_run_without_warmup_starts_at_the_base_rate():
  schedule = schedule_of(0.5, warmup=0, epochs=10)
  assert schedule(0) == 0.5


# Config -> steps per epoch, and step -> rate of the official code.
OFFICIAL = {
  'k400_video_swin_t': (
    100,
    {
      0: 1e-4,
      1: 1.036e-4,
      99: 4.564e-4,
      100: 4.587400359347029e-4,
      249: 9.855131346855818e-4,
      250: 9.890738003669028e-4,
      299: 9.890738003669028e-4,
      300: 9.755282581475768e-4,
      1500: 5e-4,
      2900: 2.739052315863355e-6,
      2999: 2.739052315863355e-6,
    },
  ),
  'k400_vivit_l': (
    3356,
    {
      0: 0.0,
      1: 1.191895171359647e-5,
      3356: 0.04,
      8390: 0.1,
      16780: 0.09797465056180954,
      50340: 0.057115741074085236,
      97324: 0.00032591522904112935,
      100679: 0.0,
    },
  ),
  'k400_timesformer': (
    100,
    {0: 5e-3, 1099: 5e-3, 1100: 5e-4, 1399: 5e-4, 1400: 5e-5, 1499: 5e-5},
  ),
  'k400_vtn_b': (
    100,
    {0: 1e-3, 1299: 1e-3, 1300: 1e-4, 2399: 1e-4, 2400: 1e-5, 2499: 1e-5},
  ),
}


@pytest.mark.parametrize('name', OFFICIAL)
def test_the_schedules_of_the_configs_are_those_of_the_official_code(name):
  steps_per_epoch, curve = OFFICIAL[name]
  check(config_of(name), steps_per_epoch, curve.keys(), curve.values())


def config_of(name, arg='', **changes):
  config = importlib.import_module(f'configs.{name}').get_config(arg)
  config.update(changes)
  return config


def check(config, steps_per_epoch, steps, rates):
  """Compares rates to the rounding of float32."""
  schedule = schedules.make(config, steps_per_epoch)
  ours = [schedule(step) for step in steps]
  # A float32 cosine has an error of 1e-7 of the base rate.
  atol = 1e-7 * config.lr if config.schedule == 'cosine' else 0
  np.testing.assert_allclose(ours, list(rates), rtol=6e-7, atol=atol)


def test_every_rate_in_the_facts_is_that_of_a_config(parity_folder):
  def facts(name):
    return json.loads((parity_folder / f'data_facts_{name}.json').read_text())

  tiny = config_of('k400_video_swin_t')
  found = facts('video_swin_timesformer')['lr']
  for name, config in {
    'video_swin_tiny_k400_head': tiny,
    'video_swin_tiny_k400_backbone': tiny,
    'video_swin_base_22k_k400_head': config_of(
      'k400_video_swin_b', 'start=imagenet22k'
    ),
    'video_swin_base_sthv2_head': config_of('ssv2_video_swin_b'),
  }.items():
    fact = found.pop(name)
    rates = np.array(fact['lr']) / fact['lr_mult']  # Of a group of parameters.
    check(config, fact['iters_per_epoch'], fact['iter'], rates)
  check_epochs('k400_timesformer', **found.pop('timesformer_all'))
  assert not found

  found = facts('vivit_vtn_vidtr')
  check_epochs('k400_vtn_b', *zip(*found['vtn_lr'], strict=True))
  for name, config in {
    'k400_l_fe': config_of('k400_vivit_l'),
    'ssv2_l_fe': config_of('ssv2_vivit_l_fe'),
  }.items():
    fact = found['vivit_lr'].pop(name)
    each = fact['steps_per_epoch']
    # They leave out half a step of the warmup.
    config.warmup_epochs = fact['warmup_steps'] / each
    check(config, each, *zip(*fact['at'], strict=True))
  assert not found['vivit_lr']


def check_epochs(name, epoch, lr, base_lr=None):
  config = config_of(name)
  assert base_lr in (None, config.lr)
  check(config, 100, (100 * np.array(epoch)).round().astype(int), lr)


# Curve of PySlowFast -> our config.
PYSLOWFAST = {
  'slowfast_cosine': ('k400_slowfast_r101',),
  'i3d_nl_in1k_steps': ('k400_i3d_r101_nl', 'variant=8x8_imagenet1k'),
}


@pytest.mark.parametrize('steps_per_epoch', [100, 3756.5])
def test_the_curves_of_pyslowfast_are_reproduced(
  parity_folder, steps_per_epoch
):
  text = (parity_folder / 'data_facts_compared.json').read_text()
  facts = json.loads(text)['lr']
  assert facts.keys() == PYSLOWFAST.keys()
  for name, fact in facts.items():
    schedule = schedules.make(config_of(*PYSLOWFAST[name]), steps_per_epoch)
    ours = schedule(steps_per_epoch * np.array(fact['epoch']))
    np.testing.assert_allclose(ours, fact['lr'], rtol=1e-6, atol=1e-8)


def test_a_warmup_meets_the_cosine_from_the_start():
  """A fortieth of the peak to the cosine's half, then down to a tenth."""
  keys = {'schedule': 'cosine_from_start', 'lr': 4.0, 'epochs': 4.0}
  keys |= {'warmup_epochs': 2.0, 'warmup_lr': 0.1, 'min_lr': 0.4}
  schedule = make(keys, 2)
  np.testing.assert_allclose(schedule(0), 0.1, rtol=1e-6)
  np.testing.assert_allclose(schedule(4), (4.0 + 0.4) / 2, rtol=1e-6)
  np.testing.assert_allclose(schedule(2), (0.1 + 2.2) / 2, rtol=1e-6)
  np.testing.assert_allclose(schedule(8), 0.4, rtol=1e-6)
  schedule = make(keys | {'warmup_epochs': 0.0}, 2)
  np.testing.assert_allclose(schedule(0), 4.0, rtol=1e-6)
  assert make(keys | {'lr': 0.0, 'warmup_lr': 0.0, 'min_lr': 0.0}, 2)(3) == 0


def test_steps_begin_at_the_first_batch_of_an_epoch():
  """An epoch of 7 / 3 steps: the third ends after 7."""
  keys = {'lr': 1.0, 'epochs': 6.0, 'lr_steps': (1.0, 3.0)} | STEPS
  schedule = make(keys, 7 / 3)
  found = [float(schedule(step)) for step in range(9)]
  np.testing.assert_allclose(found, [1] * 3 + [0.1] * 4 + [0.01] * 2, rtol=1e-6)


def test_a_warmup_multiplies_the_steps():
  keys = {'lr': 1.0, 'epochs': 9.0, 'lr_steps': (1.0,)} | STEPS
  schedule = make(keys | {'warmup_epochs': 2.0, 'warmup_lr': 0.5}, 2)
  found = [float(schedule(step)) for step in range(5)]
  np.testing.assert_allclose(found, [0.5, 0.625, 0.075, 0.0875, 0.1], rtol=1e-6)


def test_a_cosine_by_epoch_ends_near_the_lowest_rate():
  changes = {'min_lr': 1e-4, 'epochs': 4.0, 'warmup_epochs': 0.0}
  schedule = schedules.make(config_of('k400_video_swin_t', **changes), 1)
  found = [float(schedule(epoch)) for epoch in range(5)]
  cosine = 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
  np.testing.assert_allclose(found, [*cosine, cosine[-1]], rtol=1e-6)
