# SPDX-License-Identifier: Apache-2.0
"""A folder or zip file of frames is read like a video file."""

import os
import time
import zipfile

import numpy as np
from PIL import Image
import pytest

from flatten_jax.inputs import parts
from flatten_jax.inputs.pipeline import train_batches
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError, VideoTimeout
from flatten_jax.inputs.video.frame_files import frame_names, still_images
from flatten_jax.inputs.video.frame_files.frame_folder import (
  FrameFolder,
  FramesPath,
)
from flatten_jax.inputs.video.read import Video
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import (
  moving_square,
  write_frames,
  write_video,
  zip_frames,
)

FRAMES = moving_square(12)


@pytest.fixture
def folder(tmp_path):
  return write_frames(tmp_path / 'v', FRAMES, 'img_{:05d}.png')


def read(folder, frames=(0, 11, 5, 5), short_side=None, **path):
  with FrameFolder(FramesPath(str(folder), **path), short_side) as video:
    return video.read(frames)


# --- Reading ------------------------------------------------------------------


@pytest.mark.parametrize('num_frames', [4, 40])
def test_a_clip_of_frames_is_the_clip_of_their_video(
  tmp_path, settings, num_frames
):
  path = write_video(tmp_path / 'v.mp4', moving_square(30, 48, 64))
  with Video(path) as video:
    frames, times = video.read(range(30)), video.times
  folder = write_frames(tmp_path / 'v', frames, 'img_{:05d}.png')
  archive = zip_frames(folder, tmp_path / 'v.zip')
  settings |= {'num_frames': num_frames}
  for start, end in ((0.0, 0.0), (0.2, 0.9)):
    clips = []
    for place in (path, FramesPath(str(folder)), FramesPath(str(archive))):
      videos = Videos((Record('v', place, 0, start, end),), ('a', 'b'))
      clips.append(
        parts.read_clip(
          Reader(settings),
          videos[0],
          None,
          lambda part: np.arange(0, part.length, 3),
        )[0]
      )
    np.testing.assert_array_equal(clips[0], clips[1])
    np.testing.assert_array_equal(clips[0], clips[2])
  with FrameFolder(FramesPath(str(folder))) as opened:
    np.testing.assert_allclose(opened.times, times)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp', 'JPEG'])
def test_frames_are_read_like_still_images(tmp_path, suffix):
  folder = write_frames(tmp_path / 'v', FRAMES, f'img_{{}}.{suffix}')
  for short_side in (None, (20, 50), 20):
    clip = read(folder, short_side=short_side)
    for image, number in zip(clip, (1, 12, 6, 6), strict=True):
      want = still_images.read(folder / f'img_{number}.{suffix}', short_side)
      np.testing.assert_array_equal(image, want[0])
  assert clip.shape == (4, 20, 27, 3)


def test_only_wanted_frames_are_opened(tmp_path, monkeypatch):
  folder = tmp_path / 'v'
  write_frames(folder, FRAMES[:1], '{:05d}.jpg')
  content = (folder / '00001.jpg').read_bytes()
  for number in range(2, 3001):
    (folder / f'{number:05d}.jpg').write_bytes(content)
  calls, listdir, scandir = [], os.listdir, os.scandir

  def note(call):
    return lambda path, *args: calls.append(str(path)) or call(path, *args)

  with monkeypatch.context() as patched:
    patched.setattr(os, 'listdir', note(listdir))
    patched.setattr(os, 'scandir', note(scandir))
    patched.setattr('builtins.open', note(open))
    clip = read(folder, np.arange(0, 3000, 350))
  assert clip.shape == (9, 48, 64, 3)
  files = [folder / f'{i + 1:05d}.jpg' for i in range(0, 3000, 350)]
  assert calls == [str(folder), *map(str, files)]


def test_the_orientation_of_a_camera_is_respected(tmp_path):
  exif = Image.Exif()
  exif[274] = 6  # To be turned clockwise.
  folder = write_frames(tmp_path / 'v', FRAMES, '{}.png', exif=exif)
  np.testing.assert_array_equal(
    read(folder, [0]), np.rot90(FRAMES[:1], -1, axes=(1, 2))
  )


def test_a_list_can_name_the_part_that_is_the_video(folder):
  path = FramesPath(str(folder), fps=10.0, skip=2, claimed=5)
  with FrameFolder(path) as video:
    assert (video.num_frames, video.times[-1]) == (5, 0.5)
    np.testing.assert_array_equal(video.read([0, 4]), FRAMES[[2, 6]])
    with pytest.raises(IndexError, match='has 5'):
      video.read([5])


@pytest.mark.parametrize('claimed, count', [(13, 12), (11, 11), (None, 12)])
def test_the_smaller_of_two_numbers_of_frames_counts(folder, claimed, count):
  with FrameFolder(FramesPath(str(folder), claimed=claimed)) as video:
    assert video.num_frames == count


@pytest.mark.parametrize('inside', ['', 'v/', 'frames of v/rgb/'])
def test_a_zip_file_may_hold_a_folder(folder, tmp_path, inside):
  archive = zip_frames(folder, tmp_path / 'v.ZIP', inside)
  np.testing.assert_array_equal(read(archive), FRAMES[[0, 11, 5, 5]])


def test_frames_may_be_in_a_folder_of_their_own(tmp_path):
  write_frames(tmp_path / 'v' / 'flow_x', FRAMES[::-1], '{}.png')
  write_frames(tmp_path / 'v' / 'rgb', FRAMES, '{}.png')
  np.testing.assert_array_equal(read(tmp_path / 'v', [3]), FRAMES[3:4])


# --- Damage -------------------------------------------------------------------


def truncate(path):
  path.write_bytes(path.read_bytes()[:200])


def empty(path):
  path.write_bytes(b'')


def enlarge(path):
  Image.open(path).resize((80, 60)).save(path)


def replace_by_a_folder(path):
  path.unlink()
  path.mkdir()


@pytest.mark.parametrize(
  'damage, complaint',
  [
    (truncate, r'v: img_00006\.png is damaged'),
    (empty, r'v: img_00006\.png is empty'),
    (enlarge, r'v: img_00006\.png has 80 x 60 pixels and other frames 64 x 48'),
    (replace_by_a_folder, r'v: img_00006\.png: Is a directory'),
  ],
)
def test_a_damaged_frame_is_named_if_it_is_wanted(folder, damage, complaint):
  damage(folder / 'img_00006.png')
  with pytest.raises(VideoError, match=complaint):
    read(folder, [0, 5])
  np.testing.assert_array_equal(read(folder, [4, 6]), FRAMES[[4, 6]])


def test_videos_with_a_damaged_frame_are_replaced_in_training(
  folder, tmp_path, settings
):
  bad = write_frames(tmp_path / 'bad', FRAMES[:1])
  truncate(bad / 'img_00001.jpg')
  records = (
    Record('good', FramesPath(str(folder)), 0),
    Record('bad', FramesPath(str(bad)), 1),
  )
  with train_batches(
    Videos(records, ('x', 'y')), settings, seed=0, batch_size=2
  ) as batches:
    batch = next(batches)
  assert batch['index'].tolist() == [0, 0]
  assert any(b'img_00001.jpg is damaged' in error for error in batch['error'])


@pytest.mark.parametrize(
  'path, complaint',
  [
    ({'claimed': 0}, 'its list claims 0 frames'),
    ({'claimed': -1}, 'its list claims -1 frames'),
    ({'skip': 12}, 'no frames after 12'),
  ],
)
def test_a_part_without_frames_is_refused(folder, path, complaint):
  with pytest.raises(VideoError, match=complaint):
    read(folder, **path)


def test_zip_files_that_cannot_be_read_are_named(folder, tmp_path):
  archive = zip_frames(folder, tmp_path / 'v.zip')
  content = bytearray(archive.read_bytes())
  content[60:90] = bytes(30)  # In the first frame.
  archive.write_bytes(content)
  with pytest.raises(VideoError, match=r'img_00001\.png: Bad CRC-32'):
    read(archive)
  packed = tmp_path / 'lzma.zip'
  with zipfile.ZipFile(packed, 'w', zipfile.ZIP_LZMA) as file:
    for number in range(1, 13):
      file.writestr(f'img_{number:05d}.jpg', bytes(1000))
  damaged = bytearray(packed.read_bytes())
  damaged[52:60] = b'\xff' * 8
  packed.write_bytes(damaged)
  with pytest.raises(VideoError, match=r'img_00001\.jpg: '):
    read(packed)
  archive.write_bytes(content[:500])
  with pytest.raises(VideoError, match=r'v\.zip: File is not a zip file'):
    read(archive)
  with pytest.raises(VideoError, match=r'none: No such file'):
    read(tmp_path / 'none')


@pytest.mark.parametrize(
  'before, after',
  [
    ('é'.encode(), b'\xd6\xd0'),  # Names in GBK, said to be UTF-8.
    (b'PK\x01\x02\x14\x03\x14', b'PK\x01\x02\x14\x03\x94'),  # Version 14.8.
  ],
)
def test_zip_files_of_another_kind_are_videos_that_cannot_be_read(
  before, after, tmp_path
):
  archive = tmp_path / 'v.zip'
  with zipfile.ZipFile(archive, 'w') as file:
    file.writestr('é1.jpg', bytes(10))
  content = archive.read_bytes()
  assert before in content
  archive.write_bytes(content.replace(before, after))
  assert frame_names.has_frames(str(archive))
  with pytest.raises(VideoError, match=r'v\.zip: '):
    read(archive)


def test_the_time_limit_holds(folder, monkeypatch):
  original = still_images.decode

  def slow(*args):
    time.sleep(0.1)
    return original(*args)

  monkeypatch.setattr(still_images, 'decode', slow)
  with (
    FrameFolder(FramesPath(str(folder)), time_limit=0.3) as video,
    pytest.raises(VideoTimeout, match=r'too long \(data\.time_limit\)'),
  ):
    video.read(range(12))


def test_a_cache_alters_no_clip(folder):
  ours = Reader({'time_limit': 10.0}, 0.1)
  for part in ({}, {'skip': 2, 'claimed': 9}):
    path = FramesPath(str(folder), **part)
    for _ in range(2):
      with ours.open(path, 20) as video:
        clip, times = video.read([0, 7]), video.times
    assert not isinstance(video, FrameFolder)
    np.testing.assert_array_equal(clip, read(folder, [0, 7], 20, **part))
    assert times[-1] == pytest.approx(part.get('claimed', 12) / 25)
