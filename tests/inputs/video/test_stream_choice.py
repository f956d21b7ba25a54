# SPDX-License-Identifier: Apache-2.0
"""The stream that is read is the film that players show."""

import dataclasses
import pathlib

import av
from av.stream import Disposition
import numpy as np
import pytest

from data.media import Treatment
from flatten_jax.inputs.sources import index_builder
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import Video, probe
from tests.support.video_maker import moving_square

DEFAULT, COVER = Disposition.default, Disposition.attached_pic
THUMBNAILS = Disposition.timed_thumbnails
NONE = Disposition(0)


@dataclasses.dataclass(frozen=True)
class Pictures:
  """A video stream to write; the film is the one that must be read."""

  codec: str = 'libx264'
  frames: int = 10
  size: tuple[int, int] = (48, 64)  # height, width
  flags: Disposition = NONE
  rate: int = 25


FILM = Pictures(size=(96, 128))
FLAGGED = dataclasses.replace(FILM, flags=DEFAULT)
STILL = Pictures('mjpeg', 1, size=(480, 640))
SMALL = Pictures()


def write(path, streams, audio=''):
  """Writes audio and streams, in this order, packets by time."""
  container = 'mp4' if str(path).endswith('m4a') else None
  with av.open(str(path), 'w', format=container) as file:
    outputs, packets = [], []
    if audio:
      sound = file.add_stream(audio, rate=8000, layout='mono')
      outputs.append(sound)
    for kind in streams:
      stream = file.add_stream(kind.codec, rate=kind.rate)
      stream.height, stream.width = kind.size
      jpeg = kind.codec == 'mjpeg'
      stream.pix_fmt = {'png': 'rgb24'}.get(
        kind.codec, 'yuvj420p' if jpeg else 'yuv420p'
      )
      if kind.codec == 'ffv1':
        stream.pix_fmt = 'gray'
      stream.disposition = kind.flags
      outputs.append(stream)
    file.start_encoding()
    for stream, kind in zip(outputs[bool(audio) :], streams, strict=True):
      for pixels in moving_square(kind.frames, *kind.size):
        frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
        packets += stream.encode(frame)
      packets += stream.encode()
    if audio:
      silence = np.zeros((1, 1024), np.float32)
      for number in range(4):
        frame = av.AudioFrame.from_ndarray(silence, 'fltp', 'mono')
        frame.sample_rate, frame.pts = 8000, 1024 * number
        packets += sound.encode(frame)
      packets += sound.encode()
    for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
      file.mux(packet)
  return pathlib.Path(path)


# Name: streams; FILM or FLAGGED is read.
LAYOUTS = {
  'still_first.mp4': [STILL, FLAGGED],
  'still_first.mov': [STILL, FILM],
  'still_first.mkv': [STILL, FILM],
  'still_first.avi': [STILL, FILM],
  'default_still.mkv': [dataclasses.replace(STILL, flags=DEFAULT), FILM],
  'default_still.mp4': [dataclasses.replace(STILL, flags=DEFAULT), FILM],
  'png_first.mov': [dataclasses.replace(STILL, codec='png'), FILM],
  'two_stills.mkv': [STILL, STILL, FILM],
  'cover_first.mp4': [dataclasses.replace(STILL, flags=COVER), FILM],
  'still_last.mkv': [FILM, STILL],
  'still_last.mp4': [FLAGGED, STILL],
  'preview_first.mp4': [SMALL, FLAGGED],
  'preview_first.mkv': [SMALL, FILM],
  'preview_first.ts': [SMALL, FILM],
  'preview_last.mov': [FLAGGED, SMALL],
  'large_by_far_but_not_default.mkv': [
    dataclasses.replace(SMALL, size=(192, 256)),
    FLAGGED,
  ],
  'default_second.mkv': [FILM, FLAGGED],
  'depth_second.mkv': [FILM, Pictures('ffv1', size=FILM.size)],
  'thumbnails_at_the_end.mkv': [
    FILM,
    Pictures('mjpeg', 3, (480, 640), THUMBNAILS, rate=1),
  ],
  'slow_thumbnails_first.mkv': [Pictures('mjpeg', 3, (480, 640), rate=1), FILM],
  'film_of_jpegs.mkv': [dataclasses.replace(FILM, codec='mjpeg')],
  'film_of_jpegs.mov': [STILL, dataclasses.replace(FILM, codec='mjpeg')],
}


def film_of(path, streams):
  """Decodes the film, found by what it was written as. -> uint8 [N H W 3]"""
  film = next((k for k in streams if k == FLAGGED), None)
  film = film or next(
    k for k in streams if (k.frames, k.size) == (10, (96, 128))
  )
  with av.open(str(path)) as file:
    found = [
      stream
      for stream in file.streams.video
      if stream.codec_context.height == 96
      and (film.flags == NONE or stream.disposition & film.flags)
    ]
    return np.stack(
      [f.to_ndarray(format='rgb24') for f in file.decode(found[0])]
    )


@pytest.mark.parametrize('name', LAYOUTS)
def test_the_film_is_read(tmp_path, name):
  streams = LAYOUTS[name]
  audio = 'aac' if name.endswith(('.mkv', '.mp4', '.mov')) else ''
  path = write(tmp_path / name, streams, audio)
  film = film_of(path, streams)
  assert len(film) == 10
  with Video(path) as video:
    clip = video.read(range(video.num_frames))
  np.testing.assert_array_equal(clip, film)
  assert (probe(path).height, probe(path).num_frames) == (96, 10)


def test_every_path_reads_the_film(tmp_path):
  path = write(tmp_path / 'drone.mp4', [STILL, FLAGGED], 'aac')
  index = index_builder.build([path], tmp_path / 'index', progress=False)
  assert (index.get(path).height, index.get(path).num_frames) == (96, 10)
  for treatment in (Treatment(), Treatment(short_side=48)):
    data, suffix = treatment(str(path))
    stored = tmp_path / f'stored{suffix}'
    stored.write_bytes(data)
    assert probe(stored).num_frames == 10


@pytest.mark.parametrize(
  ('name', 'kind'),
  [
    ('song.m4a', dataclasses.replace(STILL, flags=COVER)),
    ('song.mp3', dataclasses.replace(STILL, flags=COVER)),
    ('song.mp4', STILL),
    ('song.mkv', STILL),
    ('song.mov', dataclasses.replace(STILL, codec='png')),
  ],
)
def test_a_cover_is_no_video(tmp_path, name, kind):
  audio = 'mp3' if name.endswith('mp3') else 'aac'
  path = write(tmp_path / name, [kind], audio)
  with pytest.raises(VideoError, match='only a still picture'):
    probe(path)


def test_a_stream_without_a_decoder_is_passed_over(tmp_path):
  film = dataclasses.replace(FILM, codec='mpeg4')
  path = write(tmp_path / 'unknown.mp4', [SMALL, film], 'aac')
  path.write_bytes(path.read_bytes().replace(b'avc1', b'xyz1'))
  with av.open(str(path)) as file:
    assert file.streams.video[0].codec_context is None
  assert (probe(path).height, probe(path).num_frames) == (96, 10)
