# SPDX-License-Identifier: Apache-2.0
"""The table of sampling rules, and clips as `config.data` describes them."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from flatten_jax.inputs.sampling import clips, whole_videos
from flatten_jax.inputs.sampling.rule import Rule
from flatten_jax.text import did_you_mean

# By `config.data.sampling`; docs/evaluation.md describes each.
RULES: dict[str, type[Rule]] = {
  'dense': clips.Dense,
  'segment': whole_videos.Segment,
  'segment_middle': whole_videos.SegmentMiddle,
  'mmaction2': clips.MMAction2,
  'timesformer': clips.TimeSformer,
  'pyslowfast': clips.PySlowFast,
  'vivit': clips.ViViT,
  'vtn': whole_videos.VTN,
  'vidtr': clips.VidTr,
}


def of_data(data: Mapping) -> Rule:
  """Returns the rule of `config.data`; refuses unknown ones."""
  name = data['sampling']
  if name not in RULES:
    raise ValueError(
      f'data.sampling must be one of {", ".join(RULES)}; got {name!r}.'
      f'{did_you_mean(name, RULES)}'
    )
  return RULES[name](data['num_frames'], data['stride'])


class Part(Protocol):
  """A video, or a part of one: its frames, and how many a second has."""

  length: int
  fps: float  # Finding it may take time; 0: unknown.


def train_clip(
  data: Mapping, part: Part, rng: np.random.Generator
) -> np.ndarray:
  """Draws a training clip, see `Rule.train`. -> [T]."""
  rule = of_data(data)
  index = rule.train(part.length, part.fps if rule.rate else 0.0, rng)
  return repeat_middle(index) if data['repeat_frame'] else index


def test_clips(data: Mapping, part: Part) -> np.ndarray:
  """Chooses all `num_clips` test clips, see `Rule.test`. -> [V T]."""
  rule, clips = of_data(data), data['num_clips']
  index = rule.test(part.length, part.fps if rule.rate else 0.0, clips)
  return repeat_middle(index) if data['repeat_frame'] else index


def repeat_middle(index: np.ndarray) -> np.ndarray:
  """Repeats the middle frame T times, for the control experiment."""
  middle = index[..., index.shape[-1] // 2, None]
  return np.broadcast_to(middle, index.shape).copy()
