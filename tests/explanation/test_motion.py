# SPDX-License-Identifier: Apache-2.0
"""The share of heat on what moves, and what it says in words."""

import numpy as np
import pytest

from flatten_jax.explanation import motion


def test_what_changes_moves_in_the_frames_before_and_after():
  clip = np.zeros((3, 64, 64, 3), np.uint8)
  clip[2, 32, 32] = 255
  moving = motion.moving_pixels(clip)
  assert not moving[0].any()
  assert moving[1, 32, 32] and moving[2, 30, 34] and not moving[2, 20, 32]


def test_the_share_of_heat_on_what_moves():
  moving = np.zeros((1, 2, 2), bool)
  moving[0, 0, 0] = True
  assert motion.share_on(moving, np.array([[[3.0, 1], [0, 0]]])) == 0.75
  assert motion.share_on(moving, np.zeros((1, 2, 2))) is None


@pytest.mark.parametrize(
  ('chance', 'share', 'words'),
  [
    (0.2, 0.5, 'At its clearest the heat is 2.5 times as much'),
    (0.2, 0.24, 'The heat is hardly more on what moves than elsewhere'),
    (0.2, None, 'The heat is hardly more on what moves than elsewhere'),
    (0.8, 0.9, 'So much of the picture moves'),
  ],
)
def test_a_sentence_says_what_the_share_means(chance, share, words):
  row = {'moving': chance, 'heat_on_motion': [{'Grad-CAM': share}]}
  *lines, meaning = motion.in_words(motion.mean_shares([row]))
  assert meaning.startswith(words)
  assert lines[0].startswith(f'Moving pixels cover {100 * chance:.1f} %')


def test_clips_without_motion_have_no_share():
  (line,) = motion.in_words(motion.mean_shares([{'moving': 0}]))
  assert line == 'No motion between the frames of these clips'
