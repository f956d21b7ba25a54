# SPDX-License-Identifier: Apache-2.0
"""RandAugment, compared with its definition and with Pillow."""

import pathlib

import cv2
import numpy as np
import pytest

from flatten_jax.inputs.augment import color_ops, randaugment
from flatten_jax.inputs.augment.randaugment import OPERATIONS, RandAugment

FIXTURE = pathlib.Path(__file__).parents[2] / 'fixtures' / 'randaugment.npz'
with np.load(FIXTURE) as file:
  PILLOW = dict(file)
CLIP = PILLOW.pop('clip')  # uint8 [3 24 40 3]

# By operation: its arguments at magnitude 7, as published, and those of the
# 'increasing' set where they differ. Signed ones are drawn with either sign.
AT_MAGNITUDE_7 = {
  'AutoContrast': ((), None),
  'Equalize': ((), None),
  'Invert': ((), None),
  'Rotate': ((21.0, -21.0), None),  # of 30 degrees
  'Posterize': ((2,), (2,)),  # of 4 bits; 4 - 2
  'Solarize': ((179,), (77,)),  # of 256; 256 - 179
  'SolarizeAdd': ((77,), None),  # of 110
  'Color': ((1.36,), (1.63, 0.37)),  # 0.1 + 1.8 * 0.7; 1 +- 0.9 * 0.7
  'Contrast': ((1.36,), (1.63, 0.37)),
  'Brightness': ((1.36,), (1.63, 0.37)),
  'Sharpness': ((1.36,), (1.63, 0.37)),
  'ShearX': ((0.21, -0.21), None),  # of 0.3
  'ShearY': ((0.21, -0.21), None),
  'TranslateX': ((0.315, -0.315), None),  # of 0.45 of the width
  'TranslateY': ((0.315, -0.315), None),
}


def test_there_are_the_fifteen_published_operations():
  assert OPERATIONS.keys() == AT_MAGNITUDE_7.keys()
  assert len(OPERATIONS) == 15


@pytest.mark.parametrize('increasing', [False, True])
@pytest.mark.parametrize('name', AT_MAGNITUDE_7)
def test_magnitudes_have_their_published_meaning(name, increasing):
  usual, other = AT_MAGNITUDE_7[name]
  expected = other if increasing and other else usual
  operation = OPERATIONS[name]
  spied = randaugment.Operation(
    lambda clip, *argument: argument, operation.argument, operation.increasing
  )
  for i, sign in enumerate((1, -1)):
    argument = spied(CLIP, 7.0, sign, increasing)
    assert len(argument) == bool(expected)
    if expected:
      assert argument[0] == pytest.approx(expected[i % len(expected)])


def test_increasing_operations_change_nothing_at_magnitude_0():
  for name in ('Solarize', 'Color', 'Contrast', 'Brightness', 'Sharpness'):
    out = OPERATIONS[name](CLIP, 0.0, 1, True)
    np.testing.assert_array_equal(out, CLIP, name)


@pytest.mark.parametrize('case', PILLOW)
def test_operations_equal_those_of_pillow(case):
  name, *argument = case.split()
  convert = int if name in ('posterize', 'solarize', 'solarize_add') else float
  before = CLIP.copy()
  ours = getattr(color_ops, name)(CLIP, *map(convert, argument))
  assert ours.dtype == np.uint8 and ours.shape == CLIP.shape
  np.testing.assert_array_equal(CLIP, before)
  difference = np.abs(ours.astype(int) - PILLOW[case])
  if name in ('rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'):
    # At the edges of a frame, Pillow cuts and OpenCV blends with the fill.
    inside = warped(name, *map(float, argument))
    assert inside.mean() > 0.4
    assert (ours[:, ~grown(inside)] == 128).all()
    assert (PILLOW[case][:, ~grown(inside)] == 128).all()
    difference = difference[:, inside]
  # Pillow truncates and OpenCV rounds.
  assert difference.max() <= 1


def warped(name, argument) -> np.ndarray:
  """Returns the mask of pixels that show only the frame [H W]."""
  white = np.full((1, *CLIP.shape[1:]), 255, np.uint8)
  return getattr(color_ops, name)(white, argument)[0, ..., 0] == 255


def grown(mask: np.ndarray) -> np.ndarray:
  return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0


def test_posterizing_to_zero_bits_gives_black():
  """Pillow did so when the operation was published; now it refuses."""
  assert not color_ops.posterize(CLIP, 0).any()


def test_flat_frames_are_unchanged_by_histogram_operations():
  flat = np.full((2, 8, 8, 3), 77, np.uint8)
  np.testing.assert_array_equal(color_ops.autocontrast(flat), flat)
  np.testing.assert_array_equal(color_ops.equalize(flat), flat)


def test_the_notation_of_timm_is_parsed():
  parse = RandAugment.parse
  assert parse('rand-m7-n4-mstd0.5-inc1') == RandAugment(7, 4, 0.5, True, 0.5)
  assert parse('rand-m5-n2-mstd0.25') == RandAugment(5, 2, 0.25, False, 0.5)
  assert parse('rand-n1-m9.5-p0.9-inc0') == RandAugment(9.5, 1, 0, False, 0.9)
  assert parse('rand') == RandAugment(10, 2)


@pytest.mark.parametrize(
  'text',
  [
    'm7-n4',
    'augmix-m3',
    'rand-m7-x2',
    'rand-m',
    'rand-m11',
    'rand-n1.5',
    'rand-p2',
  ],
)
def test_other_notation_is_refused_with_an_example(text):
  with pytest.raises(ValueError, match=f'rand-m7-n4-mstd0.5-inc1.*{text}'):
    RandAugment.parse(text)


def test_operations_are_drawn_as_published(monkeypatch):
  """Each with p; uniformly, with replacement; noisy magnitudes; both signs."""
  drawn = []

  def spy(name):
    def operation(clip, magnitude, sign, increasing):
      drawn.append((name, magnitude, sign, increasing))
      return clip

    return operation

  operations = {name: spy(name) for name in OPERATIONS}
  monkeypatch.setattr(randaugment, 'OPERATIONS', operations)
  augment = RandAugment.parse('rand-m7-n4-mstd0.5-inc1')
  rng = np.random.default_rng(0)
  for _ in range(4000):
    augment(CLIP[:1, :1, :1], rng)
  names, magnitudes, signs, increasing = zip(*drawn, strict=True)
  assert abs(len(drawn) / 16000 - 0.5) < 0.02
  counts = [names.count(name) / len(drawn) for name in OPERATIONS]
  np.testing.assert_allclose(counts, 1 / 15, atol=0.012)
  assert abs(np.mean(magnitudes) - 7) < 0.03
  assert abs(np.std(magnitudes) - 0.5) < 0.03
  assert abs(np.mean(signs)) < 0.05
  assert all(increasing)
  drawn.clear()
  for _ in range(200):
    RandAugment(10, 4, 2.0)(CLIP[:1, :1, :1], rng)
  assert max(magnitude for _, magnitude, _, _ in drawn) == 10


def test_all_frames_of_a_clip_get_the_same_draw():
  still = np.repeat(CLIP[:1], 3, axis=0)
  augment = RandAugment.parse('rand-m7-n4-mstd0.5-inc1')
  changed = 0
  for seed in range(40):
    out = augment(still, np.random.default_rng(seed))
    np.testing.assert_array_equal(out[0], out[-1])
    again = augment(still, np.random.default_rng(seed))
    np.testing.assert_array_equal(out, again)
    changed += (out != still).any()
  assert changed > 25
