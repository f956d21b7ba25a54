# SPDX-License-Identifier: Apache-2.0
"""A video inside of something else reads like the file that it was."""

import dataclasses
import pathlib

import numpy as np
import pytest

from flatten_jax.inputs.video.frame_cache import FrameCache
from flatten_jax.inputs.video.read import VideoError, probe, read_clip
from tests.support.video_maker import moving_square, write_video


@dataclasses.dataclass(frozen=True)
class InMemory:
  file: pathlib.Path

  @property
  def suffix(self):
    return self.file.suffix

  def read(self):
    return self.file.read_bytes()

  def __str__(self):
    return str(self.file)


def choose(count, fps):
  return np.linspace(0, count - 1, 6).astype(int)


def outcome(function, *args):
  try:
    return function(*args)
  except VideoError as error:
    return str(error)


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv'])
def test_bytes_read_like_the_file_they_came_from(tmp_path, suffix):
  path = write_video(tmp_path / f'a{suffix}', moving_square(40))
  stored = InMemory(path)
  assert probe(stored) == probe(path)
  clip = read_clip(path, choose, 32)
  np.testing.assert_array_equal(read_clip(stored, choose, 32), clip)
  cached = FrameCache(0.1).read_clip(stored, choose, 32)
  np.testing.assert_array_equal(cached, clip)


@pytest.mark.slow
def test_every_real_file_reads_the_same_from_bytes(real_clips):
  """Damaged ones too, down to the words of the error."""

  def begin(count, fps):
    return [0, min(count - 1, 9)]

  for folder in ('codecs', 'broken'):
    for file in sorted((real_clips / folder).iterdir()):
      read, expected = (
        outcome(read_clip, path, begin, 32) for path in (InMemory(file), file)
      )
      np.testing.assert_array_equal(read, expected, str(file))


def test_no_bytes_are_an_empty_file(tmp_path):
  (tmp_path / 'empty.mp4').touch()
  with pytest.raises(VideoError, match=r'empty\.mp4: the file is empty'):
    probe(InMemory(tmp_path / 'empty.mp4'))
