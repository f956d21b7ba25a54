# SPDX-License-Identifier: Apache-2.0
"""A mirrored clip shows another class, where left and right are the label."""

import numpy as np
import pytest

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.augment import flips
from flatten_jax.inputs.augment.flips import HorizontalFlip
from flatten_jax.inputs.sources.dataset import Videos, open_splits

NAMES = ('Pulling left', 'Pulling right', 'Rolling', 'Turning left')


def clip():
  return np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)


def test_flipping_mirrors_half_of_the_clips():
  rng = np.random.default_rng(0)
  flipped = [
    np.array_equal(HorizontalFlip()(clip(), (0,), rng)[0], clip()[:, :, ::-1])
    for _ in range(200)
  ]
  assert 70 < sum(flipped) < 130


@pytest.mark.parametrize(
  ('name', 'mirrored', 'label'),
  [
    ('Pulling left', True, 'Pulling right'),
    ('Pulling right', True, 'Pulling left'),
    ('Rolling', True, 'Rolling'),
    ('Turning left', False, 'Turning left'),
  ],
)
def test_a_mirrored_clip_has_the_label_of_its_pair(
  settings, name, mirrored, label
):
  settings |= {'flip_pairs': (('Pulling_left', 'Pulling right'),)}
  settings |= {'flip_except': ('Turning left',)}
  flip, rng = flips.of_data(settings, NAMES), np.random.default_rng(0)
  seen = set()
  for _ in range(40):
    image, (found,) = flip(clip(), (NAMES.index(name),), rng)
    is_mirrored = np.array_equal(image, clip()[:, :, ::-1])
    assert NAMES[found] == (label if is_mirrored else name)
    seen.add(is_mirrored)
  assert seen == ({True, False} if mirrored else {False})


@pytest.mark.parametrize('key', ['flip_pairs', 'flip_except'])
def test_a_name_that_is_not_a_class_is_refused(settings, key):
  wrong = ('Pulling lefft',)
  settings[key] = wrong if key == 'flip_except' else ((*wrong, 'Rolling'),)
  assert flips.of_data(settings) == HorizontalFlip()  # Names are not known yet.
  with pytest.raises(ValueError, match="mean 'Pulling left'"):
    flips.of_data(settings, NAMES)


def test_a_class_is_in_one_pair_or_an_exception(settings):
  settings |= {'flip_pairs': (NAMES[:2],), 'flip_except': NAMES[1:3]}
  with pytest.raises(ValueError, match='must have each class once'):
    flips.of_data(settings)


def test_training_clips_have_the_label_of_what_they_show(
  settings, class_folder
):
  """The same clips are mirrored with and without pairs, also repeated ones."""
  settings |= {'root': str(class_folder), 'repeated_aug': 2}
  videos = open_splits(settings)['train']
  pairs = {'flip_pairs': (('clap', 'wave'),)}
  never = {'flip_except': ('jump',)}
  plain, paired = (batch(videos, settings | more) for more in ({}, pairs))
  np.testing.assert_array_equal(plain['clip'], paired['clip'])
  changed = plain['label'] != paired['label']
  truth = np.array([videos[i].label for i in plain['index']])
  np.testing.assert_array_equal(plain['label'], truth)
  np.testing.assert_array_equal(
    paired['label'], np.where(changed, 2 - truth, truth)
  )
  still = batch(videos, settings | {'flip': False})
  mirrored = (plain['clip'] != still['clip']).any((1, 2, 3, 4))
  np.testing.assert_array_equal(changed, mirrored & (truth != 1))
  assert 0 < changed.sum() < (truth != 1).sum()
  held = batch(videos, settings | pairs | never)
  same = (held['clip'] == still['clip']).all((1, 2, 3, 4))
  np.testing.assert_array_equal(same, ~mirrored | (truth == 1))


def batch(videos: Videos, settings):
  settings = settings | {'color_jitter': 0.0}
  with pipeline.train_batches(
    videos, settings, seed=0, batch_size=16
  ) as batches:
    return next(batches)
