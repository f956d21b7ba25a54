# SPDX-License-Identifier: Apache-2.0
"""Videos that are written again keep frames, times, size and sound."""

from fractions import Fraction

import av
import numpy as np
import pytest

from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import DecodedVideo
from flatten_jax.inputs.video.read import Video
from flatten_jax.inputs.video.rewrite import rewrite
from tests.support.video_maker import moving_square, write_frames, write_video

UNEVEN = [0, 40, 80, 500, 540, 1000, 1100, 1200]


def decoded(path):
  """Returns the frames [T H W 3] of a video, and their times in seconds."""
  with av.open(str(path)) as file:
    found = list(file.decode(video=0))
    assert file.streams.video[0].codec_context.name == 'h264'
  times = [float(frame.pts * frame.time_base) for frame in found]
  return np.stack([f.to_ndarray(format='rgb24') for f in found]), times


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('a.mp4', {'rate': 30}),
    ('a.mkv', {'pts': UNEVEN}),
    ('a.ts', {'rate': 25}),
    ('a.avi', {'rate': 12, 'codec': 'mpeg4'}),
    ('a.mov', {'rotation': 90}),
  ],
)
def test_frames_and_times_stay(tmp_path, name, options):
  frames = moving_square(len(UNEVEN), 48, 64)
  path = write_video(tmp_path / name, frames, **options)
  rewrite(path, tmp_path / 'out.mp4')
  found, times = decoded(tmp_path / 'out.mp4')
  upright = np.rot90(frames, 1, (1, 2)) if options.get('rotation') else frames
  assert found.shape == upright.shape
  assert np.abs(found.astype(int) - upright).mean() < 12
  rate = options.get('rate', 25)
  expected = options.get('pts', 1000 * np.arange(len(frames)) / rate)
  assert times == pytest.approx(np.array(expected) / 1000, abs=1e-3)
  assert not list(tmp_path.glob('.*'))  # Nothing half-written is left.


def test_each_frame_is_changed_by_its_seconds(tmp_path):
  path = write_video(tmp_path / 'a.mkv', moving_square(8), pts=UNEVEN)
  seen = []

  def grey(image, seconds):
    seen.append(seconds)
    image[:] = 100 * seconds
    return image

  rewrite(path, tmp_path / 'out.mp4', grey)
  found, _ = decoded(tmp_path / 'out.mp4')
  assert seen == pytest.approx(np.array(UNEVEN) / 1000)
  assert found.mean((1, 2, 3)) == pytest.approx(100 * np.array(seen), abs=2)


def test_odd_sides_become_even(tmp_path):
  video = DecodedVideo(moving_square(4, 33, 47))
  rewrite(video, tmp_path / 'out.mp4')
  found, times = decoded(tmp_path / 'out.mp4')
  assert found.shape == (4, 34, 48, 3)
  assert times == pytest.approx([0, 0.04, 0.08, 0.12])


def test_frames_with_the_same_time_follow_each_other(tmp_path):
  times = np.array([0, 0.04, 0.04, 0.04, 0.08, 0.12])
  video = DecodedVideo(moving_square(5), 25.0, times)
  rewrite(video, tmp_path / 'out.mp4')
  found = decoded(tmp_path / 'out.mp4')[1]
  assert found == pytest.approx(times[:-1], abs=1e-4)


def test_the_last_frame_is_shown_for_its_own_time(tmp_path):
  times = np.array([0, 0.1, 0.2, 0.25, 1.5])
  rewrite(DecodedVideo(moving_square(4), 10.0, times), tmp_path / 'out.mp4')
  with Video(tmp_path / 'out.mp4') as video:
    assert video.times == pytest.approx(times, abs=1e-4)


def test_a_time_lapse_keeps_its_times(tmp_path):
  times = 3600.0 * np.arange(6)
  video = DecodedVideo(moving_square(5), 1 / 3600, times)
  rewrite(video, tmp_path / 'out.mp4')
  assert decoded(tmp_path / 'out.mp4')[1] == pytest.approx(times[:-1])


def test_a_smaller_video_of_the_first_seconds(tmp_path):
  path = write_video(tmp_path / 'a.mkv', moving_square(8), pts=UNEVEN)
  rewrite(path, tmp_path / 'out.mp4', size=24, longest=0.6)
  found, times = decoded(tmp_path / 'out.mp4')
  assert found.shape == (5, 24, 32, 3)
  assert times == pytest.approx(np.array(UNEVEN[:5]) / 1000)


def with_sound(path, codec, first=0.0):
  """Writes a second of video, from `first` on, and two seconds of a tone."""
  with av.open(str(path), 'w') as file:
    film = file.add_stream('libx264', rate=25)
    film.width, film.height, film.pix_fmt = 64, 48, 'yuv420p'
    sound = file.add_stream(codec, rate=48000)
    for number, pixels in enumerate(moving_square(25)):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts = number + round(25 * first)
      frame.time_base = Fraction(1, 25)
      file.mux(film.encode(frame))
    tone = np.sin(np.arange(96000) / 20).astype(np.float32)
    layout, form = 'mono', sound.codec_context.format.name
    if form.startswith('s'):
      tone = (30000 * tone).astype(f'int{form[1:3]}')
    frame = av.AudioFrame.from_ndarray(tone[None], form, layout)
    frame.sample_rate, frame.pts = 48000, 0
    fifo = av.AudioFifo()
    fifo.write(frame)
    size = sound.codec_context.frame_size or 1024
    for part in fifo.read_many(size, partial=True):
      file.mux(sound.encode(part))
    file.mux(film.encode())
    file.mux(sound.encode())
  return path


@pytest.mark.parametrize(
  ('codec', 'first'), [('aac', 0.0), ('aac', 0.48), ('libmp3lame', 0.0)]
)
def test_sound_is_copied_beside_the_pictures(tmp_path, codec, first):
  path = with_sound(tmp_path / 'a.mkv', codec, first)
  rewrite(path, tmp_path / 'out.mp4')
  packets = {}
  for name in (path, tmp_path / 'out.mp4'):
    with av.open(str(name)) as file:
      begin = file.streams.video[0].start_time * file.streams.video[0].time_base
      packets[name] = {
        bytes(p): float(p.pts * p.time_base - begin)
        for p in file.demux(audio=0)
        if p.size
      }
  source, copy = packets.values()
  assert len(copy) > 20 and set(copy) <= set(source)  # The same packets, until
  assert max(copy.values()) < 1.05  # the pictures end, at the same times.
  late = [seconds - source[packet] for packet, seconds in copy.items()]
  assert max(np.abs(late)) < 0.03


def test_sound_that_mp4_lacks_is_left_out_with_a_line(tmp_path, caplog):
  path = with_sound(tmp_path / 'a.mkv', 'pcm_s16le')
  rewrite(path, tmp_path / 'out.mp4')
  with av.open(str(tmp_path / 'out.mp4')) as file:
    assert not file.streams.audio
  assert 'its sound cannot be copied into mp4' in caplog.text


def test_a_folder_of_frames_becomes_a_video(tmp_path):
  from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath

  folder = write_frames(tmp_path / 'frames', moving_square(5))
  rewrite(FramesPath(str(folder)), tmp_path / 'out.mp4')
  assert decoded(tmp_path / 'out.mp4')[0].shape == (5, 48, 64, 3)


def test_a_damaged_video_is_written_as_far_as_it_can_be_decoded(tmp_path):
  path = write_video(tmp_path / 'a.mkv', moving_square(60))
  path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
  rewrite(path, tmp_path / 'out.mp4')
  assert 10 < len(decoded(tmp_path / 'out.mp4')[0]) < 60


def test_what_cannot_be_read_leaves_no_file(tmp_path):
  (tmp_path / 'a.mp4').write_bytes(b'text' * 100)
  with pytest.raises(VideoError):
    rewrite(tmp_path / 'a.mp4', tmp_path / 'out.mp4')
  assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']
