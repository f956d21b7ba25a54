# SPDX-License-Identifier: Apache-2.0
"""Videos of several labels: none, one or two of ten motions in a row."""

from collections.abc import Sequence

import numpy as np

from flatten_jax.inputs.synthetic import motion
from flatten_jax.inputs.synthetic.scene import (
  draw_scene,
  render as render_scene,
)

# Without the two that need the whole length of a video.
CLASSES = tuple(c for c in motion.CLASSES if c not in ('starts', 'stops'))
COUNTS = (0, 1, 1, 1, 2, 2, 2, 2, 2, 2)  # Of motions in a video, to draw from.


def draw(rng: np.random.Generator) -> tuple[str, ...]:
  """Draws the motions of a video, each at most once, in their order."""
  return tuple(rng.permutation(CLASSES)[: rng.choice(COUNTS)].tolist())


def render(
  names: Sequence[str], rng: np.random.Generator, num_frames: int, size: int
) -> np.ndarray:
  """Renders motions one after another, each in a scene of its own.

  Without any, a scene stands still.

  Returns:
    uint8 [T size size 3].
  """
  if not names:
    still = render_scene(draw_scene(CLASSES[0], rng, num_frames), size)
    return np.repeat(still[:1], num_frames, axis=0)
  lengths = np.diff(np.linspace(0, num_frames, len(names) + 1).astype(int))
  pairs = zip(names, lengths.tolist(), strict=True)
  return np.concatenate(
    [render_scene(draw_scene(name, rng, n), size) for name, n in pairs]
  )
