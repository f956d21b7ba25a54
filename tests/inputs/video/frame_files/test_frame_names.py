# SPDX-License-Identifier: Apache-2.0
"""Frames are told from other files and sorted, however they are numbered."""

import pytest

from flatten_jax.inputs.video.frame_files.frame_names import order_frames


def numbered(pattern, numbers=range(1, 13)):
  return [pattern.format(number) for number in numbers]


@pytest.mark.parametrize(
  'frames',
  [
    numbered('img_{:05d}.jpg'),
    numbered('image_{:05d}.jpeg', range(12)),
    numbered('frame{:06d}.png', range(701, 713)),
    numbered('{:05d}.webp'),
    numbered('{}.bmp', range(12)),
    numbered('img_{}.jpg'),
    numbered('IMG_{:04d}.JPG', [3, 4, 8, 15, 16, 23, 42]),
    numbered('clip.mp4_{}.jpg'),
    numbered('clip 2.{}.jpg'),
    numbered('001YG-{:06d}.jpg'),
    numbered('frame_{:03d}_320x240.jpg'),
    [*numbered('1305031102.{:06d}.png', [99, 175304]), '1305031103.000001.png'],
    [f'frame_{i}_t{i / 25:.2f}s.jpg' for i in range(12)],
    [f'frame_{i:02d}_delay-0.0{3 + i % 2}s.jpg' for i in range(12)],
    [f'{t:g}.jpg' for t in (0, 0.05, 0.25, 0.5, 0.75, 1, 1.25, 9.5, 10)],
    [f'{t}.jpg' for t in (0.0, 0.125, 0.25, 0.5, 1.0)],
    numbered('2.{}.jpg', range(8, 13)),
    numbered('2011.9.{}.jpg', [1, 6, 11]),
    numbered('кадр {}.jpg'),
    ['img_1.jpg', 'img_2.JPG', 'img_3.jpeg', 'IMG_4.png'],
    ['img_00001.jpg'],
    numbered('clip/img_{}.jpg'),
    numbered('clip 7/{:05d}.jpg'),
  ],
)
def test_frames_are_in_the_order_of_their_numbers(frames):
  strangers = [
    *('Thumbs.db', '.DS_Store', '._img_00001.jpg', 'cover.jpg', 'meta.json'),
    *('__MACOSX/clip/._img_1.jpg', 'clip/', 'audio.wav', 'notes.txt'),
  ]
  assert order_frames([*reversed(frames), *strangers]) == frames


@pytest.mark.parametrize(
  'frames, others',
  [
    ('img_{:05d}.jpg', ['flow_x_{:05d}.jpg', 'flow_y_{:05d}.jpg']),
    ('frame{:06d}.jpg', ['x_{:05d}.jpg', 'y_{:05d}.jpg']),
    ('{}.jpg', ['{}_mask.png', 'depth{}.png']),
    ('rgb/{:05d}.jpg', ['flow_x/{:05d}.jpg', 'flow_y/{:05d}.jpg']),
    ('rgb_{}.png', ['ir_{}.png', 'skeleton_{}.png']),
    ('img_{:05d}.jpg', ['thumb_{:05d}.jpg', 'video1_poster.jpg']),
  ],
)
def test_frames_are_chosen_among_flow_and_the_like(frames, others):
  names = [numbered(pattern) for pattern in (frames, *others)]
  mixed = [name for group in zip(*names, strict=True) for name in group]
  assert order_frames(mixed) == names[0]
  assert order_frames([group[0] for group in names]) == names[0][:1]


@pytest.mark.parametrize(
  'names, complaint',
  [
    ([], 'there are no frames in it; expected'),
    (['cover.jpg', 'clip.mp4'], 'no frames'),
    (numbered('cam1_{}.jpg') + numbered('cam2_{}.jpg'), 'of 2 videos: cam1_1'),
    (numbered('a/{}.jpg') + numbered('b/{}.jpg'), r'of 2 videos: a/1\.jpg'),
    (numbered('{}.jpg') + numbered('{}.png'), r'1\.jpg \(12 images\)'),
    (['a1f.jpg', 'b22c.jpg', 'c3_d.jpg'], r'not numbered: a1f\.jpg, b22c'),
    ([f'v_g01_c0{c}_{i}.jpg' for c in (1, 2, 3) for i in (1, 2)], '3 videos'),
  ],
)
def test_folders_without_frames_or_of_several_videos_are_refused(
  names, complaint
):
  with pytest.raises(ValueError, match=complaint):
    order_frames(names)
