# SPDX-License-Identifier: Apache-2.0
"""Small videos that the tests encode themselves, and settings to read them."""

from fractions import Fraction
import pathlib

import av
import numpy as np
import pytest


def moving_square(num_frames, height=48, width=64, seed=0):
  """Textured frames with a square that moves. uint8 [T H W 3]."""
  rng = np.random.default_rng(seed)
  texture = rng.integers(0, 120, (height // 8, width // 8, 3), np.uint8)
  texture = texture.repeat(8, axis=0).repeat(8, axis=1)
  frames = np.stack([texture] * num_frames)
  for t, frame in enumerate(frames):
    x, y = 3 * t % (width - 10), 2 * t % (height - 10)
    frame[y : y + 10, x : x + 10] = (250, 60 + 5 * t % 180, 30)
  return frames


def write_video(
  path,
  frames,
  codec='libx264',
  pts=None,
  time_base=Fraction(1, 1000),
  rate=25,
  rotation=0,
  aspect=None,
  options=None,
  format=None,
):
  """Encodes uint8 [T H W 3]; `pts` in `time_base` makes the rate vary."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with av.open(str(path), 'w', format=format) as file:
    stream = file.add_stream(codec, rate=rate, options=options or {})
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    if aspect:
      stream.codec_context.sample_aspect_ratio = Fraction(aspect)
    if rotation:
      stream.set_display_rotation(rotation)
    if pts is not None:
      stream.codec_context.time_base = time_base
    for i, pixels in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      if pts is not None:
        frame.pts, frame.time_base = int(pts[i]), time_base
      file.mux(stream.encode(frame))
    file.mux(stream.encode())
  return path


def decode_all(path):
  """Every frame, one after the other: what all else is held against."""
  with av.open(str(path)) as container:
    return [
      frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)
    ]


SETTINGS = {
  'root': '',
  'train': '',
  'val': '',
  'test': '',
  'prefix': '',
  'class_names': '',
  'fold': -1,
  'folds': 4,
  'holdout': 0.2,
  'num_frames': 4,
  'sampling': 'segment',
  'stride': 2,
  'repeat_frame': False,
  'short_side': 0,
  'crop': 16,
  'area': (0.3, 1.0),
  'aspect': (3 / 4, 4 / 3),
  'flip': True,
  'color_jitter': 0.2,
  'num_clips': 2,
  'num_crops': 3,
}


@pytest.fixture
def settings():
  """`config.data` as a plain dict."""
  return dict(SETTINGS)


@pytest.fixture(scope='session')
def class_folder(tmp_path_factory):
  """Twelve short videos in three class folders."""
  root = tmp_path_factory.mktemp('videos')
  for label, name in enumerate(['clap', 'jump', 'wave']):
    for i in range(4):
      frames = moving_square(10 + i, 24, 32, seed=10 * label + i)
      write_video(root / name / f'{name} {i}.mp4', frames)
  return root
