# SPDX-License-Identifier: Apache-2.0
"""Pictures are shown as players show them: upright, in their colours."""

import io

import av
import numpy as np
from PIL import Image, ImageOps
import pytest

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.video.interface import (
  FloorSide,
  LargestSide,
  scaled_shape,
)
from flatten_jax.inputs.video.read import probe
from flatten_jax.inputs.video.reader import Reader
from tests.support.cards import (
  CARD,
  COLOURS,
  ORIENTATIONS,
  patches,
  write_card,
)
from tests.support.data_facts import entries
from tests.support.video_maker import moving_square, write_video


def read(path, short_side=None, frames=(0, 2), cache=0.0):
  reader = Reader({}, cache)
  with reader.open(path, short_side) as video:
    return video.read(frames)


@pytest.mark.parametrize('container', ['mp4', 'mkv'])
@pytest.mark.parametrize('matrix', ORIENTATIONS)
def test_turned_and_mirrored_videos_are_upright(tmp_path, matrix, container):
  upright = moving_square(3, 48, 64)
  store, rotation = ORIENTATIONS[matrix]
  path = tmp_path / f'turned.{container}'
  options = {'crf': '5'}
  write_video(path, store(upright), matrix=matrix, options=options)
  clip = read(path, frames=range(3))
  assert clip.shape == upright.shape
  assert np.abs(clip.astype(int) - upright).mean() < 4
  info = probe(path)
  assert (info.height, info.width, info.rotation) == (48, 64, rotation)
  np.testing.assert_array_equal(read(path, 32), read(path, 32, cache=1.0))


@pytest.mark.parametrize('matrix', ORIENTATIONS)
def test_frames_become_of_any_size_after_they_are_upright(tmp_path, matrix):
  store, _ = ORIENTATIONS[matrix]
  path, upright = tmp_path / 'turned.mp4', moving_square(3, 48, 64)
  write_video(path, store(upright), matrix=matrix, options={'crf': '5'})
  clip = read(path, (24, 80))
  assert clip.shape == (2, 24, 80, 3)
  small = transforms.resize(upright[[0, 2]], (24, 80))
  differences = [
    np.abs(clip.astype(int) - x).mean() for x in (small, small[:, ::-1])
  ]
  assert differences[0] < 8 and differences[1] > 20
  assert read(path, 25).shape == (2, 25, 34, 3)
  assert read(path, FloorSide(25)).shape == (2, 25, 33, 3)


@pytest.mark.parametrize(
  'shape, fact', entries('data_facts_compared.json', ('short_side_256_sizes',))
)
def test_the_longer_side_is_the_official_one(shape, fact):
  shape = tuple(map(int, shape.split('x')))
  assert scaled_shape(shape, FloorSide(256)) == tuple(fact)


@pytest.mark.parametrize(
  'shape, expected',
  [
    ((720, 1280), (360, 640)),
    ((240, 321), (240, 320)),  # Not enlarged, but even.
    ((32, 1600), (28, 1440)),
    ((2000, 16), (1440, 12)),
    ((4, 99999), (2, 1440)),
  ],
)
def test_both_sides_may_be_limited(shape, expected):
  assert scaled_shape(shape, LargestSide(360)) == expected


@pytest.mark.parametrize('number', range(1, 9))
def test_frames_with_an_orientation_in_exif(tmp_path, number):
  """Motion JPEG of cameras; FFmpeg makes it a display matrix."""
  frame, encoded = moving_square(1)[0], io.BytesIO()
  exif = Image.Exif()
  exif[0x112] = number
  Image.fromarray(frame).save(encoded, 'jpeg', exif=exif, subsampling=0)
  path = tmp_path / 'camera.mjpeg'
  path.write_bytes(3 * encoded.getvalue())
  upright = np.asarray(ImageOps.exif_transpose(Image.open(encoded)))
  image = read(path)[0]
  assert image.shape == upright.shape
  assert np.abs(image.astype(int) - upright).mean() < 4


def insert_orientation(plain, told):
  """Copies H.264 with a message at keyframes: mirrored, turned by a quarter."""
  # Type 47, 3 bytes: a flag, two flips, the angle in 1 / 65536 of a full turn.
  bits = f'010{16384:016b}0101'.ljust(24, '1')
  message = bytes([6, 47, 3, *int(bits, 2).to_bytes(3), 0x80])
  is_stream = told.suffix == '.ts'  # Start codes instead of lengths.
  head = b'\0\0\0\1' if is_stream else len(message).to_bytes(4)
  with av.open(str(plain)) as source, av.open(str(told), 'w') as target:
    stream = target.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
      data = bytes(packet)
      if not data:
        continue
      new = av.Packet(head + message + data if packet.is_keyframe else data)
      new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
      new.is_keyframe, new.stream = packet.is_keyframe, stream
      target.mux(new)


@pytest.mark.parametrize('name', ['told.mp4', 'told.mkv', 'told.ts'])
def test_keyframes_tell_the_orientation_of_those_after_them(tmp_path, name):
  """A message (SEI) in H.264; FFmpeg gives it to the keyframes alone."""
  options = {'g': '10', 'bf': '2'}
  plain, told = tmp_path / f'plain_{name}', tmp_path / name
  write_video(plain, moving_square(30), options=options)
  insert_orientation(plain, told)
  upright = read(plain, None, [0, 15]).swapaxes(1, 2)
  np.testing.assert_array_equal(read(told, None, [0, 15]), upright)
  for frames in ([15], [5, 25]):
    clip = read(told, 24, frames)
    assert clip.shape[1:3] == (32, 24)
    np.testing.assert_array_equal(read(told, 24, frames, 1.0), clip)


@pytest.mark.parametrize(
  ('matrix', 'same_as'),
  [
    ((0, 0, 0, 0), (1, 0, 0, 1)),
    ((1, 0, 0, 0), (1, 0, 0, 1)),
    ((0.707, 0.707, -0.707, 0.707), (1, 0, 0, 1)),  # 45 degrees
    ((0.5, 0.866, -0.866, 0.5), (1, 0, 0, 1)),  # 60 degrees
    ((0.01, 1, -1, 0.01), (0, 1, -1, 0)),  # half a degree more
    ((0, 2, -2, 0), (0, 1, -1, 0)),
    ((-3, 0, 0, 3), (-1, 0, 0, 1)),
  ],
)
def test_odd_display_matrices(tmp_path, matrix, same_as):
  """Angles other than right ones are left alone, sizes do not matter."""
  frames = moving_square(3)
  odd = write_video(tmp_path / 'odd.mp4', frames, matrix=matrix)
  plain = write_video(tmp_path / 'plain.mp4', frames, matrix=same_as)
  clips = read(odd), read(plain)
  assert clips[0].shape == clips[1].shape
  # Encoders use several threads, so that files differ a little.
  assert np.abs(clips[0].astype(int) - clips[1]).mean() < 2
  assert probe(odd).rotation == probe(plain).rotation


def test_pixels_become_square(tmp_path):
  path = write_video(tmp_path / 'wide.mp4', moving_square(3), aspect='4/3')
  assert read(path, frames=[0]).shape == (1, 48, 85, 3)  # 64 * 4 / 3
  assert (probe(path).height, probe(path).width) == (48, 85)


def test_pixels_of_turned_videos_become_square(tmp_path):
  path = tmp_path / 'tall.mp4'
  matrix = (0, -1, -1, 0)
  write_video(path, moving_square(3), aspect='4/3', matrix=matrix)
  assert read(path, frames=[0]).shape == (1, 85, 48, 3)
  assert read(path, 24, frames=[0]).shape == (1, 42, 24, 3)
  assert (probe(path).height, probe(path).width) == (85, 48)


@pytest.mark.parametrize('name', COLOURS)
def test_colours_are_those_that_were_filmed(tmp_path, name):
  path = write_card(tmp_path / name, *COLOURS[name])
  image = read(path, frames=[1])[0]
  assert np.abs(patches(image) - CARD).max() <= 4
  np.testing.assert_array_equal(read(path, 24, [1]), read(path, 24, [1], 1.0))


def test_colours_without_tags_are_those_of_bt601(tmp_path):
  path = tmp_path / 'untagged.mp4'
  write_card(path, 'libx264', 'yuv420p', 5, 'tv', tagged=False)
  assert np.abs(patches(read(path, frames=[1])[0]) - CARD).max() <= 4


@pytest.mark.parametrize('matrix', [0, 3, 8, 10, 12, 14, 17])
def test_matrices_that_ffmpeg_does_not_convert(tmp_path, matrix):
  """YCgCo, ICtCp and such tags do not make a video unreadable."""
  path = write_card(
    tmp_path / 'odd.mp4', 'libx264', 'yuv420p', matrix, color_range='tv'
  )
  image = read(path, frames=[1])[0]
  # These are greys with any matrix.
  assert np.abs(patches(image)[0] - CARD[0]).max() <= 4


def test_the_size_may_change_within_a_video(tmp_path):
  """All frames of a clip get the size of its first, with a cache or without."""
  parts = [
    write_video(tmp_path / f'{shape}.ts', moving_square(20, *shape))
    for shape in ((48, 64), (64, 48))
  ]
  path = tmp_path / 'joined.ts'
  path.write_bytes(b''.join(part.read_bytes() for part in parts))
  cached = Reader({}, 1.0)
  for wanted, shape in (([0, 30], (24, 32)), ([30, 39], (32, 24))):
    for _ in range(2):
      with cached.open(path, 24) as video:
        clip = video.read(wanted)
      assert clip.shape[1:3] == shape
      np.testing.assert_array_equal(clip, read(path, 24, wanted))
