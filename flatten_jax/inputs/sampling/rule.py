# SPDX-License-Identifier: Apache-2.0
"""The interface of a sampling rule."""

import dataclasses
from typing import ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rule:
  """Chooses frames by their numbers, from 0 on in a video or its part.

  Attributes:
    num_frames: T, frames of a clip.
    stride: frames of the video from one frame of a clip to the next.
    run: consecutive frames that are taken together; divides `num_frames`.
    strided: whether frames of a test clip are `stride` apart.
    one_clip: whether a video has one test clip only.
    rate: frames per second that `stride` counts in, whatever the video's are,
      and that a video of unknown rate is taken to have; 0 for the video's own.
    seconds: that a test clip shows at most, if it is not `strided`; 0: all.
    crop_steps: whole steps that place test crops, see `boxes.crop_places`.
    floors_sides: whether the longer side of a scaled frame is rounded down, as
      there; by default it is even.
    frames: the frames of a test clip in words.
  """

  num_frames: int
  stride: int

  run: ClassVar[int] = 1
  strided: ClassVar[bool] = True
  one_clip: ClassVar[bool] = False
  rate: ClassVar[float] = 0.0
  seconds: ClassVar[float] = 0.0
  crop_steps: ClassVar[int] = 0
  floors_sides: ClassVar[bool] = False
  frames: ClassVar[str] = (
    'num_frames frames, stride apart, from the middle of the video'
  )

  def train(
    self, length: int, fps: float, rng: np.random.Generator
  ) -> np.ndarray:
    """Draws a training clip. -> [T].

    Args:
      length: number of frames of the video.
      fps: its frames per second, 0 if unknown; only for rules with a `rate`.
      rng: all randomness of the clip.
    """
    raise NotImplementedError

  def test(self, length: int, fps: float, clips: int) -> np.ndarray:
    """Chooses the test clips of a video. -> [V T].

    Args:
      length: number of frames of the video.
      fps: as for `train`.
      clips: V.
    """
    raise NotImplementedError

  def span(self, fps: float) -> float:
    """Returns the frames of a video that T frames `stride` apart extend over.

    Args:
      fps: as for `train`.
    """
    scale = fps / self.rate if fps and self.rate else 1
    return self.num_frames * self.stride * scale
