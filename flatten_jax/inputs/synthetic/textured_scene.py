# SPDX-License-Identifier: Apache-2.0
"""Renders clips of `many_motions`: textured objects on a textured ground."""

from collections.abc import Sequence

import cv2
import numpy as np

from flatten_jax.inputs.synthetic import many_motions
from flatten_jax.inputs.synthetic.many_motions import through, wander

TEXTURE = 64  # px, side of the textures of objects.
OCTAVES = (2, 4, 8, 16, 32)  # Cells along the side of a texture.


def render(
  name: str, rng: np.random.Generator, num_frames: int = 16, size: int = 48
) -> np.ndarray:
  """Draws and renders a clip of a class. -> uint8 [T size size 3].

  Args:
    name: one of `many_motions.CLASSES`.
    rng: draws everything that does not depend on the class.
    num_frames: T.
    size: side of the frames, in pixels.
  """
  scene = TexturedScene(name, rng, num_frames, size)
  getattr(scene, f'draw_{scene.kind}')()
  return scene.finish()


class TexturedScene:
  """The frames of one clip, float [T size size 3], while they are drawn."""

  def __init__(
    self, name: str, rng: np.random.Generator, num_frames: int, size: int
  ):
    self.kind, _, self.motion = name.partition('_')
    self.rng, self.size = rng, size
    self.time = many_motions.course(rng, num_frames)
    self.ones = np.ones(num_frames)
    self.rows, self.columns = np.mgrid[:size, :size].astype(np.float32)
    shake = rng.choice([0, 0.004, 0.015])
    drift = np.linspace(-0.5, 0.5, num_frames)[:, None]
    self.camera = wander(rng, num_frames, shake)
    self.camera = self.camera + drift * rng.uniform(-0.06, 0.06, 2)
    zoom = self.ones * rng.uniform(0.9, 1.2)
    if self.kind == 'camera':
      zoom = zoom * self._move_camera()
    self.frames = self._ground(zoom)
    self.object_size = rng.uniform(0.08, 0.24)
    for _ in range(rng.integers(0, 3)):  # Others, which rest on the ground.
      place = rng.uniform(0, 1, 2) - self.camera
      self._paint(place, self.ones * rng.uniform(0.05, 0.18), 0 * self.ones)

  def finish(self) -> np.ndarray:
    """Adds flicker and noise; a third of the clips is gray. -> uint8."""
    frames = np.stack(self.frames)
    if self.rng.random() < 0.3:
      frames[:] = frames.mean(-1, keepdims=True)
    flicker = 1 + wander(self.rng, len(frames), 0.03)[:, :1, None, None]
    noise = self.rng.uniform(0, 0.03)
    frames = frames * flicker + self.rng.normal(0, noise, frames.shape)
    return np.clip(255 * frames, 0, 255).astype(np.uint8)

  def draw_path(self) -> None:
    """Draws an object on a path, perhaps held by an arm from below."""
    rng = self.rng
    points = many_motions.path(self.motion, self.time)
    points = points * rng.uniform(0.55, 1) * np.exp(rng.uniform(-0.2, 0.2, 2))
    cos, sin = np.cos(angle := rng.uniform(-0.3, 0.3)), np.sin(angle)
    points = points @ ((cos, sin), (-sin, cos))
    points = points + 0.5 + rng.uniform(-0.15, 0.15, 2)
    points = points + wander(rng, len(points), 0.006)
    look, size = texture(rng, TEXTURE), self.ones * self.object_size
    if rng.random() < 0.5:
      elbow = np.array([rng.uniform(-0.1, 1.1), 1.2])
      for share in (0.75, 0.5, 0.25):
        place = points + share * (elbow - points)
        self._paint(place, size * 1.1, 0 * size, look)
    turn = rng.uniform(0, 6) + self.time * rng.uniform(-1, 1)
    self._paint(points, size, turn, look)

  def draw_open(self) -> None:
    """Draws an opening, such as a mouth, between lips."""
    rng, size = self.rng, self.size
    openings = [many_motions.OPENINGS[key] for key in self.motion.split('_')]
    widths = through(openings, self.time)
    widths = (
      widths * np.exp(rng.uniform(-0.25, 0.25, 2)) * rng.uniform(0.35, 0.6)
    )
    place = 0.5 + rng.uniform(-0.12, 0.12, 2)
    place = place + wander(rng, len(widths), 0.01)
    cos, sin = np.cos(angle := rng.uniform(-0.3, 0.3)), np.sin(angle)
    lips = rng.uniform(0, 1, 3)
    inside = texture(rng, TEXTURE) * np.float32(rng.uniform(0.1, 0.6))
    if rng.random() < 0.6:  # A face: flat, and of one color.
      lips[:] = lips.mean()
      inside[:] = inside.mean(-1, keepdims=True)
      skin = 0.7 * rng.uniform(0.2, 0.8)
      self.frames = [0.3 * frame + np.float32(skin) for frame in self.frames]
    thickness = rng.uniform(0.04, 0.1)
    for frame, center, (width, height) in zip(
      self.frames, place, widths, strict=True
    ):
      x, y = self.columns / size - center[0], self.rows / size - center[1]
      x, y = cos * x + sin * y, cos * y - sin * x
      half = np.array([width / 2 + 0.02, height / 2 + 0.01])
      outer = _ellipse(x, y, half + thickness, size)
      frame += 0.8 * outer * (lips - frame)
      look = _look_up(inside, 60 * x, 60 * y)
      frame += _ellipse(x, y, half, size) * (look - frame)

  def draw_scale(self) -> None:
    """Draws an object that grows or shrinks."""
    scale = through(many_motions.COURSES[self.motion], self.time) - 0.5
    size = self.object_size * np.exp(scale * self.rng.uniform(0.8, 1.6))
    self._paint(self._rest(), size, self.ones * self.rng.uniform(0, 6))

  def draw_turn(self) -> None:
    """Draws an object that turns."""
    angle = through(many_motions.COURSES[self.motion], self.time)
    angle = angle * self.rng.uniform(1, 3) + self.rng.uniform(0, 6)
    self._paint(self._rest(), self.ones * self.object_size * 1.3, angle)

  def draw_camera(self) -> None:
    """Draws an object at rest, which the camera moves over."""
    place = self.rng.uniform(0.3, 0.7, 2) - self.camera
    self._paint(place, self.ones * self.object_size, 0 * self.ones)

  def draw_pair(self) -> None:
    """Draws two objects that move with regard to each other."""
    rng, count = self.rng, len(self.time)
    apart = 0.14 if self.motion == 'pass' else 0
    middle, scale = rng.uniform(0.35, 0.65), rng.uniform(0.7, 1.3)
    for side, places in zip(
      (-1, 1), many_motions.PAIRS[self.motion], strict=True
    ):
      x = 0.5 + scale * through(places, self.time)
      y = self.ones * middle + side * apart / 2
      points = np.stack([x, y], -1) + wander(rng, count, 0.012)
      turn = wander(rng, count, 0.3)[:, 0] + rng.uniform(0, 6)
      self._paint(points, self.ones * rng.uniform(0.08, 0.16), turn)

  def _move_camera(self) -> np.ndarray:
    """Moves the camera as its class does; returns the factor of its zoom."""
    number = many_motions.CAMERAS.index(self.motion)
    moved = (self.time - 0.5) * self.rng.uniform(0.25, 0.6)
    if number > 3:
      return np.exp(1.6 * moved * (-1 if self.motion == 'nearer' else 1))
    angle = number * np.pi / 2 + self.rng.uniform(-0.4, 0.4)
    self.camera = self.camera + moved[:, None] * (np.cos(angle), np.sin(angle))
    return self.ones

  def _rest(self) -> np.ndarray:
    """Returns a place that hardly moves. -> [T 2]."""
    place = self.rng.uniform(0.3, 0.7, 2) - self.camera
    return place + wander(self.rng, len(place), 0.01)

  def _ground(self, zoom: np.ndarray) -> list[np.ndarray]:
    """Renders the ground as the camera sees it."""
    side = 2 * self.size
    ground = texture(self.rng, side)
    frames = []
    for place, factor in zip(self.camera, 1.1 * zoom, strict=True):
      corner = side / 2 + place * self.size - factor * self.size / 2
      matrix = np.column_stack([factor * np.eye(2), corner])
      frames.append(
        cv2.warpAffine(
          ground,
          matrix,
          (self.size, self.size),
          flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
          borderMode=cv2.BORDER_REFLECT,
        )
      )
    return frames

  def _paint(
    self,
    places: np.ndarray,
    radii: np.ndarray,
    angles: np.ndarray,
    look: np.ndarray | None = None,
  ) -> None:
    """Paints a smooth random shape into every frame.

    Args:
      places: centers, in frame sides [T 2].
      radii: in frame sides [T].
      angles: radians [T].
      look: its texture; a new one by default.
    """
    look = texture(self.rng, TEXTURE) if look is None else look
    border = _random_border(self.rng)
    for frame, place, radius, angle in zip(
      self.frames, places * self.size, radii * self.size, angles, strict=True
    ):
      x, y = (self.columns - place[0]) / radius, (self.rows - place[1]) / radius
      x, y = (
        np.cos(angle) * x + np.sin(angle) * y,
        np.cos(angle) * y - np.sin(angle) * x,
      )
      # A pixel is covered by the distance of its center to the border.
      cover = np.clip(0.5 - border(x, y) * radius, 0, 1)[..., None]
      frame += cover * (_look_up(look, 20 * x, 20 * y) - frame)


def texture(rng: np.random.Generator, side: int) -> np.ndarray:
  """Draws colored noise of several octaves. -> float32 [side side 3]."""
  image, total = np.zeros((side, side, 3), np.float32), 0.0
  power = rng.uniform(0.3, 1)
  for cells in OCTAVES:
    coarse = rng.random((cells + 3, cells + 3)).astype(np.float32)
    gray = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) - 0.5
    tint = rng.uniform(0.6, 1.4, 3) if cells < 9 else np.ones(3)
    weight = cells**-power
    image += weight * gray[..., None] * tint.astype(np.float32)
    total += weight
  image = image / total * rng.uniform(0.8, 3) + rng.uniform(0.2, 0.8)
  if rng.random() < 0.35:
    image[:] = image.mean(-1, keepdims=True)
  else:
    image += rng.uniform(-0.15, 0.15, 3)
  if rng.random() < 0.3:  # Areas with hard borders.
    levels = rng.integers(2, 5)
    image = np.round(image * levels) / levels
  return np.clip(image, 0, 1).astype(np.float32)


def _random_border(rng: np.random.Generator):
  """Draws a smooth outline; returns the distance to it, negative inside."""
  waves = rng.integers(2, 6)
  sizes = rng.uniform(0, 0.35, waves) / np.arange(1, waves + 1)
  phases = rng.uniform(0, 2 * np.pi, waves)
  aspect, turn = np.exp(rng.uniform(-0.6, 0.6)), rng.uniform(0, np.pi)

  def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = (
      (np.cos(turn) * x + np.sin(turn) * y) * aspect,
      (np.cos(turn) * y - np.sin(turn) * x) / aspect,
    )
    angle = np.arctan2(y, x)
    waved = sum(
      size * np.cos(number * angle + phase)
      for number, (size, phase) in enumerate(zip(sizes, phases, strict=True), 1)
    )
    return np.hypot(x, y) - 1 - waved

  return distance


def _ellipse(x, y, half: Sequence[float], size: int) -> np.ndarray:
  """Returns how far pixels are covered by an ellipse. -> [size size 1]."""
  distance = np.hypot(x / half[0], y / half[1]) - 1
  return np.clip(0.5 - distance * min(half) * size, 0, 1)[..., None]


def _look_up(look: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Returns the texture at places from its middle."""
  x, y = (np.float32(axis + TEXTURE / 2) for axis in (x, y))
  return cv2.remap(look, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
