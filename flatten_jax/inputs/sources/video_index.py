# SPDX-License-Identifier: Apache-2.0
"""What is known of the videos of a data set before any of them is opened.

An index is a file with a line of JSON for each video. It saves looking through
a file for its frames before decoding some of them, and tells beforehand what
cannot be read. Whatever changed since is looked at anew: clips are the same
with an index, with an old one and with none.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import logging
import mmap
import os
import pathlib
from typing import Any

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.keyframes import FrameTable, Keyframe

log = logging.getLogger('flatten_jax')

# 2: counts of frames that cannot be shown, and causes that may have passed, are
# no longer in it.
FORMAT = {'format': 'flatten_jax video index', 'version': 2}


@dataclasses.dataclass(frozen=True)
class Entry:
  """One video; `size` and `mtime` tell whether it is still the same file."""

  path: str
  size: int  # bytes
  mtime: int  # nanoseconds
  cause: str = ''  # why it cannot be read; empty if it can
  num_frames: int = 0
  fps: float = 0.0  # 0 where unknown
  duration: float = 0.0  # seconds
  width: int = 0  # pixels, upright
  height: int = 0
  rotation: int = 0  # degrees, counterclockwise
  codec: str = ''
  damage: str = ''  # what ends it early, where all of it was decoded
  table: FrameTable | None = None

  def to_json(self) -> str:
    """One line."""
    values = dataclasses.asdict(self)
    if self.table:
      table = self.table
      keyframes = [dataclasses.astuple(key) for key in table.keyframes]
      values['table'] = [table.count, table.has_reliable_pts, keyframes]
    return json.dumps(values, separators=(',', ':'))

  @classmethod
  def from_json(cls, line: str | bytes) -> 'Entry':
    """What `to_json` wrote. Raises ValueError for anything else."""
    values = json.loads(line)
    if values.get('table'):
      count, has_reliable_pts, keyframes = values['table']
      keyframes = tuple(Keyframe(*key) for key in keyframes)
      values['table'] = FrameTable(count, keyframes, has_reliable_pts)
    return cls(**values)

  def is_current(self) -> bool:
    """Whether the file is as it was when this was written."""
    try:
      status = os.stat(self.path)
    except OSError:
      return False
    return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime)


class VideoIndex:
  """Reads an index; of each video, only its place in the file is in memory."""

  def __init__(self, file: str | os.PathLike):
    """Opens it. Raises ValueError where `file` is no index of this version."""
    self.file = os.fspath(file)
    self._places: dict[int, int] = {}  # Hash of the path -> where its line is.
    with open(self.file, 'rb') as source:
      self._data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    try:
      known = json.loads(self._data.readline()) == FORMAT
    except ValueError:
      known = False
    if not known:
      raise ValueError(
        f'{self.file} is no index of this version: build it anew with '
        '--mode=index, or remove it.'
      )
    while True:
      place, line = self._data.tell(), self._data.readline()
      if not line.endswith(b'\n'):  # The end, or cut off by a kill.
        return
      self._places[path_hash(json.loads(line)['path'])] = place

  def __reduce__(self):
    return VideoIndex, (self.file,)

  def __len__(self) -> int:
    return len(self._places)

  def get(self, path: Any) -> Entry | None:
    """What is known of a video; None if nothing, or if its file changed."""
    place = self._places.get(path_hash(path)) if is_file(path) else None
    if place is None:
      return None
    line = self._data[place : self._data.find(b'\n', place)]
    entry = Entry.from_json(line)
    same = entry.path == os.path.abspath(path)
    return entry if same and entry.is_current() else None


def is_file(path: Any) -> bool:
  """Whether this is a file of its own, and not part of a prepared set."""
  return isinstance(path, str | os.PathLike)


def path_hash(path: str | os.PathLike) -> int:
  """64 bits that stand for a path."""
  name = os.path.abspath(path).encode('utf-8', 'surrogateescape')
  return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())


def index_file(data: Mapping) -> pathlib.Path:
  """Where the index of `config.data` is: `data.index`, or in the cache."""
  if data.get('index', ''):
    return pathlib.Path(data['index']).expanduser()
  keys = ('root', 'train', 'val', 'test', 'prefix')
  places = [
    os.path.abspath(os.path.expanduser(data[k])) for k in keys if data[k]
  ]
  digest = hashlib.sha256(os.fsencode('\n'.join(places))).hexdigest()[:12]
  name = pathlib.Path(places[0]).stem if places else 'embedded'
  cache = pathlib.Path('~/.cache/flatten_jax/index').expanduser()
  return cache / f'{name}-{digest}.jsonl'


def find(videos: Videos, data: Mapping) -> VideoIndex | None:
  """The index of `config.data`, where one was built and `videos` are files.

  Raises:
    ValueError: `data.index` names something else. In the cache, an index of
      another version is passed over.
  """
  if not any(is_file(record.path) for record in videos.records[:1]):
    return None
  file = index_file(data)
  if not file.is_file():
    return None
  try:
    return VideoIndex(file)
  except ValueError as error:
    if data.get('index', ''):
      raise
    log.warning('%s Going on without it.', error)
    return None
