# SPDX-License-Identifier: Apache-2.0
"""The picture of training clips that loggers get."""

import numpy as np
import pytest

from flatten_jax.training import log_pictures


class Board:
  """Notes what the loggers would get."""

  enabled = True

  def __init__(self):
    self.images = {}

  def write_images(self, step, images):
    self.images[step] = images


@pytest.mark.parametrize(
  ('clip_model', 'shape'), [('flatten', (36, 36, 3)), ('average', (32, 40, 3))]
)
def test_the_first_clips_are_drawn_as_they_are_flattened(
  clip_model, shape, config
):
  config.clip_model = clip_model
  clips = np.zeros((9, 4, 4, 4, 3), np.uint8)
  clips[0, 1] = 200  # The second frame of the first clip.
  board = Board()
  log_pictures.write_first_clips(board, {'clip': clips}, config)
  picture = board.images[1]['train/first_clips']
  assert picture.shape == shape and picture.dtype == np.uint8
  assert (picture[2:6, 6:10] == 200).all() and (picture == 200).sum() == 48
