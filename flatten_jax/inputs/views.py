# SPDX-License-Identifier: Apache-2.0
"""Reads test views in the field's notations: "224x16x3x10", "3x10", ...

Projects order the figures differently. The convention in front of a notation
applies, or the first one with as many figures.
"""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from flatten_jax.inputs.augment.transforms import test_crop
from flatten_jax.inputs.sampling import rules

# Meaning of the figures, in order.
CONVENTIONS = {
  # Flatten, caption of its Table 1: spatial crops before temporal ones.
  'flatten': ('resolution', 'frames', 'crops', 'clips'),
  'uniformer': ('frames', 'crops', 'clips'),
  'v-jepa': ('frames', 'clips', 'crops'),
  'mmaction2': ('frames', 'stride', 'clips'),
  'slowfast': ('crops', 'clips'),
  'scenic': ('clips', 'crops'),
  # SlowFast's "8x8" is the input of a model, not its views.
  'slowfast-input': ('frames', 'stride'),
}
TIMES = re.compile('[X*\N{MULTIPLICATION SIGN}\N{MULTIPLICATION X}]')
WORDS = re.compile(r'(\d+) ?(?:clips?|views?) ?x ?(\d+) ?crops?')
UNITS = {'resolution': 'px', 'stride': 'frames apart'}
USUAL_CROPS = (1, 3)  # The centre, or also both sides.


@dataclasses.dataclass(frozen=True)
class Views:
  """Test views of a video; None if a notation does not contain a figure."""

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
    """Returns the known figures in Flatten's order: "224x16x3x10"."""
    values = [getattr(self, key) for key in CONVENTIONS['flatten']]
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
  """Reads '1x4', '224x16x3x10', '10 clips x 3 crop', 'mmaction2:32x2x1', ...

  Raises ValueError if it is not a notation, or could be several ones: without a
  convention, the number of crops would be neither 1 nor 3.
  """
  convention, _, body = text.rpartition(':')
  convention = convention.strip().lower()
  body = ' '.join(TIMES.sub('x', body).lower().split())
  if not convention and (words := WORDS.fullmatch(body)):
    convention, body = 'scenic', 'x'.join(words.groups())
  if convention and convention not in CONVENTIONS:
    raise ValueError(
      f'There is no convention {convention!r} for views; there are '
      f'{", ".join(CONVENTIONS)}.'
    )
  matches = re.fullmatch(r'0*[1-9]\d*( ?x ?0*[1-9]\d*)+', body)
  figures = [int(figure) for figure in body.split('x')] if matches else []
  readings = {
    name: Views(**dict(zip(keys, figures, strict=True)))
    for name, keys in CONVENTIONS.items()
    if len(keys) == len(figures)
  }
  if not readings:
    raise ValueError(
      f'Did not understand the views {text!r}. Expected figures of 1 or more: '
      'crops x clips (3x10), frames x crops x clips (16x3x10), resolution x '
      'frames x crops x clips (224x16x3x10), words (10 clips x 3 crop), or '
      "another project's order after its name, like mmaction2:32x2x1; names "
      f'are {", ".join(CONVENTIONS)}.'
    )
  if convention and convention not in readings:
    keys = ' x '.join(CONVENTIONS[convention])
    raise ValueError(f'{convention} writes views as {keys}, not {text!r}.')
  views = readings[convention or next(iter(readings))]
  if not convention and views.crops not in USUAL_CROPS and len(readings) > 1:
    listed = '; '.join(
      f'{name}:{body} is {views.describe()}' for name, views in readings.items()
    )
    raise ValueError(
      f'Views {text!r} could be several things. Say which: {listed}.'
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
  if views.stride is not None and not rules.of_data(data).strided:
    raise ValueError(
      f'data.views={text} is {views.describe()}, but data.sampling='
      f'{data["sampling"]} takes the whole video, whatever the stride.'
    )
  settings = {
    'test_crop' if data['test_crop'] else 'crop': views.resolution,
    'test_frames' if data['test_frames'] else 'num_frames': views.frames,
    'stride': views.stride,
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

  Raises ValueError for several clips if the sampling rule has one.
  """
  rule = rules.of_data(dict(data) | {'num_frames': frames})
  if clips > 1 and rule.one_clip:
    raise ValueError(
      f'data.sampling={data["sampling"]} shows a whole video in one clip; got '
      f'{clips} clips. Set 1, or another data.sampling.'
    )
  stride = data['stride'] if rule.strided else None
  rate = rule.rate if rule.strided else 0.0
  return Views(clips, crops, frames, test_crop(data), stride, rate)
