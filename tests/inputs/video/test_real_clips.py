# SPDX-License-Identifier: Apache-2.0
"""Real videos: every codec, phone and camera that we could get hold of.

They are not part of the project; without them these tests skip.
"""

import csv

import numpy as np
import pytest

from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.video.read import VideoError, probe, read_clip
from tests.support.video_maker import decode_all


def probed(folder):
  """What another program's full decode reports, by file."""
  with open(folder / 'probe.tsv', newline='') as file:
    return {row['file']: row for row in csv.DictReader(file, delimiter='\t')}


def test_every_file_is_read_or_refused_as_it_should_be(real_clips):
  for file, expected in probed(real_clips).items():
    frames = int(expected['decoded_frames'] or 0)
    if frames:
      info = probe(real_clips / file)
      assert info.num_frames == frames, file
      assert info.rotation == int(expected['rotation']), file
      stopped = expected['result'].startswith('error')
      assert bool(info.damage) == stopped, file
    else:
      with pytest.raises(VideoError, match=r'no |empty'):
        probe(real_clips / file)
      with pytest.raises(VideoError, match=r'no |empty'):
        read_clip(real_clips / file, lambda num_frames, fps: [0])


# A damaged header upsets the decoder for good, and differently after seeking.
INEXACT = {'broken/bitflips_avi.avi'}


def test_frames_are_those_of_a_full_decode(real_clips):
  for file, expected in probed(real_clips).items():
    upright = expected['rotation'] == '0'
    large = int(expected['bytes']) > 600_000 or '1280' in expected['size']
    if not upright or large or file in INEXACT:
      continue
    truth = decode_all(real_clips / file)
    rng = np.random.default_rng(0)
    for stride in (1, 7):
      chosen = []

      def choose(num_frames, fps, rng=rng, stride=stride, chosen=chosen):
        start = rng.integers(num_frames)
        chosen[:] = np.minimum(start + stride * np.arange(5), num_frames - 1)
        return chosen

      clip = read_clip(real_clips / file, choose)
      wanted = np.stack([truth[i] for i in chosen])
      if clip.shape == wanted.shape:  # Not where pixels are no squares.
        np.testing.assert_array_equal(clip, wanted, file)


def test_a_phone_s_picture_has_the_shape_of_how_it_was_held(real_clips):
  shapes = {
    angle: read_clip(
      real_clips / 'codecs' / f'decord_video_{angle}.mov', lambda n, fps: [0]
    ).shape[1:3]
    for angle in (0, 90, 180, 270)
  }
  assert shapes == {
    0: (320, 568),
    90: (568, 320),
    180: (320, 568),
    270: (568, 320),
  }


def test_the_gestures_list_divides_by_place(real_clips, settings):
  sizes = []
  for fold in range(4):
    root = str(real_clips / 'gestures' / 'clips.csv')
    splits = dataset.open_splits(settings | {'root': root, 'fold': fold})
    sizes.append(len(splits['test']))
    assert splits['train'].num_classes == 10
    assert sum(map(len, splits.values())) == 177
  assert sizes == [53, 39, 42, 43]
