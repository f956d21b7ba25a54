# SPDX-License-Identifier: Apache-2.0
"""Scenes whose class only motion tells: what `motion_clips` films.

Objects that move as the class says (`motion_paths`), and what has nothing to do
with it: their looks, a background, distractors, a shaking camera, a flicker.
"""

import dataclasses

import numpy as np

from flatten_jax.inputs.synthetic.appearance import (
  BRIGHTEST,
  GROUND,
  Look,
  draw_background,
  draw_look,
)
from flatten_jax.inputs.synthetic.paths import (
  Difficulty,
  Trajectory,
  trajectory,
)


@dataclasses.dataclass(frozen=True)
class Scene:
  """All that is needed to draw T frames, at any resolution.

  Attributes:
    objects: the motion that is the class.
    distractors: small things with a motion that is independent of the class.
    object_looks: one per object.
    distractor_looks: one per distractor.
    background: RGB in [0, 1], somewhat larger than the view, square [n n 3].
    shake: displacement of everything, in frame sides [T 2].
    gain: brightness factor [T].
    torus: side of the torus that positions live on, in frame sides.
  """

  objects: Trajectory
  distractors: Trajectory
  object_looks: tuple[Look, ...]
  distractor_looks: tuple[Look, ...]
  background: np.ndarray
  shake: np.ndarray
  gain: np.ndarray
  torus: float


def draw_scene(
  class_name: str,
  rng: np.random.Generator,
  num_frames: int,
  difficulty: Difficulty | None = None,
) -> Scene:
  """Draws a whole scene: objects that move as the class says, and the rest.

  Only `objects` depends on the class. The rest is stationary, and reversing
  time leaves its distribution as it is.
  """
  difficulty = difficulty or Difficulty()
  objects = trajectory(class_name, rng, num_frames, difficulty)
  distractors = _drift(rng, num_frames, difficulty)
  # Luminances are drawn for a dark background, and mirrored for a light one.
  light = rng.random() < difficulty.light_background
  ground = rng.uniform(*GROUND)
  brightest_ground = ground + difficulty.background
  bright = brightest_ground + difficulty.contrast
  dim = brightest_ground + difficulty.distractor_contrast
  return Scene(
    objects=objects,
    distractors=distractors,
    object_looks=tuple(
      draw_look(rng, bright, BRIGHTEST, difficulty.texture, light)
      for _ in range(objects.diameter.shape[1])
    ),
    distractor_looks=tuple(
      draw_look(rng, dim, dim, 0.0, light)
      for _ in range(distractors.diameter.shape[1])
    ),
    background=draw_background(rng, ground, difficulty.background, light),
    shake=difficulty.shake * _smooth_noise(rng, num_frames, 2),
    gain=1 + difficulty.flicker * _smooth_noise(rng, num_frames, 1)[:, 0],
    torus=difficulty.torus,
  )


def _drift(rng, num_frames, difficulty):
  """Distractors: on straight ways of their own, or (half of them) at rest."""
  count = rng.integers(difficulty.distractors, endpoint=True)
  start = rng.random((count, 2)) * difficulty.torus
  angle = rng.uniform(0, 2 * np.pi, count)
  length = rng.uniform(0, difficulty.distractor_path, count)
  length *= rng.random(count) < 0.5
  velocity = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1)
  time = np.linspace(0.0, 1.0, num_frames)[:, None, None]
  still = np.ones((num_frames, 1))
  return Trajectory(
    position=np.mod(start + time * velocity, difficulty.torus),
    orientation=still * rng.uniform(0, 2 * np.pi, count),
    diameter=still * rng.uniform(*difficulty.distractor_diameter, count),
  )


def _smooth_noise(rng, num_frames, channels):
  """Stationary noise of unit variance, the same in distribution backwards.

  White noise through a symmetric kernel [T channels].
  """
  kernel = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
  kernel /= np.linalg.norm(kernel)
  white = rng.standard_normal((num_frames + len(kernel) - 1, channels))
  return np.stack(
    [np.convolve(column, kernel, mode='valid') for column in white.T], axis=-1
  )
