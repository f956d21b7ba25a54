# SPDX-License-Identifier: Apache-2.0
"""Transforms treat all frames of a clip alike."""

import numpy as np
import pytest

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.augment.boxes import random_box, scaled_box
from flatten_jax.inputs.augment.flips import HorizontalFlip
from flatten_jax.inputs.augment.randaugment import RandAugment
from flatten_jax.inputs.augment.transforms import (
  ColorJitter,
  Grayscale,
  MultiScaleCrop,
  RandomErasing,
  RandomResizedCrop,
  RandomScaledCrop,
  Rotation,
)


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def still(height=30, width=40, num_frames=3, seed=0):
  """Makes a clip without motion. uint8 [T H W 3]."""
  rng = np.random.default_rng(seed)
  frame = rng.integers(0, 256, (height, width, 3), np.uint8)
  return np.stack([frame] * num_frames)


@pytest.mark.parametrize(
  'transform',
  [
    RandomResizedCrop(16),
    RandomScaledCrop(16, 'scale_each_axis', (0.9, 1.33)),
    MultiScaleCrop(16),
    ColorJitter(0.4, 0.4, 0.4),
    Grayscale(0.5),
    RandomErasing(1.0, fill=(0.4, 0.5, 0.6)),
    Rotation(20.0),
  ],
  ids=lambda transform: type(transform).__name__,
)
def test_all_frames_are_treated_alike(transform, rng):
  for _ in range(10):
    clip = transform(still(), rng)
    assert clip.dtype == np.uint8
    np.testing.assert_array_equal(clip[0], clip[-1])


@pytest.mark.parametrize(
  'height, width', [(30, 40), (40, 30), (7, 200), (1, 1)]
)
@pytest.mark.parametrize('area', [(0.08, 1.0), (1.0, 1.0), (0.5, 0.5)])
def test_a_random_box_lies_inside(height, width, area, rng):
  for _ in range(200):
    rows, columns = random_box((height, width), area, (3 / 4, 4 / 3), rng)
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width


def test_random_boxes_have_the_requested_areas_and_shapes(rng):
  boxes = [
    random_box((300, 400), (0.2, 0.6), (0.5, 2.0), rng) for _ in range(2000)
  ]
  h, w = np.array([[s.stop - s.start for s in box] for box in boxes]).T
  area, aspect = h * w / (300 * 400), w / h
  assert 0.19 < area.min() < 0.21 and 0.58 < area.max() < 0.61
  assert 0.49 < aspect.min() < 0.52 and 1.9 < aspect.max() < 2.02
  assert abs(np.median(np.log(aspect))) < 0.1  # As often wide as high.


def test_an_impossible_box_becomes_the_largest_in_the_centre(rng):
  box = random_box((10, 100), (1.0, 1.0), (3 / 4, 4 / 3), rng)
  assert box == (slice(0, 10), slice(43, 56))


def test_cropping_everything_is_resizing(rng):
  clip = still(32, 32)
  crop = RandomResizedCrop(16, area=(1.0, 1.0), aspect=(1.0, 1.0))
  np.testing.assert_array_equal(
    crop(clip, rng), transforms.resize(clip, (16, 16))
  )


METHODS = ('scale', 'inverse_scale', 'scale_each_axis')


def boxes(shape, size, method, scale, rng, count=2000):
  """Draws rows and columns of boxes. -> starts [N 2], lengths [N 2]."""
  drawn = [scaled_box(shape, size, method, scale, rng) for _ in range(count)]
  ends = np.array([[(s.start, s.stop) for s in box] for box in drawn])
  return ends[..., 0], ends[..., 1] - ends[..., 0]


@pytest.mark.parametrize(
  'shape', [(256, 340), (340, 256), (224, 224), (100, 300), (1, 1)]
)
@pytest.mark.parametrize('scale', [(1.0, 1.25), (0.9, 1.33), (0.1, 500.0)])
@pytest.mark.parametrize('method', METHODS)
def test_a_scaled_box_lies_inside_of_frames_of_any_size(
  shape, scale, method, rng
):
  starts, sides = boxes(shape, 224, method, scale, rng, 200)
  assert (starts >= 0).all() and (sides >= 1).all()
  assert (starts + sides <= shape).all()
  if method != 'scale_each_axis':
    assert (sides[:, 0] == sides[:, 1]).all()


def test_a_scaled_crop_is_a_literal_part_of_the_frame(rng):
  """With factor 1 it is a crop, with 2 the half as large box enlarged."""
  clip = still(20, 30)
  crop = RandomScaledCrop(20, 'scale', (1.0, 1.0))(clip, rng)
  lefts = range(11)
  assert sum((clip[:, :, x : x + 20] == crop).all() for x in lefts) == 1
  twice = RandomScaledCrop(20, 'scale', (2.0, 2.0))
  box = scaled_box((20, 30), 20, 'scale', (2.0, 2.0), np.random.default_rng(3))
  assert [s.stop - s.start for s in box] == [10, 10]
  np.testing.assert_array_equal(
    twice(clip, np.random.default_rng(3)),
    transforms.resize(clip[:, *box], (20, 20)),
  )


@pytest.mark.parametrize(
  ('method', 'scale', 'value'),
  [
    # TimeSformer: the short side is uniform in 256 to 320, or one over it is.
    ('scale', (1.0, 1.25), lambda factor: factor),
    ('inverse_scale', (1.0, 1.25), lambda factor: 1 / factor),
    ('scale_each_axis', (0.9, 1.33), lambda factor: factor),
  ],
)
def test_factors_are_uniform_in_what_a_method_says(method, scale, value, rng):
  _, sides = boxes((4000, 5000), 2240, method, scale, rng, 4000)
  drawn = value(2240 / sides)
  low, high = sorted(value(np.array(scale)))
  for axis in drawn.T:
    assert abs(axis.min() - low) < 2e-3 and abs(axis.max() - high) < 2e-3
    parts = np.quantile(axis, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(
      parts, low + (high - low) * np.array([0.25, 0.5, 0.75]), atol=0.02
    )
  correlation = np.corrcoef(drawn.T)[0, 1]
  assert abs(correlation - (method != 'scale_each_axis')) < 0.05


def test_scaled_boxes_lie_everywhere(rng):
  starts, _ = boxes((10, 14), 10, 'scale', (1.0, 1.0), rng, 500)
  assert set(starts[:, 0]) == {0}
  assert np.bincount(starts[:, 1]).min() > 60  # Of 100 for each of 0 to 4.


def test_a_frame_too_small_for_the_crop_is_enlarged_to_it(rng):
  """ViViT's factors down to .9 may leave less than a crop."""
  crop = RandomScaledCrop(24, 'scale_each_axis', (0.5, 0.5))
  clip = still(20, 60)
  out = crop(clip, rng)
  assert out.shape == (3, 24, 24, 3)
  starts, sides = boxes((20, 60), 24, 'scale_each_axis', (0.5, 0.5), rng, 50)
  assert (sides == (20, 48)).all() and (starts[:, 0] == 0).all()


def test_no_jitter_changes_nothing(rng):
  clip = still()
  np.testing.assert_array_equal(ColorJitter()(clip, rng), clip)


def test_jitter_follows_its_formulas():
  """Brightness, then contrast about the mean grey, then saturation."""
  clip = still(num_frames=2)
  jitter = ColorJitter(0.3, 0.5, 0.7)
  ours = jitter(clip, np.random.default_rng(5))
  draw = np.random.default_rng(5)
  bright, contrast, saturation = (
    draw.uniform(1 - x, 1 + x) for x in (0.3, 0.5, 0.7)
  )
  luma = np.array([0.299, 0.587, 0.114])
  x = clip.astype(float) * bright
  x = contrast * x + (1 - contrast) * (x @ luma).mean()
  x = saturation * x + (1 - saturation) * (x @ luma)[..., None]
  expected = np.clip(np.rint(x), 0, 255)
  assert np.abs(ours - expected).max() <= 1


def test_a_share_of_clips_is_jittered_and_made_grey(rng):
  clip = still()
  jitter, grey = ColorJitter(0.4, 0.4, 0.4, 0.8), Grayscale(0.1)
  assert 600 < sum(jitter(clip, rng) is not clip for _ in range(800)) < 680
  assert 50 < sum(grey(clip, rng) is not clip for _ in range(800)) < 110
  expected = np.rint(clip @ np.array([0.299, 0.587, 0.114]))[..., None]
  out = Grayscale(1.0)(clip, rng).astype(int)
  assert np.abs(out - expected).max() <= 1
  assert (out == out[..., :1]).all()


def test_jitter_of_all_clips_draws_as_ever():
  """Clips of earlier runs, which are resumed, stay the same."""
  draws, reference = np.random.default_rng(4), np.random.default_rng(4)
  ColorJitter(0.1, 0.2, 0.3)(still(), draws)
  reference.uniform(size=3)
  assert draws.random() == reference.random()


def test_erasing_with_one_colour_fills_the_box_with_it(rng):
  clip = np.full((2, 40, 50, 3), 255, np.uint8)
  out = RandomErasing(1.0, fill=(0.485, 0.456, 0.406))(clip, rng)
  erased = out[(out < 255).any(-1)]
  assert len(erased) > 50 and (erased == (124, 116, 104)).all()


@pytest.mark.parametrize('size', [5, 8, 15, 16, 31, 32, 100])
def test_shrinking_averages_instead_of_skipping(size):
  """Fine stripes become grey; skipping pixels would leave them striped."""
  stripes = np.zeros((1, 256, 256, 3), np.uint8)
  stripes[:, :, ::2] = 255
  out = transforms.resize(stripes, (size, size))
  assert np.abs(out[:, 1:-1, 1:-1].astype(int) - 128).max() <= 3


def test_resizing_does_not_shift_a_gradient():
  ramp = np.arange(250, dtype=np.uint8)[None, None, :, None]
  ramp = np.ascontiguousarray(np.broadcast_to(ramp, (1, 40, 250, 3)))
  out = transforms.resize(ramp, (10, 50))[0, 5, :, 0].astype(float)
  np.testing.assert_allclose(out, np.arange(50) * 5 + 2, atol=2)


def test_erasing_draws_one_box_for_all_frames_and_every_pixel_separately(rng):
  """Uses a white clip, since noise is rarely white."""
  clip = np.full((3, 80, 100, 3), 255, np.uint8)
  areas, aspects, noise = [], [], []
  for _ in range(300):
    out = RandomErasing(1.0)(clip, rng)
    assert out is not clip and clip.min() == 255
    box = (out < 255).any(axis=(0, 3))
    rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
    inside = out[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (out != 255).sum() == (inside != 255).sum()
    assert (inside[0] != inside[1]).mean() > 0.9
    height, width = inside.shape[1:3]
    areas.append(height * width / 8000)
    aspects.append(width / height)
    noise.append(inside.ravel()[:1000])
  assert 0.018 < min(areas) < 0.03 and 0.31 < max(areas) < 0.34
  assert 0.28 < min(aspects) < 0.4 and 2.5 < max(aspects) < 3.6
  noise = np.concatenate(noise) / 255
  # A normal distribution of .45 and .225, cut off at 0 and 1.
  assert abs(np.median(noise) - 0.45) < 0.01
  assert abs(np.quantile(noise, 0.841) - 0.675) < 0.01
  assert abs((noise == 0).mean() - 0.023) < 0.005


def test_erasing_has_the_requested_probability(rng):
  clip = still()
  erase = RandomErasing(0.25)
  erased = sum(erase(clip, rng) is not clip for _ in range(800))
  assert 160 < erased < 240


@pytest.mark.parametrize(
  'chosen, expected',
  [
    ({}, []),
    (
      {'flip': True, 'color_jitter': 0.4},
      [HorizontalFlip(0.5), ColorJitter(0.4, 0.4, 0.4)],
    ),
    (
      {'flip': True, 'random_erasing': 0.25},
      [HorizontalFlip(0.5), RandomErasing(0.25)],
    ),
    (
      {
        'color_jitter': 0.4,
        'color_jitter_share': 0.8,
        'grayscale_share': 0.1,
        'random_erasing': 0.25,
        'erasing_fill': 'mean',
      },
      [
        ColorJitter(0.4, 0.4, 0.4, 0.8),
        Grayscale(0.1),
        RandomErasing(0.25, fill=(0.1, 0.2, 0.3)),
      ],
    ),
  ],
)
@pytest.mark.parametrize('randaugment', ['', 'rand-m7-n4-mstd0.5-inc1'])
def test_the_config_selects_transforms_in_the_published_order(
  settings, chosen, expected, randaugment
):
  settings |= {'flip': False, 'color_jitter': 0.0, 'randaugment': randaugment}
  first = [RandAugment(7, 4, 0.5, True)] if randaugment else []
  crop = RandomResizedCrop(16, (0.3, 1.0), (3 / 4, 4 / 3))
  made = transforms.train_transforms(settings | chosen, (0.1, 0.2, 0.3))
  assert made == [*first, crop, *expected]


def test_the_config_rotates_before_it_crops(settings, rng):
  settings |= {'rotation': 30.0}
  rotation, crop, *_ = transforms.train_transforms(settings)
  assert isinstance(crop, RandomResizedCrop)
  line = np.zeros((2, 41, 41, 3), np.uint8)
  line[:, 20] = 255  # Its angle is seen at 15 px from the center.
  angles = []
  for _ in range(200):
    right = rotation(line, rng)[0, :, 35, 0].astype(float)
    right[[*range(8), *range(33, 41)]] = 0  # Corners that came into view.
    row = right @ np.arange(41) / right.sum()
    angles.append(np.degrees(np.arctan2(20 - row, 15)))
  assert -31 < min(angles) < -28
  assert 28 < max(angles) < 31


@pytest.mark.parametrize('method', METHODS)
def test_the_config_selects_a_crop(settings, method):
  settings |= {'crop_method': method, 'crop_scale': (0.9, 1.33)}
  (crop, *_) = transforms.train_transforms(settings)
  assert crop == RandomScaledCrop(16, method, (0.9, 1.33))


def test_the_config_selects_a_crop_of_a_short_list(settings):
  settings |= {'crop_method': 'multi_scale', 'crop_positions': 5}
  settings |= {'crop_sizes': (0.5, 1.0)}
  (crop, *_) = transforms.train_transforms(settings)
  assert crop == MultiScaleCrop(16, (0.5, 1.0), 5)
