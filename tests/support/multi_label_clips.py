# SPDX-License-Identifier: Apache-2.0
"""Videos of several labels: clips of embedded motions, one after another."""

import csv
import pathlib

import numpy as np

from flatten_jax.inputs.synthetic.scene import draw_scene, render
from flatten_jax.inputs.video.encode import write_video

MOTIONS = ('clockwise', 'counter_clockwise', 'down', 'left', 'right', 'up')


def make(
  folder: pathlib.Path, count: int, size: int = 48, seed: int = 0
) -> pathlib.Path:
  """Writes videos of one or two motions in a row, and their list.

  Of ten videos one stands still, and has no label, and three show one motion.
  """
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(seed)
  rows = []
  for number in range(count):
    shown = (0, 1, 1, 1, 2, 2, 2, 2, 2, 2)[number % 10]
    motions = rng.permutation(MOTIONS)[:shown].tolist()
    parts = [
      render(draw_scene(name, rng, 24 // shown), size) for name in motions
    ]
    if not parts:
      parts = [render(draw_scene('up', rng, 24), size)[:1]] * 24
    name = f'{number:04d}.mp4'
    write_video(folder / name, np.concatenate(parts), 12)
    rows.append((name, ';'.join(motions)))
  path = folder / 'labels.csv'
  with path.open('w', newline='') as file:
    csv.writer(file).writerows([('path', 'label'), *rows])
  return path
