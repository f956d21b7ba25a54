# SPDX-License-Identifier: Apache-2.0
"""Real videos of many codecs, phones and cameras.

They are not part of the project; without them these tests skip.
"""

import csv

import numpy as np
import pytest

from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import FrameCountCorrected, Video, probe
from tests.support.video_maker import decode_all


def probed(folder):
  """Returns what another program's full decode reports, by file."""
  with open(folder / 'probe.tsv', newline='') as file:
    return {row['file']: row for row in csv.DictReader(file, delimiter='\t')}


# The other program reads the first stream, players the larger second one.
BEST_STREAM = {'codecs/nasa_13013_2video2audio.mp4': 390}


def test_every_file_is_read_or_refused_as_expected(real_clips):
  for file, expected in probed(real_clips).items():
    frames = int(expected['decoded_frames'] or 0)
    if frames:
      info = probe(real_clips / file)
      assert info.num_frames == BEST_STREAM.get(file, frames), file
      assert info.rotation == int(expected['rotation']), file
      stopped = expected['result'].startswith('error')
      assert bool(info.damage) == stopped, file
    else:
      with pytest.raises(VideoError, match=r'no |empty'):
        probe(real_clips / file)
      with pytest.raises(VideoError, match=r'no |empty'):
        Video(real_clips / file)


# Its damaged header leads to other frames after seeking.
INEXACT = {'broken/bitflips_avi.avi'}
# Their pixels are not square, and are made so.
NOT_SQUARE = {
  'broken/bitflips_mp4.mp4',
  'codecs/h263_MOV00006.3gp',
  'codecs/mmaction2_part_0.mp4',
  'codecs/non_zero_start.mp4',
  'codecs/stgcn_clean_and_jerk.mp4',
}


def test_frames_equal_those_of_a_full_decode(real_clips):
  for file, expected in probed(real_clips).items():
    upright = expected['rotation'] == '0'
    large = int(expected['bytes']) > 600_000 or '1280' in expected['size']
    if not upright or large or file in {*INEXACT, *BEST_STREAM}:
      continue
    truth = decode_all(real_clips / file)
    rng = np.random.default_rng(0)
    for stride in (1, 7):
      start = rng.integers(len(truth))
      chosen = np.minimum(start + stride * np.arange(5), len(truth) - 1)
      with Video(real_clips / file) as video:
        try:
          clip = video.read(chosen)
        except FrameCountCorrected:
          clip = video.read(chosen)
      wanted = np.stack([truth[i] for i in chosen])
      if file not in NOT_SQUARE:
        np.testing.assert_array_equal(clip, wanted, file)


def test_frames_of_a_phone_are_turned_as_it_was_held(real_clips):
  shapes = {}
  for angle in (0, 90, 180, 270):
    with Video(real_clips / 'codecs' / f'decord_video_{angle}.mov') as video:
      shapes[angle] = video.read([0]).shape[1:3]
  assert shapes == {
    0: (320, 568),
    90: (568, 320),
    180: (320, 568),
    270: (568, 320),
  }


def test_folds_of_the_gestures_list_keep_places_apart(real_clips, settings):
  sizes = []
  for fold in range(4):
    root = str(real_clips / 'gestures' / 'clips.csv')
    splits = dataset.open_splits(settings | {'root': root, 'fold': fold})
    sizes.append(len(splits['test']))
    assert splits['train'].num_classes == 10
    assert sum(map(len, splits.values())) == 177
  assert sizes == [53, 39, 42, 43]
