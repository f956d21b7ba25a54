# SPDX-License-Identifier: Apache-2.0
"""Draws and renders the scenes of the embedded set.

Only the motion of the objects depends on the class; the distribution of all
else (looks, background, distractors, shake, flicker) is the same backwards.
"""

import colorsys
import dataclasses

import cv2
import numpy as np

from flatten_jax.inputs.synthetic import motion
from flatten_jax.inputs.synthetic.motion import TORUS, Trajectory

# Luminances in [0, 1]; they are mirrored if the background is light.
GROUND = (0.08, 0.25)  # of the background
GROUND_AMPLITUDE = 0.05  # of gradients and blobs
CONTRAST = 0.35  # least difference of object and background
DISTRACTOR_CONTRAST = 0.15
BRIGHTEST = 0.95  # of objects
TEXTURE = 0.2  # difference of an object's two tones
LIGHT_BACKGROUND = 0.1  # probability of dark objects on light
SHAKE = 0.008  # standard deviation of the camera, in frame sides
FLICKER = 0.02  # standard deviation of the brightness factor


@dataclasses.dataclass(frozen=True)
class Appearance:
  """The look of one object: a shape in one or two RGB colours in [0, 1]."""

  shape: str
  texture: str
  colours: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scene:
  """A clip of T frames, to be rendered at any resolution."""

  objects: Trajectory
  distractors: Trajectory  # smaller
  appearances: tuple[list[Appearance], ...]  # of distractors, then of objects
  background: np.ndarray  # RGB in [0, 1], somewhat larger than the view [n n 3]
  shake: np.ndarray  # displacement of everything, in frame sides [T 2]
  gain: np.ndarray  # brightness factor [T]


# --- Drawing ------------------------------------------------------------------


def draw_scene(
  class_name: str, rng: np.random.Generator, num_frames: int
) -> Scene:
  """Draws a scene with objects that move as the class requires."""
  objects = motion.draw_motion(class_name, rng, num_frames)
  distractors = motion.draw_drift(rng, num_frames)
  light = rng.random() < LIGHT_BACKGROUND
  ground = rng.uniform(*GROUND)
  bright = ground + GROUND_AMPLITUDE + CONTRAST
  dim = ground + GROUND_AMPLITUDE + DISTRACTOR_CONTRAST
  own = [
    draw_appearance(rng, bright, BRIGHTEST, light)
    for _ in range(motion.OBJECTS)
  ]
  others = [
    draw_appearance(rng, dim, dim, light)
    for _ in range(distractors.diameter.shape[1])
  ]
  return Scene(
    objects=objects,
    distractors=distractors,
    appearances=(others, own),
    background=draw_background(rng, ground, light),
    shake=SHAKE * _smooth_noise(rng, num_frames, 2),
    gain=1 + FLICKER * _smooth_noise(rng, num_frames, 1)[:, 0],
  )


def draw_appearance(rng, low, high, light) -> Appearance:
  """Draws a shape in one or two tones, with luminances in [low, high]."""
  shape, texture = rng.choice(list(SHAPES)), rng.choice(list(TEXTURES))
  hue, saturation = rng.random(), rng.uniform(0.55, 1.0)
  step = 0.0 if texture == 'plain' else min(TEXTURE, high - low)
  first = rng.uniform(low, high - step)
  one = _tint(hue, saturation, first, light)
  other = _tint(hue, saturation, first + step, light)
  return Appearance(str(shape), str(texture), (one, other))


def draw_background(rng, luminance, light) -> np.ndarray:
  """Draws two similar tones, mixed evenly, along a line or in blobs [n n 3]."""
  kind = rng.choice(['plain', 'gradient', 'blobs'])
  hue = rng.random()
  other = hue + rng.uniform(-0.15, 0.15)
  low, high = luminance - GROUND_AMPLITUDE, luminance + GROUND_AMPLITUDE
  dark = _tint(hue, rng.uniform(0.2, 0.8), low, light)
  bright = _tint(other, rng.uniform(0.2, 0.8), high, light)
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
  """Returns the RGB colour of a hue with a luminance (ITU-R BT.601) [3]."""
  colour = np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, 1.0))
  target = 1.0 - luminance if light else luminance
  own = colour @ (0.299, 0.587, 0.114)
  if own > target:
    return colour * target / own  # towards black
  return colour + (1.0 - colour) * (target - own) / (1.0 - own)  # to white


def _smooth_noise(rng, num_frames, channels):
  """Draws noise of unit variance through a symmetric kernel [T channels]."""
  kernel = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
  kernel /= np.linalg.norm(kernel)
  white = rng.standard_normal((num_frames + len(kernel) - 1, channels))
  smooth = [np.convolve(column, kernel, mode='valid') for column in white.T]
  return np.stack(smooth, axis=-1)


# --- Rendering ----------------------------------------------------------------


def render(scene: Scene, size: int = 64) -> np.ndarray:
  """Renders smooth edges at sub-pixel positions. -> uint8 [T size size 3]."""
  margin = (TORUS - 1.0) / 2  # of the torus around the view
  largest = np.max(scene.objects.diameter, initial=0.0)
  pad = int(np.ceil((margin + largest / 2) * size)) + 2
  view = slice(pad, pad + size)
  side = size + 2 * pad  # Objects may lie outside the view.
  canvas = np.zeros((len(scene.gain), side, side, 3), np.float32)
  canvas[:, view, view] = _shaken_background(scene, size)
  trajectories = scene.distractors, scene.objects
  for trajectory, looks in zip(trajectories, scene.appearances, strict=True):
    shaken = trajectory.position + scene.shake[:, None]
    centre = np.mod(shaken, TORUS) - margin  # [T K 2]
    for k, look in enumerate(looks):
      _paint(canvas, look, trajectory, k, centre[:, k] * size + pad, size)
  gain = np.float32(scene.gain * 255)[:, None, None, None]
  return np.clip(canvas[:, view, view] * gain + 0.5, 0, 255).astype(np.uint8)


def _shaken_background(scene, size):
  """Returns the background as the shaking camera sees it [T size size 3]."""
  background = scene.background.astype(np.float32)
  side = len(background)
  scale = 0.8 * side / size  # The view is the middle 80 % of the background.
  frames = np.empty((len(scene.shake), size, size, 3), np.float32)
  for shift, frame in zip(scene.shake, frames, strict=True):
    corner = 0.1 * side - 0.8 * side * shift + 0.5 * scale - 0.5
    cv2.warpAffine(
      background,
      np.column_stack([scale * np.eye(2), corner]),
      (size, size),
      dst=frame,
      flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
      borderMode=cv2.BORDER_REPLICATE,
    )
  return frames


def _paint(canvas, look, trajectory, k, centre, size):
  """Draws object k into all frames at once, `centre` in canvas pixels [T 2]."""
  radius = np.float32(trajectory.diameter[:, k, None, None] * size / 2)
  half = int(np.ceil(radius.max())) + 1
  span = np.arange(-half, half + 1)
  corner = np.floor(centre).astype(int)
  columns = corner[:, None, None, 0] + span  # [T 1 n]
  rows = corner[:, None, None, 1] + span[:, None]  # [T n 1]
  dx = np.float32(columns + 0.5 - centre[:, None, None, 0]) / radius
  dy = np.float32(rows + 0.5 - centre[:, None, None, 1]) / radius
  angle = np.float32(trajectory.orientation[:, k, None, None])
  x = np.cos(angle) * dx + np.sin(angle) * dy
  y = np.cos(angle) * dy - np.sin(angle) * dx
  # A pixel is covered in proportion to the distance of its centre to the edge.
  coverage = np.clip(0.5 - radius * SHAPES[look.shape](x, y), 0, 1)
  tone = np.clip(0.5 + radius * TEXTURES[look.texture](x, y), 0, 1)
  first, second = map(np.float32, look.colours)
  colour = first + tone[..., None] * (second - first)
  where = (np.arange(len(canvas))[:, None, None], rows, columns)
  beneath = canvas[where]
  canvas[where] = beneath + coverage[..., None] * (colour - beneath)


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


def _stripes(x, period):
  return period * (np.abs(np.mod(x / period, 1.0) - 0.5) - 0.25)


def _checks(x, y):
  across, along = _stripes(x, 1.0), _stripes(y, 1.0)
  nearest = np.minimum(np.abs(across), np.abs(along))
  return np.sign(across * along) * nearest


# Signed distance (negative inside) to shapes whose outer circle has radius 1.
SHAPES = {
  'disc': lambda x, y: np.hypot(x, y) - 1.0,
  'ring': lambda x, y: np.abs(np.hypot(x, y) - 0.78) - 0.22,
  'square': lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.5**0.5,
  'triangle': lambda x, y: np.maximum(y, 0.75**0.5 * np.abs(x) - 0.5 * y) - 0.5,
  'star': _star,
  'cross': lambda x, y: np.maximum(
    np.maximum(np.abs(x), np.abs(y)) - 0.94,
    np.minimum(np.abs(x), np.abs(y)) - 0.33,
  ),
}
# Signed distance to the borders between two tones, positive in the second.
TEXTURES = {
  'plain': lambda x, y: np.full_like(x + y, -1e3),
  'stripes': lambda x, y: _stripes(x, 0.8),
  'checks': _checks,
}
