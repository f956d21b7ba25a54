# SPDX-License-Identifier: Apache-2.0
"""Ways in which videos store pictures, and a test card of known colours."""

from fractions import Fraction

import av
from av.video.reformatter import ColorRange, Colorspace
import numpy as np

# Display matrix: how a picture is stored for it, and the angle it tells.
ORIENTATIONS = {
  (1, 0, 0, 1): (lambda x: x, 0),
  (-1, 0, 0, 1): (lambda x: x[:, :, ::-1], 0),
  (1, 0, 0, -1): (lambda x: x[:, ::-1], -180),
  (-1, 0, 0, -1): (lambda x: x[:, ::-1, ::-1], -180),
  (0, -1, 1, 0): (lambda x: np.rot90(x, -1, (1, 2)), 90),
  (0, 1, -1, 0): (lambda x: np.rot90(x, 1, (1, 2)), -90),
  (0, 1, 1, 0): (lambda x: x.swapaxes(1, 2), 90),
  (0, -1, -1, 0): (lambda x: x.swapaxes(1, 2)[:, ::-1, ::-1], -90),
}

# Codec, pixel format, FFmpeg's number of the matrix from RGB, and the range.
COLOURS = {
  '601.mp4': ('libx264', 'yuv420p', 6, 'tv'),
  '709.mp4': ('libx264', 'yuv420p', 1, 'tv'),
  '709_full.mp4': ('libx264', 'yuv420p', 1, 'pc'),
  '2020_full.mp4': ('libx264', 'yuv420p', 9, 'pc'),
  '240m.mkv': ('libx264', 'yuv444p', 7, 'tv'),
  'ten_bits.mkv': ('libx265', 'yuv420p10le', 9, 'tv'),
  'ten_bits_full.mkv': ('libx265', 'yuv420p10le', 1, 'pc'),
  'phone.mp4': ('libx264', 'yuvj420p', 5, 'pc'),
  'camera.avi': ('mjpeg', 'yuvj422p', 5, 'pc'),
  'rgb.mp4': ('libx264rgb', 'rgb24', None, None),
  'alpha.mov': ('png', 'rgba', None, None),
  'prores.mov': ('prores_ks', 'yuva444p10le', 1, 'tv'),
  'vp9.webm': ('libvpx-vp9', 'gbrp', None, None),
}

# Colours of `write_card`: greys, then strong ones.
CARD = np.array(
  [
    [(0, 0, 0), (16, 16, 16), (128, 128, 128), (255, 255, 255)],
    [(220, 30, 30), (30, 200, 40), (20, 40, 210), (250, 220, 20)],
  ],
  np.uint8,
)
CARD_SIDE = 24  # of a patch, in pixels


def write_card(
  path, codec, pix_fmt, matrix=None, color_range=None, tagged=True
):
  """Encodes patches of the colours of CARD, of good quality.

  See COLOURS for `matrix` and `color_range`.
  """
  levels = {'tv': ColorRange.MPEG, 'pc': ColorRange.JPEG}.get(color_range)
  options = {
    'libx264': {'qp': '4'},
    # Without frames out of order: of two, x265 sometimes tells times that
    # muxers refuse.
    'libx265': {'x265-params': 'qp=4:bframes=0:frame-threads=1:log-level=none'},
    'libvpx-vp9': {'crf': '5', 'b': '0', 'cpu-used': '8'},
  }
  rate = 25
  image = CARD.repeat(CARD_SIDE, axis=0).repeat(CARD_SIDE, axis=1)
  with av.open(str(path), 'w') as file:
    stream = file.add_stream(codec, rate=rate, options=options.get(codec, {}))
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = pix_fmt
    if tagged and matrix is not None:
      stream.codec_context.colorspace = matrix
    if tagged and levels:
      stream.codec_context.color_range = levels
    for number in range(2):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24').reformat(
        format=pix_fmt,
        dst_colorspace=matrix if matrix in iter(Colorspace) else None,
        dst_color_range=levels,
      )
      frame.pts, frame.time_base = number, Fraction(1, rate)
      file.mux(stream.encode(frame))
    file.mux(stream.encode())
  return path


def patches(image):
  """Returns the colours in the middle of the patches of a card."""
  middle = CARD_SIDE // 2
  return image[middle::CARD_SIDE, middle::CARD_SIDE].astype(int)
