# SPDX-License-Identifier: Apache-2.0
"""The table of sampling rules, and clips as `config.data` describes them."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import clips, segments, whole_videos
from flatten_jax.inputs.sampling.rule import Rule
from flatten_jax.text import did_you_mean

# By `config.data.sampling`; docs/evaluation.md describes each.
RULES: dict[str, type[Rule]] = {
  'dense': clips.Dense,
  'even': segments.Even,
  'segment': whole_videos.Segment,
  'segment_middle': whole_videos.SegmentMiddle,
  'mmaction2': clips.MMAction2,
  'timesformer': clips.TimeSformer,
  'pyslowfast': clips.PySlowFast,
  'vivit': clips.ViViT,
  'vtn': whole_videos.VTN,
  'vidtr': clips.VidTr,
  'nonlocal': clips.NonLocal,
  'i3d': clips.I3D,
  'tsn': segments.TSN,
  'tsn_caffe': segments.TSNCaffe,
  'tsn_dense': clips.TSNDense,
  'tdn': segments.TDN,
}


def of_data(data: Mapping) -> Rule:
  """Returns the rule of `config.data`; refuses unknown ones, and frames."""
  name = data['sampling']
  if name not in RULES:
    raise ValueError(
      f'data.sampling must be one of {", ".join(RULES)}; got {name!r}.'
      f'{did_you_mean(name, RULES)}'
    )
  rule = RULES[name](data['num_frames'], data['stride'])
  if rule.num_frames % rule.run:
    raise ValueError(
      f'data.sampling={name} takes {rule.run} consecutive frames at a time: '
      f'set data.num_frames to a multiple of {rule.run}; got '
      f'{rule.num_frames}.'
    )
  return rule


class Part(Protocol):
  """A video, or a part of one: its frames, and how many a second has."""

  length: int
  fps: float  # Finding it may take time; 0: unknown.


def train_clip(
  data: Mapping, part: Part, rng: np.random.Generator
) -> np.ndarray:
  """Draws a training clip, see `Rule.train`. -> [T]."""
  rule, length = of_data(data), num_places(data, part.length)
  first, length = crop_time(length, tuple(data['time_crop']), rng)
  index = first + rule.train(length, part.fps if rule.rate else 0.0, rng)
  return repeat_middle(index) if data['repeat_frame'] else index


def crop_time(
  length: int, shares: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int]:
  """Draws a part of a video: its first frame, and the number of frames.

  Args:
    length: number of frames of the video.
    shares: lowest and highest share of them; (1, 1) draws no number.
    rng: all randomness.
  """
  if shares == (1, 1):
    return 0, length
  kept = max(round(length * rng.uniform(*shares)), 1)
  return int(rng.integers(length - kept, endpoint=True)), kept


def test_clips(data: Mapping, part: Part) -> np.ndarray:
  """Chooses all `num_clips` test clips, see `Rule.test`. -> [V T]."""
  rule, length = of_data(data), num_places(data, part.length)
  fps = part.fps if rule.rate else 0.0
  index = rule.test(length, fps, data['num_clips'])
  return repeat_middle(index) if data['repeat_frame'] else index


def num_places(data: Mapping, length: int) -> int:
  """Returns the number of places of a video at which a frame may be taken.

  L fields of optical flow from one place on need L + 1 frames.
  """
  return max(length - fields.fields_of_frame(data), 1)


def repeat_middle(index: np.ndarray) -> np.ndarray:
  """Repeats the middle frame T times, for the control experiment."""
  middle = index[..., index.shape[-1] // 2, None]
  return np.broadcast_to(middle, index.shape).copy()
