# SPDX-License-Identifier: Apache-2.0
"""The classes of `motion_clips`: paths that no single frame tells apart.

A clip is a point that travels. Where the objects of a scene are, how they are
turned and how large they are is a point on a four-dimensional torus: x and y
wrap around outside the view, orientation is a circle, and so is the logarithm
of size. A class is a path on that torus, begun at a uniformly random point. Two
facts follow:

* Moving a uniform point leaves it uniform, so a single frame, at any time, has
  the same distribution in every class: one frame tells nothing.
* The second class of each pair is the first one played backwards, so the set
  of a clip's frames tells nothing of which of the two it is: a classifier
  that is blind to order gets at most half of the clips right.
"""

import dataclasses

import numpy as np

from flatten_jax.inputs.synthetic.appearance import BRIGHTEST, GROUND

# The second of each pair is the first one with time reversed.
PAIRS = (
  ('right', 'left'),
  ('down', 'up'),
  ('down_right', 'up_left'),
  ('up_right', 'down_left'),
  ('clockwise', 'counter_clockwise'),
  ('starts', 'stops'),
)
CLASSES = tuple(sorted(name for pair in PAIRS for name in pair))
# Degrees on the screen, where y grows downwards.
_HEADINGS = {'right': 0, 'down': 90, 'down_right': 45, 'up_right': -45}


@dataclasses.dataclass(frozen=True)
class Difficulty:
  """Everything that makes a clip easy or hard; lengths in frame sides.

  Ranges are (low, high) of a uniform draw per clip. `path` and `turns` are
  covered from the first frame to the last, whatever the number of frames.
  """

  objects: int = 3  # on the torus; about half of them are in view
  diameter: tuple[float, float] = (0.16, 0.42)  # of the objects
  path: tuple[float, float] = (0.6, 1.1)  # length of the straight ways
  orbit: tuple[float, float] = (0.18, 0.24)  # radius of the circular ways
  turns: tuple[float, float] = (0.7, 1.0)  # around that circle
  rest: tuple[float, float] = (0.4, 0.6)  # share of time before it starts
  heading_jitter: float = 8.0  # degrees to either side
  contrast: float = 0.35  # least luminance difference, object to background
  texture: float = 0.2  # luminance difference between an object's two tones
  light_background: float = 0.1  # probability of dark objects on light
  background: float = 0.05  # amplitude of gradients and blobs, in luminance
  distractors: int = 2  # at most; small, dim, with a motion of their own
  distractor_diameter: tuple[float, float] = (0.05, 0.10)
  distractor_contrast: float = 0.15
  distractor_path: float = 0.25  # at most
  shake: float = 0.008  # standard deviation of the camera's position
  flicker: float = 0.02  # standard deviation of the brightness factor

  def __post_init__(self):
    if self.objects < 1 or self.distractors < 0:
      raise ValueError(
        'Expected at least 1 object and 0 distractors, not '
        f'{self.objects} and {self.distractors}.'
      )
    room = BRIGHTEST - GROUND[1] - self.background
    if self.contrast + self.texture > room:
      raise ValueError(
        f'contrast {self.contrast} and texture {self.texture} must leave room '
        f'between background and white: {room:.2f} at most together.'
      )

  @property
  def torus(self) -> float:
    """Side of the torus: what wraps is out of view, with a pixel to spare."""
    return 1.0 + self.diameter[1] + 0.04


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """Where K objects are in T frames, lengths in frame sides.

  Attributes:
    position: centres (x, y), each in [0, torus) [T K 2]. The view is the
      middle of the torus, and y grows downwards.
    orientation: in radians, [0, 2 pi), clockwise on the screen [T K].
    diameter: of the circle around the object [T K].
  """

  position: np.ndarray
  orientation: np.ndarray
  diameter: np.ndarray

  def reversed(self) -> 'Trajectory':
    """The same with time running backwards."""
    return Trajectory(
      self.position[::-1], self.orientation[::-1], self.diameter[::-1]
    )


def trajectory(
  class_name: str,
  rng: np.random.Generator,
  num_frames: int,
  difficulty: Difficulty | None = None,
) -> Trajectory:
  """Draws how the objects of one clip move.

  With generators in the same state, the two classes of a pair give exactly
  each other's reversal.

  Args:
    class_name: one of `CLASSES`.
    rng: where all randomness comes from.
    num_frames: T, at least 2.
    difficulty: ranges to draw from; the defaults of `Difficulty` if None.

  Returns:
    A trajectory of `difficulty.objects` objects.
  """
  difficulty = difficulty or Difficulty()
  if class_name not in CLASSES:
    raise ValueError(f'Expected a class of {CLASSES}, not {class_name!r}.')
  if num_frames < 2:
    raise ValueError(f'Motion needs 2 frames or more, not {num_frames}.')
  for forward, backward in PAIRS:
    if class_name == forward:
      return _travel(forward, rng, num_frames, difficulty)
    if class_name == backward:
      return _travel(forward, rng, num_frames, difficulty).reversed()
  raise AssertionError(class_name)


def _travel(name, rng, num_frames, difficulty):
  """A uniform point of the torus, moved along the path of a class."""
  start = rng.random(4) + _constellation(rng, difficulty)  # [K 4]
  path = _path(name, rng, num_frames, difficulty)  # [T 4]
  state = np.mod(start + path[:, None], 1.0)  # [T K 4]
  low, high = difficulty.diameter
  return Trajectory(
    position=state[..., :2] * difficulty.torus,
    orientation=state[..., 2] * 2 * np.pi,
    diameter=low * (high / low) ** state[..., 3],
  )


def _constellation(rng, difficulty):
  """How the objects stand to each other, in turns of the torus [K 4].

  Evenly spaced in each dimension, in an order of its own, a little disturbed.
  Of three objects at most one is then outside the view on the left or right,
  and one above or below: the centre of one at least is in view, always, and
  they do not cover each other. As a uniform point moves the constellation as a
  whole, each object by itself is uniform.
  """
  count = difficulty.objects
  spaced = np.stack([rng.permutation(count) for _ in range(4)], axis=-1)
  return (spaced + rng.uniform(-0.02, 0.02, (count, 4))) / count


def _path(name, rng, num_frames, difficulty):
  """The way of a class from its start, in turns of the torus [T 4]."""
  time = np.linspace(0.0, 1.0, num_frames)
  length = rng.uniform(*difficulty.path)
  radius = rng.uniform(*difficulty.orbit)
  turns = rng.uniform(*difficulty.turns)
  rest = rng.uniform(*difficulty.rest)
  jitter = np.deg2rad(rng.uniform(-1, 1) * difficulty.heading_jitter)
  anywhere = rng.uniform(0, 2 * np.pi)
  path = np.zeros((num_frames, 4))
  if name == 'clockwise':
    # From the top, to the right first; y grows downwards.
    angle = 2 * np.pi * turns * time + jitter - np.pi / 2
    path[:, 0] = radius * np.cos(angle)
    path[:, 1] = radius * np.sin(angle)
    path[:, 2] = turns * time
  elif name == 'starts':
    path[:, :2] = _straight(length * np.maximum(time - rest, 0), anywhere)
  else:
    heading = np.deg2rad(_HEADINGS[name]) + jitter
    path[:, :2] = _straight(length * time, heading)
  path[:, :2] /= difficulty.torus
  return path


def _straight(distance, heading):
  """Points [T 2] at distances [T] from the origin."""
  return distance[:, None] * np.array([np.cos(heading), np.sin(heading)])
