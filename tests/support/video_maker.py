# SPDX-License-Identifier: Apache-2.0
"""Writes small videos and frames, and decodes them in the simplest way."""

from fractions import Fraction
import pathlib
import zipfile

import av
import numpy as np
from PIL import Image


def moving_square(num_frames, height=48, width=64, seed=0):
  """Returns textured frames with a moving square. uint8 [T H W 3]."""
  rng = np.random.default_rng(seed)
  texture = rng.integers(0, 120, (height // 8, width // 8, 3), np.uint8)
  texture = np.kron(texture, np.ones((8, 8, 1), np.uint8))
  texture = np.pad(
    texture,
    ((0, height % 8), (0, width % 8), (0, 0)),
    mode='edge',
  )
  frames = np.stack([texture] * num_frames)
  for t, frame in enumerate(frames):
    x, y = 3 * t % (width - 10), 2 * t % (height - 10)
    frame[y : y + 10, x : x + 10] = (250, 60 + 5 * t % 180, 30)
  return frames


def write_video(
  path,
  frames,
  codec='libx264',
  pts=None,
  rate=25,
  rotation=0,
  aspect=None,
  options=None,
  container=None,
  matrix=None,
):
  """Encodes uint8 [T H W 3]; `pts`, in ms, makes the frame rate vary.

  `matrix` is a, b, c and d of a display matrix; see `geometry.display_matrix`.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with av.open(str(path), 'w', options=container or {}) as file:
    stream = file.add_stream(codec, rate=rate, options=options or {})
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    if codec.startswith('mpeg'):  # Slices, by default one for each core.
      stream.codec_context.thread_count = 2
    if aspect:
      stream.codec_context.sample_aspect_ratio = Fraction(aspect)
    if rotation:
      stream.set_display_rotation(rotation)
    if matrix:
      a, b, c, d = (round(0x10000 * x) for x in matrix)
      stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    unit = Fraction(1, rate)
    if pts is not None:
      unit = stream.codec_context.time_base = Fraction(1, 1000)
    for i, pixels in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts = i if pts is None else int(pts[i])
      frame.time_base = unit
      file.mux(stream.encode(frame))
    file.mux(stream.encode())
  return path


def write_frames(folder, frames, name='img_{:05d}.jpg', first=1, **options):
  """Writes uint8 [T H W 3] as an image file for each frame."""
  folder = pathlib.Path(folder)
  for number, pixels in enumerate(frames, start=first):
    path = folder / name.format(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
  return folder


def zip_frames(folder, path, inside=''):
  """Packs a folder into a zip file, perhaps with a folder `inside`."""
  with zipfile.ZipFile(path, 'w') as archive:
    for file in sorted(folder.iterdir()):
      archive.write(file, f'{inside}{file.name}')
  return path


def decode_all(path):
  """Decodes every frame up to the first error, as the reference."""
  frames = []
  with av.open(str(path)) as container:
    try:
      for frame in container.decode(video=0):
        frames.append(frame.to_ndarray(format='rgb24'))
    except av.FFmpegError:
      pass
  return frames


def damage_frame(path, number):
  """Damages the size of a packet of H.264 in mp4, where decoders stop."""
  with av.open(str(path)) as container:
    packets = [p for p in container.demux(video=0) if p.size]
    position = packets[number].pos
  data = bytearray(path.read_bytes())
  data[position : position + 4] = b'\xff\xff\xff\xf0'
  path.write_bytes(data)
  return path
