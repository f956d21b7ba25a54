# SPDX-License-Identifier: Apache-2.0
"""Renders example videos of the motions that the bundled weights know."""

import pathlib

import numpy as np

from flatten_jax.inputs.synthetic.scene import draw_scene, render
from flatten_jax.inputs.video.encode import write_video

FPS = 12
SIDE = 128  # px
FRAMES = 48  # of each motion
# File -> a seed, and the motions that follow each other in it.
VIDEOS = {
  'four_motions': (1, ('right', 'up', 'clockwise', 'left')),
  'right': (2, ('right',)),
  'left': (2, ('left',)),
  'clockwise': (3, ('clockwise',)),
}


def make(folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes `VIDEOS` as mp4 into a folder; returns their paths."""
  paths = []
  for name, (seed, motions) in VIDEOS.items():
    rng = np.random.default_rng(seed)
    scenes = [render(draw_scene(x, rng, FRAMES), SIDE) for x in motions]
    paths.append(folder / f'{name}.mp4')
    write_video(paths[-1], np.concatenate(scenes), FPS)
  return paths
