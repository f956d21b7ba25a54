# SPDX-License-Identifier: Apache-2.0
"""An index of video files: a line of JSON with the properties of each.

It saves looking through the packets of a file before a clip is read, and names
unreadable videos beforehand. Entries of changed files are ignored: clips are
the same with an index, with an old one and with none.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import hashlib
import json
import logging
import mmap
import os
import pathlib
from typing import Any
import zlib

import numpy as np

from flatten_jax import paths
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.keyframes import FrameTable, Keyframe

log = logging.getLogger('flatten_jax')

FORMAT = {'format': 'flatten_jax video index', 'version': 4}


@dataclasses.dataclass(frozen=True)
class Entry:
  """One video; `size` and `mtime` show whether the file has changed."""

  path: str
  size: int  # bytes
  mtime: int  # nanoseconds
  cause: str = ''  # why it cannot be read; empty if it can
  num_frames: int = 0
  fps: float = 0.0  # 0 if unknown
  duration: float = 0.0  # seconds
  width: int = 0  # pixels, upright
  height: int = 0
  rotation: int = 0  # degrees, counterclockwise
  codec: str = ''
  damage: str = ''  # the error that ends it early, if all of it was decoded
  table: FrameTable | None = None

  @property
  def times(self) -> np.ndarray | None:
    """When frames are shown, see `frame_times`; None if unknown."""
    return self.table and self.table.times

  def to_json(self) -> str:
    """Converts the entry to one line."""
    values = dataclasses.asdict(self)
    if self.table:
      table = values['table']
      values['table'] = [
        table['count'],
        [tuple(key.values()) for key in table['keyframes']],
        pack_order(self.table.order),
        table['may_skip'],
        pack_times(self.table.times),
      ]
    return json.dumps(values, separators=(',', ':')) + '\n'

  @classmethod
  def from_json(cls, line: str | bytes) -> 'Entry':
    """Converts a line of `to_json` to an entry."""
    values = json.loads(line)
    if values.get('table'):
      count, keyframes, order, may_skip, times = values['table']
      keyframes = tuple(Keyframe(*key) for key in keyframes)
      values['table'] = FrameTable(
        count, keyframes, unpack_order(order), may_skip, unpack_times(times)
      )
    return cls(**values)

  def is_current(self) -> bool:
    """Checks whether the file is unchanged."""
    try:
      status = os.stat(self.path)
    except OSError:
      return False
    return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime)


def pack_times(times: np.ndarray | None) -> str:
  """Packs times of frames into text, which is short if all are equally long."""
  return '' if times is None else pack(np.diff(np.rint(times * 1e6)))


def unpack_times(text: str) -> np.ndarray | None:
  """Reverses `pack_times`."""
  if not text:
    return None
  return np.round(np.append(0, np.cumsum(unpack(text))) / 1e6, 6)


def pack_order(order: np.ndarray | None) -> str:
  """Packs the order of packets into text."""
  return '' if order is None else pack(np.diff(order, prepend=0))


def unpack_order(text: str) -> np.ndarray | None:
  """Reverses `pack_order`."""
  return np.cumsum(unpack(text), dtype=np.int32) if text else None


def pack(steps: np.ndarray) -> str:
  """Packs whole numbers into text."""
  return base64.b64encode(zlib.compress(steps.astype('<i8').tobytes())).decode()


def unpack(text: str) -> np.ndarray:
  """Reverses `pack`."""
  return np.frombuffer(zlib.decompress(base64.b64decode(text)), '<i8')


class VideoIndex:
  """Reads an index; only the position of each line is kept in memory."""

  def __init__(self, file: str | os.PathLike):
    self.file = os.fspath(file)
    self._positions: dict[int, int] = {}  # By hash of the path.
    try:
      with open(self.file, 'rb') as source:
        self._data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
      known = json.loads(self._data.readline()) == FORMAT
    except ValueError:  # Also of an empty file.
      known = False
    if not known:
      raise ValueError(
        f'{self.file} is not an index of this version: build it again with '
        '--mode=index, or remove it.'
      )
    position = self._data.tell()
    # The last line may be cut off by a kill.
    while (line := self._data.readline()).endswith(b'\n'):
      self._positions[hash(json.loads(line)['path'])] = position
      position += len(line)

  def __reduce__(self):
    return VideoIndex, (self.file,)

  def __len__(self) -> int:
    return len(self._positions)

  def __iter__(self) -> Iterator[Entry]:
    return map(self._read, self._positions.values())

  def _read(self, position: int) -> Entry:
    end = self._data.find(b'\n', position)
    return Entry.from_json(self._data[position:end])

  def get(self, path: Any) -> Entry | None:
    """Returns the entry of a video; None if absent or if its file changed."""
    if not is_file(path):
      return None
    path = os.path.abspath(path)
    if (position := self._positions.get(hash(path))) is None:
      return None
    entry = self._read(position)
    return entry if entry.path == path and entry.is_current() else None


def write(file: pathlib.Path, entries: Iterable[Entry]) -> None:
  """Writes an index whole or not at all."""
  with paths.replacing(file) as partial, partial.open('w') as target:
    target.write(json.dumps(FORMAT) + '\n')
    target.writelines(entry.to_json() for entry in entries)


def is_file(path: Any) -> bool:
  """Checks whether a video is a file, and not part of a prepared set."""
  return isinstance(path, str | os.PathLike)


def index_file(data: Mapping) -> pathlib.Path:
  """Returns the index of `config.data`: `data.index`, or one in the cache."""
  if data['index']:
    return paths.expand(data['index'])
  keys = ('root', 'train', 'val', 'test', 'prefix')
  given = filter(None, (data[key] for key in keys))
  places = [os.path.abspath(os.path.expanduser(path)) for path in given]
  digest = hashlib.sha256(os.fsencode('\n'.join(places))).hexdigest()[:12]
  name = pathlib.Path(places[0]).stem if places else 'embedded'
  return paths.cache(f'index/{name}-{digest}.jsonl')


def find(videos: Videos, data: Mapping) -> VideoIndex | None:
  """Opens the index of `config.data`, if there is one and `videos` are files.

  An index of another version is refused as `data.index`, ignored in the cache.
  """
  file = index_file(data)
  if not (videos.records and is_file(videos[0].path) and file.is_file()):
    return None
  try:
    return VideoIndex(file)
  except ValueError as error:
    if data['index']:
      raise
    log.warning('%s Continuing without it.', error)
    return None
