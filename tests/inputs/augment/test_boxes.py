# SPDX-License-Identifier: Apache-2.0
"""Crops have the sizes and places of the systems that they are named after."""

import numpy as np
import pytest

from flatten_jax.inputs.augment import boxes, transforms
from flatten_jax.inputs.augment.boxes import ALL_PLACES
from tests.support.data_facts import entries

SHARES = (0.66, 0.75, 0.875, 1.0)


def shape_of(text):
  """Returns [H W] of 'WxH'."""
  width, height = map(int, text.split('x'))
  return height, width


def flipped(pairs):
  """Returns (top, left) of (x, y), or the other way around."""
  return [tuple(pair[::-1]) for pair in pairs]


TDN = 'data_facts_tdn_msnet_two_stream.json'
COMPARED = 'data_facts_compared.json'


@pytest.mark.parametrize('frame, fact', entries(TDN, ('multiscale_crop_w_h',)))
def test_boxes_of_several_scales_are_the_official_ones(frame, fact):
  shape = shape_of(frame)
  sizes = boxes.multi_scale_sizes(shape, 224, SHARES)
  expected = flipped(fact['sizes_w_h'])
  assert sorted(sizes) == sorted(expected)
  places = boxes.crop_places(shape, expected[0], ALL_PLACES, steps=4)
  assert places == flipped(fact['offsets_of_first_size'])


@pytest.mark.parametrize(
  'crop, fact', entries(COMPARED, ('tsn_fixed_offsets_w_h',))
)
def test_places_of_tsn_are_the_official_ones(crop, fact):
  shape, sides = (shape_of(text) for text in crop.split('_crop_'))
  places = boxes.crop_places(shape, sides, ALL_PLACES, steps=4)
  assert places == flipped(fact)
  first = boxes.crop_places(shape, sides, ALL_PLACES[:5], steps=4)
  assert first == places[:5]


@pytest.mark.parametrize(
  'key, fact', entries(COMPARED, ('three_crops_256_top_left_rows_cols',))
)
def test_three_crops_of_slowfast_are_the_official_ones(key, fact):
  height, width = map(int, key.split('x'))
  assert corners((height, width), 256, 3) == [tuple(pair) for pair in fact]


@pytest.mark.parametrize('key, fact', entries(TDN, ('three_crop_offsets_x_y',)))
def test_three_crops_of_tdn_are_the_official_ones(key, fact):
  """The official order is left, right, centre."""
  frame, size = key.split(' crop ')
  left, centre, right = corners(shape_of(frame), int(size), 3, steps=4)
  assert [left, right, centre] == flipped(fact)


def corners(shape, size, num_crops, steps=0):
  """Returns (top, left) of test crops."""
  rows, columns = np.indices(shape, np.int16)
  clip = np.stack([rows, columns, rows], axis=-1)[None]
  crops = transforms.test_crops(clip, size, num_crops, steps)
  assert {crop.shape for crop in crops} == {(1, size, size, 3)}
  return [tuple(crop[0, 0, 0, :2].tolist()) for crop in crops]


@pytest.mark.parametrize(
  ('shape', 'size', 'num_crops', 'steps', 'expected'),
  [
    # ViViT's: short side 256, three crops of 224, halves rounded up.
    ((256, 341), 224, 3, 0, [(16, 0), (16, 59), (16, 117)]),
    ((341, 256), 224, 3, 0, [(0, 16), (59, 16), (117, 16)]),
    ((257, 257), 224, 3, 0, [(17, 0), (17, 17), (17, 33)]),
    ((256, 341), 224, 1, 0, [(16, 59)]),  # VTN's.
    ((224, 299), 224, 3, 0, [(0, 0), (0, 38), (0, 75)]),
    # torchvision's centre, of TSM and TDN: halves rounded to even.
    ((256, 341), 224, 1, 4, [(16, 58)]),
    ((256, 343), 224, 1, 4, [(16, 60)]),
    # video-nonlocal-net's: whole halves.
    ((256, 341), 256, 3, 2, [(0, 0), (0, 42), (0, 84)]),
  ],
)
def test_crops_are_in_the_middle_of_the_short_side(
  shape, size, num_crops, steps, expected
):
  assert corners(shape, size, num_crops, steps) == expected


def test_crops_run_from_edge_to_edge():
  wide = np.arange(12, dtype=np.uint8)[None, None, :, None] * np.ones(
    (2, 4, 1, 3), np.uint8
  )
  crops = transforms.test_crops(wide, 4, 3)
  assert [list(crop[0, 0, :, 0]) for crop in crops] == [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [8, 9, 10, 11],
  ]
  (centre,) = transforms.test_crops(wide, 4, 1)
  np.testing.assert_array_equal(centre, crops[1])
  high = wide.swapaxes(1, 2)
  for ours, theirs in zip(
    transforms.test_crops(high, 4, 3), crops, strict=True
  ):
    np.testing.assert_array_equal(ours.swapaxes(1, 2), theirs)


def test_ten_crops_are_the_corners_and_the_centre_and_their_mirror_images():
  rng = np.random.default_rng(0)
  clip = rng.integers(0, 256, (2, 12, 17, 3), np.uint8)
  crops = transforms.test_crops(clip, 8, 10)
  places = [(0, 0), (0, 9), (4, 0), (4, 9), (2, 5)]
  for (top, left), crop, image in zip(
    places, crops[:5], crops[5:], strict=True
  ):
    expected = clip[:, top : top + 8, left : left + 8]
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(image, expected[:, :, ::-1])


def test_boxes_of_several_scales_are_drawn_alike():
  rng = np.random.default_rng(0)
  drawn = [
    boxes.multi_scale_box((256, 340), 224, SHARES, 5, rng) for _ in range(2000)
  ]
  sizes = [tuple(s.stop - s.start for s in box) for box in drawn]
  expected = boxes.multi_scale_sizes((256, 340), 224, SHARES)
  assert set(sizes) == set(expected) and len(expected) == 10
  assert min(sizes.count(size) for size in expected) > 140
  places = [(rows.start, columns.start) for rows, columns in drawn]
  whole = [p for p, s in zip(places, sizes, strict=True) if s == (168, 168)]
  assert set(whole) == {(0, 0), (0, 172), (88, 0), (88, 172), (44, 86)}


@pytest.mark.parametrize('short', [1, 2, 111, 222, 223, 224, 225])
def test_boxes_of_several_scales_fit_into_a_frame_of_any_size(short):
  sizes = boxes.multi_scale_sizes((short, 300), 224, SHARES)
  assert min(map(min, sizes)) == max(int(0.66 * short), 1)
  assert max(map(max, sizes)) == (224 if short == 225 else short)
  for seed in range(50):
    rng = np.random.default_rng(seed)
    rows, columns = boxes.multi_scale_box((short, 300), 224, SHARES, 13, rng)
    assert 0 <= rows.start < rows.stop <= short
    assert (rows.stop - rows.start, columns.stop - columns.start) in sizes


def test_crops_of_a_smaller_clip_are_refused():
  with pytest.raises(ValueError, match='32 x 32 or more, not 30 x 40'):
    transforms.test_crops(np.zeros((1, 30, 40, 3), np.uint8), 32, 3)
