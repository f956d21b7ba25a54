# SPDX-License-Identifier: Apache-2.0
"""Test views, as they are written and read."""

import numpy as np
import pytest

from flatten_jax.inputs import views
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.views import Views

WRITTEN = [
  ('1x4', {'crops': 1, 'clips': 4}),
  ('3x10', {'crops': 3, 'clips': 10}),
  ('16x1x4', {'frames': 16, 'crops': 1, 'clips': 4}),
  (
    '224x16x1x4',
    {'resolution': 224, 'frames': 16, 'crops': 1, 'clips': 4},
  ),
  (
    '224x16x3x10',
    {'resolution': 224, 'frames': 16, 'crops': 3, 'clips': 10},
  ),
  (
    '224x25x10x1',
    {'resolution': 224, 'frames': 25, 'crops': 10, 'clips': 1},
  ),
]


@pytest.mark.parametrize(('text', 'meaning'), WRITTEN)
def test_views_of_two_to_four_figures_are_read(text, meaning):
  read = views.parse(text)
  assert read == Views(**meaning)
  assert views.parse(text.replace('x', '\N{MULTIPLICATION SIGN}')) == read
  assert views.parse(text.replace('x', ' X ')) == read


def test_views_are_written_in_the_paper_s_order():
  assert str(views.parse('3x4')) == '3x4'
  read = views.parse('224x16x3x10')
  assert str(read) == '224x16x3x10'
  assert read.count == 30
  assert read.describe() == '224 px, 16 frames, 3 crops, 10 clips'


@pytest.mark.parametrize('text', ['32x2x1', '16x2x3', '4x3', '8x8'])
def test_views_that_may_be_in_another_order_are_refused(text):
  with pytest.raises(ValueError, match='Write crops before clips') as error:
    views.parse(text)
  crops = text.split('x')[-2]
  assert f'{text!r} would be ' in str(error.value)
  assert f'{crops} crops' in str(error.value)


@pytest.mark.parametrize(
  'text',
  ['', '4', '0x4', '1x2x3x4x5', '3 x', 'ten clips x 3 crop', '-1x4', '1 6x1x4'],
)
def test_a_text_that_is_not_a_notation_is_refused(text):
  with pytest.raises(ValueError, match='Did not understand the views'):
    views.parse(text)


def test_a_config_s_views_replace_clips_and_crops(settings):
  full = views.of_config(settings | {'views': '16x4x1x5'})
  assert (full.clips, full.crops) == (5, 1)
  assert str(full) == '16x4x1x5' and full.stride is None
  dense = views.of_config(settings | {'sampling': 'dense'})
  assert dense.stride == 2 and '2 frames apart' in dense.describe()
  seconds = views.of_config(settings | {'sampling': 'timesformer'})
  assert '2 frames apart at 30 frames per second' in seconds.describe()
  without = views.of_config(settings | {'views': ''})
  assert str(without) == '16x4x3x2'


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('224x4x3x2', r'data\.crop=16.*Set data\.crop=224'),
    ('16x9x3x2', r'data\.num_frames=4.*Set data\.num_frames=9'),
  ],
)
def test_views_that_contradict_the_config_are_refused(settings, text, said):
  with pytest.raises(ValueError, match=said):
    views.of_config(settings | {'views': text})


def test_test_frames_are_those_of_test_views_and_not_of_validation(settings):
  settings |= {'test_frames': 9, 'val_clips': 1, 'val_crops': 1}
  found = views.of_config(settings)
  assert str(found) == '16x9x3x2'
  assert found.apply(settings)['num_frames'] == 9
  assert str(views.of_validation(settings)) == '16x4x1x1'
  with pytest.raises(ValueError, match=r'Set data\.test_frames=4'):
    views.of_config(settings | {'views': '16x4x3x2'})


def test_the_resolution_of_views_is_that_of_the_test_crop(settings):
  found = views.of_config(settings | {'test_crop': 20})
  assert str(found) == '20x4x3x2' and found.apply(settings)['crop'] == 20
  with pytest.raises(ValueError, match=r'Set data\.test_crop=16'):
    views.of_config(settings | {'test_crop': 20, 'views': '16x4x3x2'})


@pytest.mark.parametrize('sampling', ['segment_middle', 'vtn'])
def test_several_clips_are_refused_where_one_shows_the_whole_video(
  settings, sampling
):
  settings |= {'sampling': sampling}
  with pytest.raises(ValueError, match=r'in one clip; got 2 clips\. Set 1'):
    views.of_config(settings)
  assert views.of_config(settings | {'num_clips': 1}).count == 3


@pytest.mark.parametrize(
  ('sampling', 'fitting'),
  [
    ('nonlocal', (1, 2, 3, 10)),
    ('tdn', (1, 2, 3, 4, 5, 10)),
    ('dense', range(1, 12)),
  ],
)
def test_crops_that_would_be_partly_the_same_are_refused(
  settings, sampling, fitting
):
  data = settings | {'sampling': sampling, 'num_frames': 5, 'num_clips': 1}
  wide = np.arange(110, dtype=np.uint8)[None, None, :, None]
  clip = np.tile(wide, (1, 10, 1, 3))
  for crops in range(1, 12):
    data['num_crops'] = crops
    if crops in fitting:
      assert views.of_config(data).crops == crops
      steps = rules.of_data(data).crop_steps
      found = transforms.test_crops(clip, 10, crops, steps)
      firsts = {int(crop[0, 0, 0, 0]) for crop in found}
      assert crops == 10 or len(firsts) == crops
    else:
      with pytest.raises(ValueError, match=f'; {crops} crops would .* or 10'):
        views.of_config(data)
