# SPDX-License-Identifier: Apache-2.0
"""The classes of `many` motions: paths, openings, turns, cameras and pairs.

They are for pretraining before filmed videos: a class is the course of a
motion, and everything else varies, its speed, place, size, direction by some
degrees, looks, background and shake.
"""

import itertools

import numpy as np

# Corners of paths in frame sides, in the middle of the view, y downwards. Each
# is drawn as it is and mirrored.
CORNERS = {
  'square': ((-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4), (-0.4, -0.4)),
  'square_from_below': (
    *((0.4, 0.4), (-0.4, 0.4), (-0.4, -0.4), (0.4, -0.4), (0.4, 0.4)),
  ),
  'triangle': ((0, -0.45), (0.45, 0.4), (-0.45, 0.4), (0, -0.45)),
  'caret': ((-0.45, 0.4), (0, -0.4), (0.45, 0.4)),
  'vee': ((-0.45, -0.4), (0, 0.4), (0.45, -0.4)),
  'tick': ((-0.4, 0), (-0.1, 0.35), (0.45, -0.4)),
  'zed': ((-0.4, -0.4), (0.4, -0.4), (-0.4, 0.4), (0.4, 0.4)),
  'zigzag': (
    *((-0.5, 0), (-0.3, -0.3), (-0.1, 0.3), (0.1, -0.3), (0.3, 0.3), (0.5, 0)),
  ),
  'ell': ((-0.4, -0.4), (-0.4, 0.4), (0.4, 0.4)),
  'star': tuple(
    (0.45 * np.sin(0.8 * np.pi * k), -0.45 * np.cos(0.8 * np.pi * k))
    for k in range(6)
  ),
  'cross': ((-0.4, -0.4), (0.4, 0.4), (0.4, -0.4), (-0.4, 0.4)),
}
# Smooth paths, as functions of a time from 0 to 1; mirrored as well.
CURVES = {
  'arc_above': lambda t: (
    -0.5 * np.cos(np.pi * t),
    0.25 - np.sin(np.pi * t) / 2,
  ),
  'arc_below': lambda t: (
    -0.5 * np.cos(np.pi * t),
    np.sin(np.pi * t) / 2 - 0.25,
  ),
  'loop': lambda t: (
    t - 0.5 - 0.3 * np.sin(2 * np.pi * t),
    0.35 * np.cos(2 * np.pi * t),
  ),
  'eight': lambda t: (
    0.45 * np.sin(2 * np.pi * t),
    0.4 * np.sin(4 * np.pi * t),
  ),
}
# Width and height of an opening, in its own size.
OPENINGS = {
  'small': (0.35, 0.05),
  'wide': (0.9, 0.12),
  'tall': (0.4, 0.6),
  'big': (0.8, 0.65),
}
COURSES = {
  'up': (0, 1),
  'down': (1, 0),
  'up_down': (0, 1, 0),
  'down_up': (1, 0, 1),
}
CAMERAS = ('right', 'down', 'left', 'up', 'nearer', 'farther')
# Places of the left and of the right one of two objects, at even times.
PAIRS = {
  'approach': ((-0.3, -0.08), (0.3, 0.08)),
  'part': ((-0.08, -0.3), (0.08, 0.3)),
  'pass': ((-0.3, 0.3), (0.3, -0.3)),
  'hit_from_left': ((-0.3, -0.1, -0.3), (0.1, 0.1, 0.1)),
  'hit_from_right': ((-0.1, -0.1, -0.1), (0.3, 0.1, 0.3)),
  'meet': ((-0.3, 0.0, -0.3), (0.3, 0.0, 0.3)),
}


def _classes() -> tuple[str, ...]:
  paths = ['path_rest', *(f'path_straight_{i}' for i in range(8))]
  paths += [f'path_and_back_{i}' for i in range(4)]
  for shape in (*CORNERS, *CURVES, *(f'circle_{i}' for i in range(4))):
    paths += [f'path_{shape}', f'path_{shape}_mirrored']
  opened = [
    'open_' + '_'.join(shapes)
    for count in (2, 3)
    for shapes in itertools.product(OPENINGS, repeat=count)
    if all(a != b for a, b in itertools.pairwise(shapes))
  ]
  scaled = [
    f'{kind}_{course}' for kind in ('scale', 'turn') for course in COURSES
  ]
  cameras = [f'camera_{way}' for way in CAMERAS]
  return (
    *paths,
    *opened,
    *scaled,
    *cameras,
    *(f'pair_{pair}' for pair in PAIRS),
  )


CLASSES = _classes()


def course(rng: np.random.Generator, num_frames: int) -> np.ndarray:
  """Draws a time from 0 to 1 for each frame: rest, motion, rest, uneven. [T]"""
  time = np.linspace(0, 1, num_frames)
  start, end = rng.uniform(0, 0.25), rng.uniform(0.75, 1)
  time = np.clip((time - start) / (end - start), 0, 1)
  time = time ** np.exp(rng.uniform(-0.4, 0.4))
  uneven = rng.uniform(-0.1, 0.1) * np.sin(2 * np.pi * time)
  return np.clip(time + uneven, 0, 1)


def through(values: np.ndarray, time: np.ndarray) -> np.ndarray:
  """Moves smoothly through values at even times. [K ...], [T] -> [T ...]."""
  values = np.asarray(values, float)
  place = time * (len(values) - 1)
  before = np.minimum(place.astype(int), len(values) - 2)
  share = place - before
  share = share * share * (3 - 2 * share)
  share = share.reshape(-1, *[1] * (values.ndim - 1))
  return values[before] * (1 - share) + values[before + 1] * share


def path(name: str, time: np.ndarray) -> np.ndarray:
  """Returns a path around the middle, in frame sides. [T] -> [T 2].

  Args:
    name: of a class, without 'path_'.
    time: from 0 to 1.
  """
  shape = name.removesuffix('_mirrored')
  stem, _, number = shape.rpartition('_')
  if shape == 'rest':
    points = np.zeros((len(time), 2))
  elif stem in ('straight', 'and_back'):
    angle = int(number) * (np.pi / 4 if stem == 'straight' else np.pi / 2)
    along = time - 0.5 if stem == 'straight' else 0.4 - 0.8 * abs(2 * time - 1)
    points = along[:, None] * (np.cos(angle), np.sin(angle))
  elif stem == 'circle':
    angle = 2 * np.pi * time + int(number) * np.pi / 2
    points = np.stack([np.cos(angle), np.sin(angle)], -1) / 2
  elif shape in CURVES:
    points = np.stack(CURVES[shape](time), -1)
  else:
    corners = np.asarray(CORNERS[shape])
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    passed = np.append(0, lengths.cumsum()) / lengths.sum()
    points = np.stack([np.interp(time, passed, axis) for axis in corners.T], -1)
  return points * (-1, 1) if shape != name else points


def wander(
  rng: np.random.Generator, num_frames: int, scale: float
) -> np.ndarray:
  """Draws a slow random motion, in the unit of `scale`. -> [T 2]."""
  kernel = np.hanning(9)
  kernel /= np.linalg.norm(kernel)
  white = rng.standard_normal((2, num_frames + len(kernel) - 1))
  return scale * np.stack([np.convolve(x, kernel, 'valid') for x in white], -1)
