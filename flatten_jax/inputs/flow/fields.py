# SPDX-License-Identifier: Apache-2.0
"""Bytes of optical flow, their place among the channels of a frame, pictures.

A field has x, to the right, and y, downwards, in pixels from one frame to the
next. Published systems store 255 (v + 20) / 40 in a byte each, and give L
fields, x and y of each, oldest first, as the 2 L channels of one frame.
"""

from collections.abc import Mapping

import cv2
import numpy as np

BOUND = 20.0  # px; longer flow is cut off.
ZERO = 128  # The byte of no motion, 127.5 rounded to even.


def to_bytes(flow: np.ndarray) -> np.ndarray:
  """Quantizes flow in pixels. float32 [... 2] -> uint8 [... 2]."""
  scale = np.float32(255 / (2 * BOUND))
  levels = np.rint((flow + np.float32(BOUND)) * scale)
  return np.clip(levels, 0, 255).astype(np.uint8)


def to_flow(levels: np.ndarray) -> np.ndarray:
  """Returns the pixels that bytes stand for. uint8 [...] -> float32 [...]."""
  return levels * np.float32(2 * BOUND / 255) - np.float32(BOUND)


def resize(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Resizes a field to [H W], and its values with it. uint8 [H W 2] -> same."""
  height, width = shape
  if field.shape[:2] == (height, width):
    return field
  factors = np.float32([width / field.shape[1], height / field.shape[0]])
  small = min(factors) < 1
  how = cv2.INTER_AREA if small else cv2.INTER_LINEAR
  flow = cv2.resize(to_flow(field), (width, height), interpolation=how)
  return to_bytes(flow * factors)


def num_channels(data: Mapping) -> int:
  """Returns the number of channels of a frame, by `config.data`."""
  rgb = 0 if data['input'] == 'flow' else 3
  return rgb + 2 * fields_of_frame(data)


def fields_of_frame(data: Mapping) -> int:
  """Returns L, the flow fields of one frame; 0 for RGB."""
  return data['flow_frames'] if 'flow' in data['input'] else 0


def first_of(channels: int) -> int:
  """Returns the place of the first channel of flow: 0, or 3 after RGB.

  2 L channels are flow, 3 are RGB, and 3 + 2 L are both.
  """
  return 3 * (channels % 2)


def mirror(clip: np.ndarray) -> None:
  """Turns x around, in place, in a clip that was mirrored. uint8 [... C]."""
  x = clip[..., first_of(clip.shape[-1]) :: 2]
  np.subtract(255, x, out=x)


def picture(frames: np.ndarray) -> np.ndarray:
  """Returns what people can look at. uint8 [... C] -> uint8 [... 3] RGB.

  Flow alone is drawn as a color wheel: the hue is the direction of the mean of
  its fields, and the strength its length; a twentieth of the shorter side is
  full. RGB, also in front of flow, stays.
  """
  if first_of(frames.shape[-1]):
    return frames[..., :3]
  flow = to_flow(frames) - to_flow(np.uint8(ZERO))
  x, y = (flow[..., i::2].mean(axis=-1) for i in range(2))
  hue = np.degrees(np.arctan2(y, x)) % 360
  full = max(min(frames.shape[-3:-1]) / 20, 1)
  strength = np.minimum(np.hypot(x, y) / full, 1)
  hsv = np.stack([hue, strength, np.ones_like(hue)], axis=-1)
  flat = hsv.astype(np.float32).reshape(1, -1, 3)
  rgb = cv2.cvtColor(flat, cv2.COLOR_HSV2RGB).reshape(hsv.shape)
  return np.rint(255 * rgb).astype(np.uint8)
