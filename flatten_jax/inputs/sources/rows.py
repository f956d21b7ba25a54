# SPDX-License-Identifier: Apache-2.0
"""`Row`, one video of a list or folder, and tests of single texts."""

import functools
import os
import re
from typing import NamedTuple
import unicodedata

from flatten_jax.inputs.video.container import VideoPath

VIDEO_SUFFIXES = frozenset(
  {'.264', '.3g2', '.3gp', '.asf', '.avi', '.divx', '.dv', '.f4v', '.flv'}
  | {'.h264', '.hevc', '.m2t', '.m2ts', '.m2v', '.m4v', '.mjpeg', '.mjpg'}
  | {'.mkv', '.mov', '.mp4', '.mpe', '.mpeg', '.mpg', '.mts', '.mxf', '.ogm'}
  | {'.ogv', '.qt', '.rm', '.rmvb', '.ts', '.vob', '.webm', '.wmv', '.y4m'}
)
# Signs that take no space: of directions, byte order and hyphenation.
UNSEEN = re.compile('[\u200b-\u200f\u2060\ufeff\u00ad]')
# Empty cells, as programs write them; 'none' and 'null' may be classes.
UNKNOWN = frozenset({'', '-1', 'nan', '<na>', 'n/a', '#n/a'})


class Group(NamedTuple):
  """Videos that stay together, as those of one person or place."""

  column: str  # of the list, like 'subject'
  name: str


class Row(NamedTuple):
  """One video of a data set; fields missing from its list are None or 0."""

  id: str  # the path as written in the list
  label: str | None = None
  fold: int | None = None
  split: str | None = None
  start: float = 0.0  # seconds
  end: float = 0.0  # seconds; 0: to the end of the video
  path: VideoPath = ''
  # Of videos that are folders of frames:
  num_frames: int | None = None
  skip: int = 0  # frames before the first
  fps: float = 0.0
  group: Group | None = None
  weight: str | None = None  # As it is written; for `data.weighted` only.
  # With `data.multi_label`; (): it is known to have none. None: unknown.
  labels: tuple[str, ...] | None = None

  @property
  def classes(self) -> tuple[str, ...]:
    """All labels: one, or several with `data.multi_label`; () if unknown."""
    if self.labels is not None:
      return self.labels
    return (self.label,) if self.label else ()


def look(text: str) -> str:
  """Returns the same for texts that look alike: case, Unicode form, blanks."""
  text = unicodedata.normalize('NFKC', UNSEEN.sub('', text)).casefold()
  return ' '.join(unicodedata.normalize('NFKC', text).split())


@functools.lru_cache(4096)
def known_label(text: str | None) -> str | None:
  """Returns the label, a number without '.0', or None if it is unknown."""
  text = (text or '').strip()
  if is_number(whole := re.sub(r'\.0+$', '', text)):
    text = whole  # pandas writes numbers so if one of them is missing.
  return None if text.lower() in UNKNOWN else text


def is_number(text: str) -> bool:
  """Checks whether a label or a count is a whole number."""
  return re.fullmatch(r'-?[0-9]+', text) is not None


def has_video_suffix(path: str) -> bool:
  """Checks whether a file name ends like a video's."""
  return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
