# SPDX-License-Identifier: Apache-2.0
"""Videos are written under any name, with their colours told."""

import pathlib

import av
import numpy as np
import pytest

from flatten_jax.inputs.video.container import open_video
from flatten_jax.inputs.video.encode import write_video


@pytest.mark.parametrize('name', ['a:b', 'pipe:0', 'http:', '%03d', '\n[*]?'])
def test_a_relative_path_is_not_taken_for_an_address(
  name, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  path = pathlib.Path(name, 'clip.mp4')
  path.parent.mkdir()
  write_video(path, np.zeros((2, 32, 32, 3), np.uint8), fps=10)
  with open_video(path) as file:
    assert file.stream.frames == 2


def test_players_are_told_the_range_and_the_matrix_of_colours(tmp_path):
  path = tmp_path / 'clip.mp4'
  write_video(path, np.zeros((2, 32, 32, 3), np.uint8), fps=10)
  with av.open(str(path)) as file:
    context = file.streams.video[0].codec_context
    assert (context.color_range, context.colorspace) == (1, 5)  # tv, BT.601
