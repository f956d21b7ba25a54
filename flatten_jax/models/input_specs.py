# SPDX-License-Identifier: Apache-2.0
"""The clips that models expect, and how its test views are averaged."""

import dataclasses

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET = {'mean': IMAGENET_MEAN, 'std': IMAGENET_STD}


@dataclasses.dataclass(frozen=True)
class InputSpec:
  """The input of a model: values for config keys that are left to the model.

  Attributes:
    num_frames: T, frames per clip.
    sampling: 'dense', frames `stride` apart; 'segment', one frame from each of
      T equal parts of the video; or another rule of `inputs/sampling`.
    stride: frames of the video from one frame of a dense clip to the next.
    crop: height and width of a frame, in pixels.
    mean: per channel, of pixels in [0, 1]; subtracted.
    std: per channel; divides the difference.
    average: the average over the test views of a video: of 'logits', or of
      'probs' after the softmax.
    channels: 'rgb' or 'bgr', the order of the channels, also of mean and std;
      or 'motion', see `config.channels`.
    num_clips: test views along time.
    num_crops: test views across the frame.
    test_frames: frames of a test view; 0 for `num_frames`.
    test_crop: side of a test crop, in pixels, in proportion for another
      `crop`. 0 for `crop`.
    test_short_side: of test videos, in pixels, from which `crop` is cut; in
      proportion for another crop. 0 for `crop`.
    input: 'rgb', 'flow' or 'rgb+flow'.
    flow_frames: L, consecutive flow fields that make one frame of 2 L channels;
      0 without flow.
  """

  num_frames: int = 16
  sampling: str = 'dense'
  stride: int = 4
  crop: int = 224
  mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
  std: tuple[float, float, float] = (0.225, 0.225, 0.225)
  average: str = 'logits'
  channels: str = 'rgb'
  num_clips: int = 1
  num_crops: int = 1
  test_frames: int = 0
  test_crop: int = 0
  test_short_side: int = 0
  input: str = 'rgb'
  flow_frames: int = 0

  @property
  def num_channels(self) -> int:
    """Number of channels of a frame."""
    return 3 * self.input.startswith('rgb') + 2 * self.flow_frames

  def of_channels(self, number: int) -> 'InputSpec':
    """Returns the spec with a number of channels: 3, 2 L or 3 + 2 L."""
    if number == self.num_channels:
      return self
    flow_frames = (number - 3 * (number % 2)) // 2
    kind = ('flow', 'rgb+flow')[number % 2] if flow_frames else 'rgb'
    return dataclasses.replace(self, input=kind, flow_frames=flow_frames)
