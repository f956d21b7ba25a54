# SPDX-License-Identifier: Apache-2.0
"""Reads the optical flow that `python -m data.prepare --flow` has stored.

A prepared set has it in `flow/`, in files of a few videos each, in the order of
their records: every field is a frame of a lossless video (FFV1, grey), x above
y. The bytes are those that are computed while reading, at the same size.
"""

from collections.abc import Mapping
import dataclasses
import functools
import json
import logging
import os

import av
import numpy as np

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.flow import methods
from flatten_jax.inputs.sources import prepared
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.read import Video

log = logging.getLogger('flatten_jax')

FOLDER, SETTINGS = 'flow', 'flow.json'


@dataclasses.dataclass(frozen=True)
class FlowSettings:
  """Method, frame size and files of the flow of a prepared set.

  Attributes:
    method: as `config.data.flow_method`.
    size: of the frames that it was computed on, in pixels: their shorter side,
      or [height, width].
    records: number of videos of each split.
    each: number of videos in a file of each split.
  """

  method: str
  size: int | list[int]
  records: dict[str, int]
  each: dict[str, int]

  @classmethod
  def load(cls, folder: str | os.PathLike) -> 'FlowSettings | None':
    """Loads the settings of a prepared set; None if it has no flow."""
    path = os.path.join(folder, FOLDER, SETTINGS)
    if not os.path.isfile(path):
      return None
    with open(path, encoding='utf-8') as file:
      return cls(**json.load(file))

  def __str__(self) -> str:
    size = _in_words(self.frame_size)
    return f'optical flow by {self.method!r} at {size} px'

  @property
  def frame_size(self) -> int | tuple[int, int]:
    """The size as readers of videos take it; JSON has no tuples."""
    return self.size if isinstance(self.size, int) else tuple(self.size)

  def file_of(self, folder: str | os.PathLike, split: str, number: int) -> str:
    """Returns the path of a split's file of this number."""
    count = -(-self.records[split] // self.each[split])
    name = f'{split}-{number:05d}-of-{count:05d}.array_record'
    return os.path.join(folder, FOLDER, name)

  def files(self, folder: str | os.PathLike) -> dict[str, tuple[str, range]]:
    """Returns all files, and which records of which split are in them."""
    return {
      self.file_of(folder, split, first // each): (
        split,
        range(first, min(first + each, self.records[split])),
      )
      for split, each in self.each.items()
      for first in range(0, self.records[split], each)
    }


def settings_of(folder: str) -> FlowSettings | None:
  """Returns the settings of a prepared set with all of its flow.

  Raises:
    ValueError: the flow was not computed to the end.
  """
  try:
    changed = os.stat(os.path.join(folder, FOLDER, SETTINGS)).st_mtime_ns
  except OSError:
    return None
  return _settings(folder, changed)


@functools.lru_cache(maxsize=16)
def _settings(folder: str, changed: int) -> FlowSettings | None:
  del changed
  settings = FlowSettings.load(folder)
  if settings:
    there = set(os.listdir(os.path.join(folder, FOLDER)))
    files = [os.path.basename(path) for path in settings.files(folder)]
    if lacking := [name for name in files if name not in there]:
      raise ValueError(
        f'{folder}: {len(lacking)} of {len(files)} files of optical flow are '
        'not there: give the same `python -m data.prepare` command again.'
      )
  return settings


def check(data: Mapping) -> None:
  """Refuses `config.data` if the flow that it asks for cannot be had.

  Raises:
    RuntimeError: flow is computed while reading, and its method is missing.
    ValueError: it was computed by another method, or not to the end.
  """
  if 'flow' not in data['input']:
    return
  folder, method = os.path.expanduser(data['root']), data['flow_method']
  settings = settings_of(os.path.abspath(folder)) if folder else None
  if not settings:
    methods.METHODS[method]()
    log.info(
      'Optical flow (%s) is computed whenever a clip is read; `python -m '
      'data.prepare --flow=%s` does it once',
      *(method, method),
    )
  elif settings.method != method:
    raise ValueError(
      f'{folder} has {settings}, not by data.flow_method={method!r}: set the '
      f'former, or prepare a new folder with --flow={method}.'
    )
  elif others := sizes_read(data) - {settings.frame_size}:
    log.info(
      '%s has %s; frames of %s px get it resized, close to flow of their own '
      'size but not equal',
      *(
        folder,
        settings,
        ' and '.join(map(_in_words, sorted(others, key=str))),
      ),
    )


def sizes_read(data: Mapping) -> set[int | tuple[int, int]]:
  """Returns the sizes of frames in training and in tests, if any are given."""
  sizes = (
    transforms.frame_size(data, data['short_side']),
    transforms.test_frame_size(data),
  )
  return {size for size in sizes if size}


def _in_words(size: int | tuple[int, int]) -> str:
  return str(int(size)) if isinstance(size, int) else ' x '.join(map(str, size))


@dataclasses.dataclass(frozen=True, slots=True)
class PreparedFlow:
  """The flow of one record, as an encoded video."""

  folder: str
  split: str
  record: int

  suffix = '.mkv'

  def __str__(self) -> str:
    return f'{self.folder}/{FOLDER}/{self.split}[{self.record}]'

  def read(self) -> bytes:
    """Returns the encoded fields; VideoError if there are none."""
    settings = settings_of(self.folder)
    number, row = divmod(self.record, settings.each[self.split])
    path = settings.file_of(self.folder, self.split, number)
    try:
      with prepared.OPENING:
        # A process must not read through a handle that another one opened.
        source = _open(path, os.getpid())
      data = source[row]
    except Exception as error:  # The reader of records documents none.
      raise prepared.damaged(self, error) from error
    if data.startswith(UNREADABLE):
      raise VideoError(str(self), data[len(UNREADABLE) :].decode())
    return data


UNREADABLE = b'unreadable: '  # And the cause, in place of a video's flow.


@functools.lru_cache(maxsize=256)
def _open(path: str, process: int):
  del process
  from array_record.python.array_record_data_source import (
    ArrayRecordDataSource,
  )

  return ArrayRecordDataSource(path)


class PreparedFields(Video):
  """The stored fields of a video, as its frames. uint8 [H W 2]."""

  def _image(self, frame: av.VideoFrame) -> np.ndarray:
    return np.stack(np.split(frame.to_ndarray(), 2), axis=-1)
