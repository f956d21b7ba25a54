# SPDX-License-Identifier: Apache-2.0
"""What the objects and backgrounds of `motion_scene` look like."""

from collections.abc import Callable
import colorsys
import dataclasses

import cv2
import numpy as np

BACKGROUNDS = ('plain', 'gradient', 'blobs')
GROUND = (0.08, 0.25)  # luminance of dark backgrounds
BRIGHTEST = 0.95  # luminance of objects on them


@dataclasses.dataclass(frozen=True)
class Look:
  """What one object looks like: a shape in one or two RGB colours in [0, 1]."""

  shape: str
  texture: str
  colour: np.ndarray
  second_colour: np.ndarray


def draw_look(
  rng: np.random.Generator,
  low: float,
  high: float,
  texture_contrast: float,
  light: bool,
) -> Look:
  """Draws a shape in one tone or two, with luminances in [low, high].

  Args:
    rng: where all randomness comes from.
    low: least luminance, as it would be on a dark background.
    high: greatest luminance.
    texture_contrast: difference of luminance between two tones.
    light: whether the background is light; all luminances are then mirrored.
  """
  shape, texture = rng.choice(list(SHAPES)), rng.choice(list(TEXTURES))
  hue, saturation = rng.random(), rng.uniform(0.55, 1.0)
  step = 0.0 if texture == 'plain' else min(texture_contrast, high - low)
  first = rng.uniform(low, high - step)
  return Look(
    shape=str(shape),
    texture=str(texture),
    colour=_tint(hue, saturation, first, light),
    second_colour=_tint(hue, saturation, first + step, light),
  )


def draw_background(
  rng: np.random.Generator, luminance: float, amplitude: float, light: bool
) -> np.ndarray:
  """Draws two near tones mixed evenly, along a line, or in soft blobs.

  Args:
    rng: where all randomness comes from.
    luminance: in the middle, if it were dark.
    amplitude: greatest deviation from it.
    light: whether to mirror the luminance.

  Returns:
    RGB in [0, 1] [80 80 3].
  """
  kind = rng.choice(BACKGROUNDS)
  hues = rng.random() + np.array([0.0, rng.uniform(-0.15, 0.15)])
  dark, bright = (
    _tint(hue, rng.uniform(0.2, 0.8), luminance + step, light)
    for hue, step in zip(hues, (-amplitude, amplitude), strict=True)
  )
  side = 80
  axis = np.linspace(-0.5, 0.5, side)
  angle = rng.uniform(0, 2 * np.pi)
  if kind == 'plain':
    mix = np.full((side, side), 0.5)
  elif kind == 'gradient':
    mix = 0.5 + np.cos(angle) * axis + np.sin(angle) * axis[:, None]
  else:
    coarse = rng.random((6, 6))
    mix = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
  return dark + np.clip(mix, 0, 1)[..., None] * (bright - dark)


def _tint(hue, saturation, luminance, light):
  """The RGB colour of a hue that has a given luminance (Rec. 601) [3]."""
  colour = np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, 1.0))
  target = 1.0 - luminance if light else luminance
  own = colour @ (0.299, 0.587, 0.114)
  if own > target:
    return colour * target / own  # towards black
  return colour + (1.0 - colour) * (target - own) / (1.0 - own)  # to white


# Signed distance (negative inside) to shapes whose outer circle has radius 1.


def _disc(x, y):
  return np.hypot(x, y) - 1.0


def _ring(x, y):
  return np.abs(np.hypot(x, y) - 0.78) - 0.22


def _square(x, y):
  return np.maximum(np.abs(x), np.abs(y)) - np.float32(np.sqrt(0.5))


def _triangle(x, y):
  slanted = np.float32(np.sqrt(0.75)) * np.abs(x) - 0.5 * y
  return np.maximum(y, slanted) - 0.5


def _star(x, y):
  """Five tips at radius 1, the corners between them at 0.45."""
  wedge = 2 * np.pi / 5
  radius = np.hypot(x, y)
  from_tip = np.abs(np.mod(np.arctan2(y, x), wedge) - wedge / 2)
  # In the half wedge of one tip, an edge runs from the tip to the corner.
  corner = 0.45 * np.array([np.cos(wedge / 2), np.sin(wedge / 2)])
  edge = corner - (1.0, 0.0)
  normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
  across = radius * np.cos(from_tip) - 1.0
  along = radius * np.sin(from_tip)
  return float(normal[0]) * across + float(normal[1]) * along


def _cross(x, y):
  x, y = np.abs(x), np.abs(y)
  return np.maximum(np.maximum(x, y) - 0.94, np.minimum(x, y) - 0.33)


# Signed distance to the borders between two tones, positive in the second.


def _plain(x, y):
  return np.full_like(x + y, -1e3)


def _stripes(x, y, period=0.8):
  del y
  return period * (np.abs(np.mod(x / period, 1.0) - 0.5) - 0.25)


def _checks(x, y):
  across, along = _stripes(x, y, 1.0), _stripes(y, x, 1.0)
  nearest = np.minimum(np.abs(across), np.abs(along))
  return np.sign(across * along) * nearest


Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]
SHAPES: dict[str, Formula] = {
  'disc': _disc,
  'ring': _ring,
  'square': _square,
  'triangle': _triangle,
  'star': _star,
  'cross': _cross,
}
TEXTURES: dict[str, Formula] = {
  'plain': _plain,
  'stripes': _stripes,
  'checks': _checks,
}
