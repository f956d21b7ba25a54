# SPDX-License-Identifier: Apache-2.0
"""The classes of the embedded set: motions that no single frame tells apart.

Position, orientation and size of an object are a point on a four-dimensional
torus: x and y wrap around outside the view, orientation is a circle, and so is
the logarithm of size. A class is a path on it, from a uniformly random point:

* A uniform point that moves stays uniform, so a single frame, at any time, has
  the same distribution in every class.
* The second class of each pair is the first one played backwards: a classifier
  that ignores the order of frames gets at most half of the clips right.
"""

import dataclasses

import numpy as np

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
HEADINGS = {'right': 0, 'down': 90, 'down_right': 45, 'up_right': -45}

# Lengths are in frame sides; ranges are (low, high) of a uniform draw per clip.
# Paths and turns are covered from the first frame to the last.
OBJECTS = 3  # on the torus; about half of them are in view
DIAMETER = (0.16, 0.42)
PATH = (0.6, 1.1)  # length of straight paths
ORBIT = (0.18, 0.24)  # radius of circular paths
TURNS = (0.7, 1.0)  # around that circle
REST = (0.4, 0.6)  # share of time before the start
HEADING_JITTER = 8.0  # degrees to either side
DISTRACTORS = 2  # at most
DISTRACTOR_DIAMETER = (0.05, 0.10)
DISTRACTOR_PATH = 0.25  # at most
# Side of the torus: objects wrap out of view, with a pixel to spare.
TORUS = 1.0 + DIAMETER[1] + 0.04


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """The motion of K objects in T frames; the view is the torus's middle."""

  position: np.ndarray  # centres (x, y) in frame sides, y downwards [T K 2]
  orientation: np.ndarray  # radians, clockwise on the screen [T K]
  diameter: np.ndarray  # of the circle around the object, frame sides [T K]


def draw_motion(
  class_name: str, rng: np.random.Generator, num_frames: int
) -> Trajectory:
  """Draws the motion of the objects of one clip.

  With generators in the same state, the two classes of a pair give exactly
  each other's reversal.
  """
  forward, backward = next(pair for pair in PAIRS if class_name in pair)
  # Evenly spaced in each dimension, in random order, with some noise: objects
  # do not cover each other, and the centre of one is always in view. As a
  # uniform point moves all of them, each by itself is uniform.
  start = rng.random(4)
  spaced = np.stack([rng.permutation(OBJECTS) for _ in range(4)], axis=-1)
  noise = rng.uniform(-0.02, 0.02, (OBJECTS, 4))
  start = start + (spaced + noise) / OBJECTS  # [K 4]
  path = _path(forward, rng, num_frames)  # [T 4]
  state = np.mod(start + path[:, None], 1.0)  # [T K 4]
  if class_name == backward:
    state = state[::-1]
  low, high = DIAMETER
  return Trajectory(
    position=state[..., :2] * TORUS,
    orientation=state[..., 2] * 2 * np.pi,
    diameter=low * (high / low) ** state[..., 3],
  )


def _path(name, rng, num_frames):
  """Draws the path of a class from its start, in turns of the torus [T 4]."""
  time = np.linspace(0.0, 1.0, num_frames)
  length = rng.uniform(*PATH)
  radius = rng.uniform(*ORBIT)
  turns = rng.uniform(*TURNS)
  rest = rng.uniform(*REST)
  jitter = np.deg2rad(rng.uniform(-1, 1) * HEADING_JITTER)
  angle = rng.uniform(0, 2 * np.pi)
  path = np.zeros((num_frames, 4))
  distance = length * time
  if name == 'clockwise':
    # From the top, to the right first; y grows downwards.
    distance = radius
    angle = 2 * np.pi * turns * time + jitter - np.pi / 2
    path[:, 2] = turns * time
  elif name == 'starts':
    distance = length * np.maximum(time - rest, 0)
  else:
    angle = np.deg2rad(HEADINGS[name]) + jitter
  path[:, 0] = distance * np.cos(angle) / TORUS
  path[:, 1] = distance * np.sin(angle) / TORUS
  return path


def draw_drift(rng: np.random.Generator, num_frames: int) -> Trajectory:
  """Draws distractors: half rest, half move straight, whatever the class."""
  count = rng.integers(DISTRACTORS, endpoint=True)
  start = rng.random((count, 2)) * TORUS
  angle = rng.uniform(0, 2 * np.pi, count)
  length = rng.uniform(0, DISTRACTOR_PATH, count)
  length *= rng.random(count) < 0.5
  velocity = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1)
  time = np.linspace(0.0, 1.0, num_frames)[:, None, None]
  still = np.ones((num_frames, 1))
  return Trajectory(
    position=np.mod(start + time * velocity, TORUS),
    orientation=still * rng.uniform(0, 2 * np.pi, count),
    diameter=still * rng.uniform(*DISTRACTOR_DIAMETER, count),
  )
