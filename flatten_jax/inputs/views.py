# SPDX-License-Identifier: Apache-2.0
"""Reads and writes test views: "224x16x3x10", "16x3x10", "3x10"."""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.sampling import rules

# Meaning of the figures, of which the first may be left out (Table 1).
FIGURES = ('resolution', 'frames', 'crops', 'clips')
TIMES = re.compile(r' *[xX*\N{MULTIPLICATION SIGN}\N{MULTIPLICATION X}] *')
UNITS = {'resolution': 'px', 'stride': 'frames apart'}
USUAL_CROPS = (1, 3)  # The centre, or also both sides.


@dataclasses.dataclass(frozen=True)
class Views:
  """Test views of a video; None for what a notation leaves out."""

  clips: int | None = None  # along time
  crops: int | None = None  # across the frame
  frames: int | None = None
  resolution: int | None = None  # pixels
  stride: int | None = None  # in frames
  rate: float = 0.0  # frames per second that `stride` counts; 0: the video's

  @property
  def count(self) -> int:
    """Number of views of one video."""
    return (self.clips or 1) * (self.crops or 1)

  def __str__(self) -> str:
    """Returns the known figures in the paper's order: "224x16x3x10"."""
    values = [getattr(self, key) for key in FIGURES]
    return 'x'.join(str(value) for value in values if value is not None)

  def describe(self) -> str:
    """Returns the figures in words: "224 px, 16 frames, 3 crops, 10 clips"."""
    parts = []
    for key in ('resolution', 'frames', 'stride', 'crops', 'clips'):
      if (value := getattr(self, key)) is not None:
        unit = UNITS.get(key, key.rstrip('s') if value == 1 else key)
        if key == 'stride' and self.rate:
          unit += f' at {self.rate:g} frames per second'
        parts.append(f'{value} {unit}')
    return ', '.join(parts)

  def apply(self, data: Mapping) -> dict[str, Any]:
    """Returns `config.data` with the figures of these views, which are full."""
    sizes = {
      'num_frames': self.frames,
      'num_clips': self.clips,
      'num_crops': self.crops,
      'crop': self.resolution,
    }
    return dict(data) | sizes


def parse(text: str) -> Views:
  """Reads crops x clips, '3x10'; also with the frames, and the resolution.

  Raises ValueError if it is no such notation, or if it may be in another
  order: the number of crops would be neither 1 nor 3.
  """
  body = TIMES.sub('x', text.strip())
  if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){1,3}', body):
    raise ValueError(
      f'Did not understand the views {text!r}. Expected figures of 1 or more: '
      'crops x clips (3x10), frames x crops x clips (16x3x10), or resolution x '
      'frames x crops x clips (224x16x3x10).'
    )
  figures = [int(figure) for figure in body.split('x')]
  views = Views(**dict(zip(FIGURES[-len(figures) :], figures, strict=True)))
  if views.crops not in USUAL_CROPS and len(figures) < len(FIGURES):
    raise ValueError(
      f'Views {text!r} would be {views.describe()}. Write crops before clips; '
      'or, if that many crops are meant, all of resolution x frames x crops x '
      'clips (224x25x10x1).'
    )
  return views


def of_config(data: Mapping) -> Views:
  """Returns `config.data.views`, or num_clips and num_crops if it is empty.

  Raises ValueError if `views` contradicts other settings.
  """
  text, frames = data['views'], data['test_frames'] or data['num_frames']
  if not text:
    return full_views(data, data['num_clips'], data['num_crops'], frames)
  views = parse(text)
  settings = {
    'test_crop' if data['test_crop'] else 'crop': views.resolution,
    'test_frames' if data['test_frames'] else 'num_frames': views.frames,
  }
  for key, wanted in settings.items():
    if wanted not in (None, data[key]):
      raise ValueError(
        f'data.views={text} is {views.describe()}, but data.{key}='
        f'{data[key]}. Set data.{key}={wanted}, or other views.'
      )
  return full_views(data, views.clips or 1, views.crops or 1, frames)


def of_validation(data: Mapping) -> Views:
  """Returns the views of `config.data` for scores during training.

  Their clips have as many frames as those of training, which costs less.
  """
  return full_views(
    data, data['val_clips'], data['val_crops'], data['num_frames']
  )


def full_views(data: Mapping, clips: int, crops: int, frames: int) -> Views:
  """Returns views with the resolution and stride of `config.data`.

  Raises ValueError for several clips if the sampling rule has one, and for more
  crops than it has places.
  """
  rule = rules.of_data(dict(data) | {'num_frames': frames})
  if clips > 1 and rule.one_clip:
    raise ValueError(
      f'data.sampling={data["sampling"]} shows a whole video in one clip; got '
      f'{clips} clips. Set 1, or another data.sampling.'
    )
  places = rule.crop_steps and rule.crop_steps + 1
  if places and places < crops != transforms.TEN_CROPS:
    raise ValueError(
      f'data.sampling={data["sampling"]} has {places} places for test crops '
      f'along the longer side; {crops} crops would be partly the same. Set a '
      f'number from 1 to {places}, or {transforms.TEN_CROPS}.'
    )
  stride = data['stride'] if rule.strided else None
  rate = rule.rate if rule.strided else 0.0
  return Views(clips, crops, frames, transforms.test_crop(data), stride, rate)
