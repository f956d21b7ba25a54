# SPDX-License-Identifier: Apache-2.0
"""Test views as papers and programs write them: "224x16x3x10", "3x10", ...

The same figures mean different things to different producers, so a notation is
read under a convention that has a name. Without one, `parse` reads what the
Flatten paper would mean, and refuses what then makes no sense.
"""

from collections.abc import Mapping
import dataclasses
import re

# What the figures stand for, in order. Under a bare notation the first
# convention with as many figures is tried.
CONVENTIONS = {
  # Flatten, caption of its Table 1: spatial crops before temporal ones.
  'flatten': ('resolution', 'frames', 'crops', 'clips'),
  'uniformer': ('frames', 'crops', 'clips'),
  'v-jepa': ('frames', 'clips', 'crops'),
  'mmaction2': ('frames', 'stride', 'clips'),
  'slowfast': ('crops', 'clips'),
  'scenic': ('clips', 'crops'),
  # SlowFast's "8x8" names the input of a model, not its views.
  'slowfast-input': ('frames', 'stride'),
}
TIMES = re.compile('[X*\N{MULTIPLICATION SIGN}\N{MULTIPLICATION X}]')
WORDS = re.compile(r'(\d+)\s*(?:clips?|views?)\s*x\s*(\d+)\s*crops?')
UNITS = {'resolution': 'px', 'stride': 'frames apart'}
# Crops that people take: the centre, or left, centre and right.
USUAL_CROPS = (1, 3)


@dataclasses.dataclass(frozen=True)
class Views:
  """How a video is looked at in a test; None where the notation is silent."""

  clips: int | None = None  # along time
  crops: int | None = None  # across the frame
  frames: int | None = None
  resolution: int | None = None  # pixels
  stride: int | None = None  # in frames
  convention: str = 'flatten'

  @property
  def count(self) -> int:
    """Views of one video."""
    return (self.clips or 1) * (self.crops or 1)

  def format(self, convention: str | None = None) -> str:
    """Writes it down, by default as it was written.

    Raises:
      ValueError: the convention names something that is not known here.
    """
    convention = convention or self.convention
    if convention == 'words':
      return f'{self.clips or 1} clips x {self.crops or 1} crop'
    values = [getattr(self, key) for key in fields_of(convention)]
    if None in values:
      raise ValueError(
        f'{convention} writes {" x ".join(fields_of(convention))}; this is '
        f'known only as {self.describe()}.'
      )
    return 'x'.join(map(str, values))

  def __str__(self) -> str:
    return self.format()

  def describe(self) -> str:
    """In words: "224 px, 16 frames, 3 crops, 10 clips"."""
    parts = []
    for key in ('resolution', 'frames', 'stride', 'crops', 'clips'):
      value = getattr(self, key)
      if value is not None:
        unit = UNITS.get(key, key.rstrip('s') if value == 1 else key)
        parts.append(f'{value} {unit}')
    return ', '.join(parts)


def parse(text: str, convention: str | None = None) -> Views:
  """Reads a notation.

  Args:
    text: like '1x4', '16×1×4', '224x16x3x10', '10 clips x 3 crop', or with the
      convention in front, 'mmaction2:32x2x1'.
    convention: one of CONVENTIONS; None reads four figures as resolution x
      frames x crops x clips, three as frames x crops x clips and two as crops
      x clips.

  Raises:
    ValueError: it is no such notation, or a bare one that would mean neither 1
      nor 3 crops: all its readings are listed.
  """
  prefix, colon, body = text.rpartition(':')
  if colon:
    convention = prefix.strip().lower()
  body = ' '.join(TIMES.sub('x', body).lower().split())
  if convention == 'words' or (convention is None and 'c' in body):
    return parse_words(text, body)
  if convention is not None:
    fields_of(convention)  # Refuses a name that there is not.
  if not re.fullmatch(r'\d+( ?x ?\d+)+', body):
    raise not_understood(text)
  figures = [int(figure) for figure in body.split('x')]
  if 0 in figures:
    raise ValueError(f'Views {text!r} has a zero; every figure is 1 or more.')
  readings = {
    name: Views(**dict(zip(keys, figures, strict=True)), convention=name)
    for name, keys in CONVENTIONS.items()
    if len(keys) == len(figures)
  }
  if convention is not None:
    if convention not in readings:
      keys = ' x '.join(fields_of(convention))
      raise ValueError(f'{convention} writes views as {keys}, not {text!r}.')
    return readings[convention]
  if not readings:
    raise not_understood(text)
  views = next(iter(readings.values()))
  if views.crops not in USUAL_CROPS and len(readings) > 1:
    raise ambiguous(text, readings)
  return views


def parse_words(text: str, body: str) -> Views:
  """MMAction2's "10 clips x 3 crop"."""
  match = WORDS.fullmatch(body)
  if not match or '0' in match.groups():
    raise not_understood(text)
  clips, crops = map(int, match.groups())
  return Views(clips=clips, crops=crops, convention='words')


def fields_of(convention: str) -> tuple[str, ...]:
  """What the figures of a convention stand for."""
  if convention not in CONVENTIONS:
    raise ValueError(
      f'There is no convention {convention!r} for views; there are '
      f'{", ".join(CONVENTIONS)} and words.'
    )
  return CONVENTIONS[convention]


def not_understood(text: str) -> ValueError:
  """What to raise for a text that is no notation."""
  return ValueError(
    f'Did not understand the views {text!r}. Expected crops x clips (3x10), '
    'frames x crops x clips (16x3x10), resolution x frames x crops x clips '
    "(224x16x3x10), words (10 clips x 3 crop), or another's order with its "
    'name, like mmaction2:32x2x1; names are ' + ', '.join(CONVENTIONS) + '.'
  )


def ambiguous(text: str, readings: Mapping[str, Views]) -> ValueError:
  """What to raise where the usual reading is an unusual number of crops."""
  listed = '; '.join(
    f'{name}:{views.format(name)} is {views.describe()}'
    for name, views in readings.items()
  )
  return ValueError(
    f'Views {text!r} could be several things. Say which: {listed}.'
  )


def of_config(data: Mapping) -> Views:
  """The test views of `config.data`: its `views`, or num_clips and num_crops.

  Raises:
    ValueError: `views` contradicts the crop, the number of frames or the
      stride.
  """
  text = data.get('views', '')
  if not text:
    return in_full(data, data['num_clips'], data['num_crops'])
  views = parse(text)
  if views.stride is not None and data['sampling'] != 'dense':
    raise ValueError(
      f'data.views={text} says {views.describe()}, but data.sampling='
      f'{data["sampling"]} takes the whole video, whatever the stride.'
    )
  for field, key in (
    ('resolution', 'crop'),
    ('frames', 'num_frames'),
    ('stride', 'stride'),
  ):
    wanted = getattr(views, field)
    if wanted is not None and wanted != data[key]:
      raise ValueError(
        f'data.views={text} says {views.describe()}, but data.{key}='
        f'{data[key]}. Set data.{key}={wanted}, or other views.'
      )
  return in_full(data, views.clips or 1, views.crops or 1)


def in_full(data: Mapping, clips: int, crops: int) -> Views:
  """So many views of what `config.data` describes, as scores print them."""
  return Views(clips, crops, data['num_frames'], data['crop'], data['stride'])
