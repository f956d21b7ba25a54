# SPDX-License-Identifier: Apache-2.0
"""Draws the scenes of `motion_scene`: smooth edges, sub-pixel positions.

All frames of an object are drawn at once: the object is a formula in its own
coordinates, evaluated in a box around each of its positions.
"""

import cv2
import numpy as np

from flatten_jax.inputs.synthetic.appearance import SHAPES, TEXTURES, Look
from flatten_jax.inputs.synthetic.paths import Trajectory
from flatten_jax.inputs.synthetic.scene import Scene


def render(scene: Scene, size: int = 64) -> np.ndarray:
  """Draws a scene.

  Args:
    scene: what to draw.
    size: side of the square frames in pixels.

  Returns:
    RGB frames, uint8 [T size size 3].
  """
  margin = (scene.torus - 1.0) / 2  # of the torus around the view
  largest = np.max(scene.objects.diameter, initial=0.0)
  pad = int(np.ceil((margin + largest / 2) * size)) + 2
  view = slice(pad, pad + size)
  # Objects may lie outside the view, so the canvas is larger than it.
  side = size + 2 * pad
  canvas = np.zeros((len(scene.gain), side, side, 3), np.float32)
  canvas[:, view, view] = _shaken_background(scene, size)
  groups = (
    (scene.distractors, scene.distractor_looks),
    (scene.objects, scene.object_looks),
  )
  for motion, looks in groups:
    shaken = motion.position + scene.shake[:, None]
    centre = np.mod(shaken, scene.torus) - margin  # [T K 2]
    for k, look in enumerate(looks):
      _paint(canvas, look, motion, k, centre[:, k] * size + pad, size)
  gain = np.float32(scene.gain * 255)[:, None, None, None]
  return np.clip(canvas[:, view, view] * gain + 0.5, 0, 255).astype(np.uint8)


def _shaken_background(scene, size):
  """The background as the shaking camera sees it [T size size 3]."""
  background = scene.background.astype(np.float32)
  side = len(background)
  # The view is the middle 80 % of the background.
  scale = 0.8 * side / size
  frames = []
  for shift in scene.shake:
    corner = 0.1 * side - 0.8 * side * shift + 0.5 * scale - 0.5
    to_background = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
    frames.append(
      cv2.warpAffine(
        background,
        to_background,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
      )
    )
  return np.stack(frames)


def _paint(
  canvas: np.ndarray,
  look: Look,
  motion: Trajectory,
  k: int,
  centre: np.ndarray,
  size: int,
):
  """Draws object k into all frames, `centre` in canvas pixels [T 2]."""
  radius = np.float32(motion.diameter[:, k, None, None] * size / 2)
  half = int(np.ceil(radius.max())) + 1
  span = np.arange(-half, half + 1)
  corner = np.floor(centre).astype(int)
  columns = corner[:, None, None, 0] + span  # [T 1 n]
  rows = corner[:, None, None, 1] + span[:, None]  # [T n 1]
  dx = np.float32(columns + 0.5 - centre[:, None, None, 0]) / radius
  dy = np.float32(rows + 0.5 - centre[:, None, None, 1]) / radius
  angle = np.float32(motion.orientation[:, k, None, None])
  x = np.cos(angle) * dx + np.sin(angle) * dy
  y = np.cos(angle) * dy - np.sin(angle) * dx
  # A pixel is covered in proportion to how far its centre is inside.
  coverage = np.clip(0.5 - radius * SHAPES[look.shape](x, y), 0, 1)
  tone = np.clip(0.5 + radius * TEXTURES[look.texture](x, y), 0, 1)
  first, second = np.float32(look.colour), np.float32(look.second_colour)
  colour = first + tone[..., None] * (second - first)
  where = (np.arange(len(canvas))[:, None, None], rows, columns)
  beneath = canvas[where]
  canvas[where] = beneath + coverage[..., None] * (colour - beneath)
