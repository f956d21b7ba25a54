# SPDX-License-Identifier: Apache-2.0
"""Learning rates, compared with those of official code."""

import json

import numpy as np
import pytest

from flatten_jax.runtime import default_config
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
NO_ENDS = {'warmup_lr': 0.0, 'min_lr': 0.0}
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


# Of the official code: config keys, steps per epoch, then step -> rate.
VIDEO_SWIN = {
  'schedule': 'cosine_by_epoch',
  'epochs': 30.0,
  'warmup_epochs': 2.5,
  'lr': 1e-3,
  'warmup_lr': 1e-4,
  'min_lr': 0.0,
}
VIVIT = {'lr': 0.1, 'epochs': 30.0, 'warmup_epochs': 2.5} | NO_ENDS
TIMESFORMER = {'lr': 5e-3, 'epochs': 15.0, 'lr_steps': (11.0, 14.0)} | STEPS
VTN = {'lr': 1e-3, 'epochs': 25.0, 'lr_steps': (13.0, 24.0)} | STEPS
OFFICIAL = {
  'video_swin_t': (
    VIDEO_SWIN,
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
  'vivit_l_fe': (
    VIVIT,
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
  'timesformer': (
    TIMESFORMER,
    100,
    {0: 5e-3, 1099: 5e-3, 1100: 5e-4, 1399: 5e-4, 1400: 5e-5, 1499: 5e-5},
  ),
  'vtn': (
    VTN,
    100,
    {0: 1e-3, 1299: 1e-3, 1300: 1e-4, 2399: 1e-4, 2400: 1e-5, 2499: 1e-5},
  ),
}


@pytest.mark.parametrize('name', OFFICIAL)
def test_the_schedules_are_those_of_the_official_code(name):
  keys, steps_per_epoch, curve = OFFICIAL[name]
  check(keys, steps_per_epoch, curve.keys(), curve.values())


def check(keys, steps_per_epoch, steps, rates):
  """Compares rates to the rounding of float32."""
  schedule = make(keys, steps_per_epoch)
  ours = [schedule(step) for step in steps]
  # A float32 cosine has an error of 1e-7 of the base rate.
  atol = 1e-7 * keys['lr'] if keys.get('schedule', 'cosine') == 'cosine' else 0
  np.testing.assert_allclose(ours, list(rates), rtol=6e-7, atol=atol)


def test_every_rate_in_the_facts_is_reproduced(parity_folder):
  def facts(name):
    return json.loads((parity_folder / f'data_facts_{name}.json').read_text())

  swin = facts('video_swin_timesformer')['lr']
  timesformer = swin.pop('timesformer_all')
  assert len(swin) == 4
  for fact in swin.values():
    # `lr_mult` is a factor of a group of parameters.
    base, epochs = fact['base_lr'], float(fact['epochs'])
    keys = VIDEO_SWIN | {'lr': base, 'warmup_lr': base / 10, 'epochs': epochs}
    rates = np.array(fact['lr']) / fact['lr_mult']
    check(keys, fact['iters_per_epoch'], fact['iter'], rates)
  steps = 100 * np.array(timesformer['epoch'])
  check(TIMESFORMER, 100, steps.round().astype(int), timesformer['lr'])

  others = facts('vivit_vtn_vidtr')
  assert len(others['vivit_lr']) == 2
  for fact in others['vivit_lr'].values():
    each = fact['steps_per_epoch']
    keys = VIVIT | {
      'lr': fact['base'],
      'epochs': fact['total_steps'] / each,
      'warmup_epochs': fact['warmup_steps'] / each,
    }
    check(keys, each, *zip(*fact['at'], strict=True))
  epochs, rates = zip(*others['vtn_lr'], strict=True)
  check(VTN, 100, (100 * np.array(epochs)).round().astype(int), rates)


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
  keys = VIDEO_SWIN | {'min_lr': 1e-4, 'epochs': 4.0, 'warmup_epochs': 0.0}
  found = [float(make(keys, 1)(epoch)) for epoch in range(5)]
  cosine = 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
  np.testing.assert_allclose(found, [*cosine, cosine[-1]], rtol=1e-6)
