# SPDX-License-Identifier: Apache-2.0
"""Re-encoded videos look like their sources."""

import av
import numpy as np
import pytest

from data.media import Treatment
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.read import Video, probe
from tests.support.cards import COLOURS, ORIENTATIONS, patches, write_card
from tests.support.video_maker import (
  moving_square,
  write_frames,
  write_video,
)


def prepare(path, **treatment):
  """Treats a video, and returns the path of a file with the result."""
  data, suffix = Treatment(**treatment)(str(path))
  stored = path.with_name(f'stored{suffix}')
  stored.write_bytes(data)
  return stored


def read(path):
  with Video(path) as video:
    return video.read(range(video.num_frames))


@pytest.mark.parametrize('matrix', ORIENTATIONS)
def test_turned_and_mirrored_videos_are_stored_upright(tmp_path, matrix):
  upright = moving_square(3, 48, 68)
  store, rotation = ORIENTATIONS[matrix]
  path = tmp_path / 'turned.mp4'
  options = {'crf': '5'}
  write_video(path, store(upright), matrix=matrix, options=options)
  stored = prepare(path, short_side=48, crf=5)
  with av.open(str(stored)) as file:
    plain = next(file.decode(video=0)).to_ndarray(format='rgb24')
  np.testing.assert_array_equal(read(stored)[0], plain)
  assert np.abs(read(stored).astype(int) - upright).mean() < 4
  assert probe(stored).rotation == 0
  assert probe(prepare(path)).rotation == rotation


@pytest.mark.parametrize('name', [*COLOURS, 'gray.mp4', 'gray_full.mp4'])
def test_colours_stay_and_are_tagged(tmp_path, name):
  gray = 'libx264', 'gray', 5, 'pc' if name == 'gray_full.mp4' else None
  kind = COLOURS.get(name, gray)
  path = write_card(tmp_path / name, *kind)
  stored = prepare(path, short_side=48, crf=4)
  before, after = (patches(read(path)[1]) for path in (path, stored))
  assert np.abs(after - before).max() <= 3
  with av.open(str(stored)) as file:
    context = file.streams.video[0].codec_context
    assert context.pix_fmt == 'yuv420p'
    assert context.color_range == 1  # Limited.
    assert context.colorspace == {6: 5, None: 5}.get(kind[2], kind[2])


def test_pixels_of_turned_videos_are_stored_square(tmp_path):
  path = tmp_path / 'tall.mp4'
  frames, matrix = moving_square(3, 48, 64), (0, -1, -1, 0)
  write_video(path, frames, aspect='4/3', matrix=matrix)
  info = probe(prepare(path, short_side=24))
  assert (info.width, info.height, info.rotation) == (24, 42, 0)


@pytest.mark.parametrize('rate', [0.0003, 0.4, 30000 / 1001])
def test_frames_of_a_list_keep_their_rate(tmp_path, rate):
  folder = write_frames(tmp_path / 'frames', moving_square(4))
  data, suffix = Treatment()(FramesPath(str(folder), fps=rate))
  stored = tmp_path / f'stored{suffix}'
  stored.write_bytes(data)
  with Video(stored) as video:
    np.testing.assert_allclose(video.times, np.arange(5) / rate, 1e-4, 1e-3)
