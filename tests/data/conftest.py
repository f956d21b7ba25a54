# SPDX-License-Identifier: Apache-2.0
"""Small videos, encoded once, for miniatures of published data sets."""

import pytest

from tests.support.dataset_maker import Placer
from tests.support.video_maker import moving_square, write_video

CODECS = {'.mp4': 'libx264', '.avi': 'mpeg4', '.webm': 'libvpx-vp9'}


@pytest.fixture(scope='session')
def originals(tmp_path_factory):
  """{suffix: three different videos}."""
  root = tmp_path_factory.mktemp('originals')
  return {
    suffix: [
      write_video(root / f'{seed}{suffix}', moving_square(12, seed=seed), codec)
      for seed in range(3)
    ]
    for suffix, codec in CODECS.items()
  }


@pytest.fixture
def place(originals):
  return Placer(originals)
