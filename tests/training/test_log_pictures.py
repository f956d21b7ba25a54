# SPDX-License-Identifier: Apache-2.0
"""The pictures and scores that loggers get from a run."""

import types

import numpy as np
import pytest

from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.training import log_pictures


class Board:
  """Notes what the loggers would get."""

  enabled = True

  def __init__(self):
    self.scores, self.images = {}, {}

  def write_scores(self, step, values):
    self.scores[step] = values

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


def test_the_test_is_logged_with_its_confusion_matrix(tmp_path):
  names = ('a $ b', '日本', 'c' * 99)
  logits = np.eye(3, dtype=np.float32)[[0, 1, 1]]
  Predictions(
    np.array(list('xyz')), np.arange(3), logits, np.ones(3, bool), names
  ).save(tmp_path / 'predictions_test.npz')
  scores = {'top1': 66.7, 'top5': 100.0, 'mean_class': 66.7}
  board = Board()
  log_pictures.write_test(
    board, tmp_path, scores | {'step': 9, 'name': 'test', 'views': '3x10'}
  )
  assert board.scores == {9: {f'test/{k}': v for k, v in scores.items()}}
  picture = board.images[9]['test/confusion']
  assert picture.dtype == np.uint8 and picture.shape[2] == 3
  assert len(np.unique(picture)) > 10
  log_pictures.write_test(types.SimpleNamespace(enabled=False), tmp_path, {})


def test_many_classes_have_a_picture_without_names():
  picture = log_pictures.confusion(
    np.eye(400, dtype=int), tuple(map(str, range(400)))
  )
  assert max(picture.shape) <= 1200
