# SPDX-License-Identifier: Apache-2.0
"""A video inside of another file reads like the original file."""

import dataclasses
import pathlib

import numpy as np
import pytest

from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import probe
from flatten_jax.inputs.video.reader import Reader
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


def read(path, reader):
  with reader.open(path, 32) as video:
    return video.read(np.linspace(0, video.num_frames - 1, 6).astype(int))


def outcome(path):
  """Frames of a video, or the message of its error."""
  try:
    return read(path, Reader({}))
  except VideoError as error:
    return str(error)


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv'])
def test_bytes_read_like_the_file_they_came_from(tmp_path, suffix):
  path = write_video(tmp_path / f'a{suffix}', moving_square(40))
  stored = InMemory(path)
  assert probe(stored) == probe(path)
  clip = read(path, Reader({}))
  np.testing.assert_array_equal(read(stored, Reader({})), clip)
  np.testing.assert_array_equal(read(stored, Reader({}, 0.1)), clip)


@pytest.mark.slow
def test_every_real_file_reads_the_same_from_bytes(real_clips):
  """Damaged ones too, and errors have the same message."""
  for folder in ('codecs', 'broken'):
    for file in sorted((real_clips / folder).iterdir()):
      np.testing.assert_array_equal(
        outcome(InMemory(file)), outcome(file), str(file)
      )


def test_a_video_without_bytes_is_an_empty_file(tmp_path):
  (tmp_path / 'empty.mp4').touch()
  with pytest.raises(VideoError, match=r'empty\.mp4: the file is empty'):
    probe(InMemory(tmp_path / 'empty.mp4'))
