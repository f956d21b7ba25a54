# SPDX-License-Identifier: Apache-2.0
"""The embedded set whose videos have several labels."""

import collections

import numpy as np
import pytest

from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.synthetic import motion_clips, several_motions
from flatten_jax.inputs.synthetic.motion import CLASSES


def test_videos_have_none_one_or_two_different_motions():
  rng = np.random.default_rng(0)
  drawn = [several_motions.draw(rng) for _ in range(1000)]
  assert all(len(set(names)) == len(names) for names in drawn)
  sizes = collections.Counter(map(len, drawn))
  for size, share in {0: 0.1, 1: 0.3, 2: 0.6}.items():
    assert sizes[size] / 1000 == pytest.approx(share, abs=0.05)
  classes = {name for names in drawn for name in names}
  assert classes == set(CLASSES) - {'starts', 'stops'}


def test_each_motion_takes_its_part_of_the_frames():
  frames = several_motions.render(
    ('left', 'up'), np.random.default_rng(0), 9, 32
  )
  assert frames.shape == (9, 32, 32, 3) and frames.dtype == np.uint8
  change = np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3))
  assert change.argmax() == 3  # The fifth frame begins another scene.


def test_without_labels_nothing_moves():
  frames = several_motions.render((), np.random.default_rng(0), 9, 32)
  assert (frames == frames[0]).all()


def test_the_set_is_read_with_its_lists(tmp_path, settings):
  options = {'size': 32, 'num_frames': 4, 'processes': 1, 'progress': False}
  root = motion_clips.make(
    tmp_path / 'set', motions='several', train=60, val=20, test=20, **options
  )
  assert motion_clips.make(
    root, motions='several', train=60, val=20, test=20, **options
  )
  data = settings | {'root': str(root), 'multi_label': True}
  splits = dataset.open_splits(data)
  assert [len(splits[s]) for s in ('train', 'val', 'test')] == [60, 20, 20]
  assert splits['train'].class_names == several_motions.CLASSES
  counts = splits['train'].targets().sum(-1)
  assert set(counts.tolist()) == {0, 1, 2}
  with pytest.raises(FileExistsError, match='motions several, not'):
    motion_clips.make(root, train=60, val=20, test=20, **options)
