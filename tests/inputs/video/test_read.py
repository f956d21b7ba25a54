# SPDX-License-Identifier: Apache-2.0
"""Frames equal those of a full decode in every container and codec."""

import os
import pathlib
import pickle

import av
import numpy as np
import pytest

from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import FrameCountCorrected, Video, probe
from tests.support.video_maker import (
  damage_frame,
  decode_all,
  moving_square,
  write_video,
)

NUM_FRAMES = 50
GOP = {'g': '12'}
# File name: codec and its options.
KINDS = {
  'b_frames.mp4': ('libx264', GOP | {'bf': '3'}),
  'pyramid.mkv': ('libx264', GOP | {'bf': '7', 'x264-params': 'b-pyramid=2'}),
  'open_gop.mp4': ('libx264', GOP | {'x264-params': 'open-gop=1'}),
  'one_gop.mov': ('libx264', {'g': '250'}),
  'intra.mp4': ('libx264', {'g': '1'}),
  'hevc.mp4': ('libx265', {'x265-params': 'keyint=12:log-level=none'}),
  'hevc_layers.mkv': (
    'libx265',
    {'x265-params': 'keyint=12:temporal-layers=3:log-level=none'},
  ),
  'h264.avi': ('libx264', GOP | {'bf': '2'}),
  'h264.ts': ('libx264', GOP | {'bf': '2'}),
  'h264.flv': ('libx264', GOP | {'bf': '2'}),
  'mpeg4.avi': ('mpeg4', GOP),
  'mpeg4_b.avi': ('mpeg4', GOP | {'bf': '2'}),
  'mpeg4_b.mp4': ('mpeg4', GOP | {'bf': '2'}),
  'mpeg1.mpg': ('mpeg1video', GOP | {'bf': '2'}),
  'mpeg2.mpg': ('mpeg2video', GOP | {'bf': '2'}),
  'mjpeg.avi': ('mjpeg', {}),
  'vp8.webm': ('libvpx', GOP | {'auto-alt-ref': '1', 'lag-in-frames': '16'}),
  'vp9.webm': ('libvpx-vp9', GOP | {'auto-alt-ref': '1', 'cpu-used': '8'}),
  'av1.mkv': ('libsvtav1', GOP | {'preset': '12'}),
}


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """Returns a function that makes a video of a kind on first use."""
  folder = tmp_path_factory.mktemp('kinds')

  def make(name):
    codec, options = KINDS[name]
    if not (folder / name).exists():
      frames = moving_square(NUM_FRAMES)
      write_video(folder / name, frames, codec, options=options)
    return folder / name

  return make


def read_frames(path, frames, short_side=None):
  with Video(path, short_side) as video:
    return video.read(frames)


def read_spread(path, short_side=None):
  """Reads frames all along a video, chosen again after a correction."""
  with Video(path, short_side) as video:
    try:
      return video.read(spread(video.num_frames))
    except FrameCountCorrected:
      return video.read(spread(video.num_frames))


def spread(num_frames):
  return np.linspace(0, num_frames - 1, 8).astype(int)


def assert_exact(path):
  """Compares every frame alone, and many together, to a full decode."""
  truth = decode_all(path)
  for number, expected in enumerate(truth):
    with Video(path) as video:
      assert video.num_frames == len(truth)
      (frame,) = video.read([number])
    np.testing.assert_array_equal(frame, expected, f'frame {number}')
  several = [len(truth) - 1, 0, *range(3, len(truth), 7), 3, 3]
  clip = read_frames(path, several)
  np.testing.assert_array_equal(clip, np.stack([truth[i] for i in several]))


@pytest.mark.parametrize('name', KINDS)
def test_frames_are_exact(videos, name):
  path = videos(name)
  assert len(decode_all(path)) == NUM_FRAMES
  assert_exact(path)
  assert probe(path).num_frames == NUM_FRAMES


def test_frames_are_exact_if_the_rate_varies(tmp_path):
  pts = np.cumsum(np.random.default_rng(0).integers(1, 400, NUM_FRAMES))
  for name in ('vfr.mp4', 'vfr.mkv'):
    path = write_video(tmp_path / name, moving_square(NUM_FRAMES), pts=pts)
    assert_exact(path)


@pytest.mark.parametrize('name', ['late.mp4', 'late.mkv', 'late.ts'])
def test_frames_are_exact_if_time_begins_late(tmp_path, name):
  pts = 8333 + 40 * np.arange(NUM_FRAMES)
  options = GOP | {'bf': '2'}
  frames = moving_square(NUM_FRAMES)
  assert_exact(write_video(tmp_path / name, frames, pts=pts, options=options))


def test_fragmented_files_are_exact(tmp_path):
  path = tmp_path / 'fragments.mp4'
  fragments = {'movflags': 'frag_keyframe+empty_moov'}
  write_video(path, moving_square(NUM_FRAMES), options=GOP, container=fragments)
  assert_exact(path)


# --- Size, frame rate ---------------------------------------------------------


@pytest.mark.parametrize('size', [(48, 64), (64, 48), (48, 48), (36, 100)])
@pytest.mark.parametrize('short_side', [16, 31, 96])
def test_the_short_side_gets_its_length(tmp_path, size, short_side):
  path = write_video(tmp_path / 'video.mp4', moving_square(2, *size))
  clip = read_frames(path, [1], short_side)
  height, width = clip.shape[1:3]
  assert min(height, width) == short_side
  assert abs(height / width - size[0] / size[1]) < 0.1 * size[0] / size[1]


def test_an_open_video_has_a_length_and_a_frame_rate(tmp_path):
  path = write_video(tmp_path / 'video.mp4', moving_square(7), rate=12)
  with Video(path) as video:
    assert (video.num_frames, video.fps) == (7, 12.0)
  info = probe(path)
  assert (info.fps, info.codec) == (12.0, 'h264')
  assert info.duration == pytest.approx(7 / 12, abs=1e-6)


def test_memory_does_not_grow(tmp_path):
  """A frame is 2.2 MB, so keeping one for each clip is noticed soon."""
  frames = moving_square(3, 1024, 1440)
  path = write_video(tmp_path / 'large.mp4', frames, rotation=90)

  def read(times):
    for _ in range(times):
      read_frames(path, [0, 2], 24)
    return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * 4096

  try:
    before = read(10)
  except OSError:
    pytest.skip('This system does not report the memory of a process.')
  assert read(40) - before < 20e6  # 88e6 if every clip kept one.


def test_a_frame_number_outside_of_the_video_is_an_index_error(videos):
  with pytest.raises(IndexError, match=r'3 to 50 .* which has 50'):
    read_frames(videos('one_gop.mov'), [3, 50])


# --- Files that cannot be read ------------------------------------------------


def make_bad(folder):
  """Writes files that are not videos. -> {name: cause}"""
  (folder / 'text.mp4').write_text('<html>Not found</html>')
  (folder / 'empty.mp4').touch()
  (folder / 'random.avi').write_bytes(np.random.default_rng(0).bytes(5000))
  (folder / 'folder.mp4').mkdir()
  with av.open(str(folder / 'sound.mp4'), 'w') as file:
    stream = file.add_stream('aac', rate=8000)
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 1024), np.float32), 'fltp', 'mono'
    )
    frame.sample_rate = 8000
    file.mux(stream.encode(frame))
    file.mux(stream.encode())
  return {
    'text.mp4': 'Invalid data',
    'empty.mp4': 'the file is empty',
    'random.avi': 'Invalid data',
    'folder.mp4': 'not a file',
    'sound.mp4': 'no video stream',
    'absent.mp4': 'no such file',
  }


def test_a_file_that_is_not_a_video_is_named_with_the_cause(tmp_path):
  for name, cause in make_bad(tmp_path).items():
    for read in (probe, read_spread):
      with pytest.raises(VideoError, match=cause) as error:
        read(tmp_path / name)
      assert error.value.file == str(tmp_path / name)
      assert '\n' not in error.value.cause


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
  os.mkfifo(tmp_path / 'pipe.mp4')
  with pytest.raises(VideoError, match='not a file'):
    Video(tmp_path / 'pipe.mp4')


def test_errors_can_be_sent_between_processes():
  error = pickle.loads(pickle.dumps(VideoError('a b.mp4', 'no video stream')))
  assert str(error) == 'a b.mp4: no video stream'


@pytest.mark.parametrize('name', KINDS)
def test_a_truncated_file_gives_its_frames_or_an_error(videos, name, tmp_path):
  data = videos(name).read_bytes()
  for share in (0.1, 0.5, 0.97):
    path = tmp_path / name
    path.write_bytes(data[: int(share * len(data))])
    try:
      count = probe(path).num_frames
    except VideoError:
      with pytest.raises(VideoError):
        read_spread(path)
      continue
    clip = read_spread(path)
    truth = decode_all(path)
    assert len(truth) == count <= NUM_FRAMES
    wanted = [truth[i] for i in spread(count)]
    np.testing.assert_array_equal(clip, np.stack(wanted))


@pytest.mark.parametrize('codec', ['libx264', 'libx265'])
def test_a_stream_copy_that_begins_in_an_open_group(tmp_path, codec):
  """Its first frames refer to frames that were cut away."""
  whole, part = tmp_path / 'whole.mp4', tmp_path / 'part.mkv'
  params = 'keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0'
  kind = 'x264-params' if codec == 'libx264' else 'x265-params'
  if codec == 'libx265':
    params += ':log-level=none'
  frames = moving_square(NUM_FRAMES)
  write_video(whole, frames, codec, options={kind: params})
  with av.open(str(whole)) as source, av.open(str(part), 'w') as target:
    stream = target.add_stream_from_template(source.streams.video[0])
    keys = 0
    for packet in source.demux(video=0):
      keys += packet.is_keyframe
      if keys > 1 and packet.size:
        packet.stream = stream
        target.mux(packet)
  assert_exact(part)


def test_a_streamable_file_that_was_cut_short(tmp_path):
  """Its index comes first and lists frames that the file lacks."""
  path = tmp_path / 'cut.mp4'
  first = {'movflags': 'faststart'}
  write_video(path, moving_square(NUM_FRAMES), options=GOP, container=first)
  data = path.read_bytes()
  path.write_bytes(data[: 2 * len(data) // 3])
  count = probe(path).num_frames
  assert 10 < count < NUM_FRAMES
  with Video(path) as video:
    assert video.num_frames == count
    clip = video.read(range(count))
  np.testing.assert_array_equal(clip, decode_all(path))


def test_damage_ends_a_video_only_for_clips_that_reach_it(tmp_path):
  options = {'bf': '2', 'g': '250'}
  frames = moving_square(NUM_FRAMES)
  path = write_video(tmp_path / 'video.mp4', frames, options=options)
  whole = decode_all(path)
  damage_frame(path, 30)
  info = probe(path)
  assert 20 < info.num_frames <= 30
  assert 'Invalid data' in info.damage
  with Video(path) as video:
    assert video.num_frames == 50
    with pytest.raises(
      FrameCountCorrected, match=f'{info.num_frames} of 50 frames'
    ):
      video.read([49])
    assert video.num_frames == info.num_frames
    (frame,) = video.read([info.num_frames - 1])
  np.testing.assert_array_equal(frame, whole[info.num_frames - 1])
  (frame,) = read_frames(path, [20])
  np.testing.assert_array_equal(frame, whole[20])


def test_damage_affects_only_frames_that_refer_to_it(tmp_path):
  frames = moving_square(NUM_FRAMES)
  options = GOP | {'bf': '0', 'sc_threshold': '0'}
  path = write_video(tmp_path / 'video.mp4', frames, options=options)
  whole = decode_all(path)
  damage_frame(path, 30)  # Frames 30 to 35, up to the next keyframe.
  sound = [0, 26, 42, NUM_FRAMES - 1]
  clip = read_frames(path, sound)
  np.testing.assert_array_equal(clip, [whole[i] for i in sound])


@pytest.mark.parametrize('name', KINDS)
def test_flipped_bits_give_frames_or_an_error(videos, name, tmp_path):
  data = np.frombuffer(videos(name).read_bytes(), np.uint8)
  rng = np.random.default_rng(0)
  for trial in range(8):
    damaged = data.copy()
    at = rng.integers(len(data), size=4 ** (trial % 4))
    damaged[at] ^= rng.integers(1, 256, size=len(at)).astype(np.uint8)
    path = tmp_path / f'{trial}_{name}'
    path.write_bytes(damaged.tobytes())
    try:
      first = read_spread(path, 24)
    except VideoError as error:
      assert '\n' not in error.cause
    else:
      assert first.shape[0] == 8 and min(first.shape[1:3]) == 24
      np.testing.assert_array_equal(first, read_spread(path, 24))


def test_file_names_may_look_like_urls_or_options(tmp_path, monkeypatch):
  frames = moving_square(3)
  for name in ('a:b.mp4', '-x.mp4', 'what?.mp4', '%03d #1 & [x].mp4', 'ü.mp4'):
    path = write_video(tmp_path / 'plain.mp4', frames)
    path = path.rename(tmp_path / name)
    assert probe(path).num_frames == 3
  monkeypatch.chdir(tmp_path)
  assert probe('a:b.mp4').num_frames == 3
