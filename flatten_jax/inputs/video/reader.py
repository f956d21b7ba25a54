# SPDX-License-Identifier: Apache-2.0
"""Opens videos for a data set: with a time limit, an index and a cache."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
import threading

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.flow import prepared_flow
from flatten_jax.inputs.flow.flow_video import (
  ComputedFields,
  FlowOptions,
  FlowVideo,
)
from flatten_jax.inputs.flow.prepared_flow import PreparedFields, PreparedFlow
from flatten_jax.inputs.sources.prepared import PreparedVideo
from flatten_jax.inputs.sources.video_index import VideoIndex
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoError,
  VideoPath,
)
from flatten_jax.inputs.video.frame_files import still_images
from flatten_jax.inputs.video.frame_files.frame_folder import (
  FrameFolder,
  FramesPath,
)
from flatten_jax.inputs.video.interface import (
  DecodedVideo,
  OpenVideo,
  Size,
  scaled_shape,
)
from flatten_jax.inputs.video.keyframes import FrameTable
from flatten_jax.inputs.video.read import Video

MAX_STUCK = 16  # Stuck decoders after which the cause must be something else.
MAX_SHARE = 1 / 16  # of the cache; decoding all of a longer video is slow.


def open_any(
  path: VideoPath,
  size: Size = None,
  time_limit: float = 0.0,
  table: FrameTable | None = None,
  flow: FlowOptions | None = None,
) -> OpenVideo:
  """Opens a video file, a folder of frames, or an image as one frame.

  With `flow`, frames are stacks of optical flow.
  """
  if flow:
    return FlowVideo(
      *(path, size, flow),
      lambda: open_any(path, size, time_limit, table),
      lambda video: open_fields(path, video, flow, time_limit),
    )
  if isinstance(path, DecodedVideo):
    return resized(path, size)
  if isinstance(path, FramesPath):
    return FrameFolder(path, size, time_limit)
  if still_images.is_image(path):
    return DecodedVideo(still_images.read(path, size))
  return Video(path, size, time_limit, table)


def resized(video: DecodedVideo, size: Size) -> DecodedVideo:
  """Returns a video in memory with frames of another size."""
  shape = video.frames.shape[1:3]
  wanted = scaled_shape(shape, size)
  if wanted == shape:
    return video
  frames = transforms.resize(video.frames, wanted)
  return dataclasses.replace(video, frames=frames)


def open_fields(
  path: VideoPath,
  video: Callable[[], OpenVideo],
  flow: FlowOptions,
  time_limit: float = 0.0,
) -> OpenVideo:
  """Opens the optical flow of a video: prepared, or else computed."""
  if isinstance(path, PreparedVideo) and prepared_flow.settings_of(path.folder):
    stored = PreparedFlow(path.folder, path.split, path.record)
    return PreparedFields(stored, time_limit=time_limit)
  return ComputedFields(path, video(), flow.method)


class Reader:
  """Opens videos, with `config.data.time_limit`; one for each process.

  `cache_gib` is memory for decoded frames, see `FrameCache`.
  """

  def __init__(
    self, data: Mapping, cache_gib=0.0, index: VideoIndex | None = None
  ):
    self._data = dict(data)
    self._limit = data.get('time_limit', 0.0)
    self._cache = FrameCache(cache_gib)
    self._flow = FlowOptions.of(data)
    self._index = index
    self._stuck = 0

  def __reduce__(self):  # In worker processes, caches start empty.
    return Reader, (self._data, self._cache.gib, self._index)

  @contextlib.contextmanager
  def open(self, path: VideoPath, size: Size = None) -> Iterator[OpenVideo]:
    """Opens a video or an image, or takes it from the cache.

    Raises VideoError, and RuntimeError if MAX_STUCK decoders are stuck.
    """
    try:
      with self._open(path, size) as video:
        yield video
    except DecoderStuck:
      self._stuck += 1
      raise

  def _open(self, path: VideoPath, size: Size) -> OpenVideo:
    # A folder of frames may hold several videos.
    key = path if isinstance(path, FramesPath) else str(path), size

    def open_file():
      return self._open_file(path, size)

    def open_frames():
      return self._open_cached(key, open_file)

    if not self._flow:
      return open_frames()
    # Frames that only serve to compute flow are not worth the memory.
    return FlowVideo(
      *(path, size, self._flow),
      open_frames if self._flow.with_rgb else open_file,
      lambda video: self._open_cached(
        (*key, 'flow'),
        lambda: open_fields(path, video, self._flow, self._limit),
      ),
    )

  def _open_cached(
    self, key: tuple, open_file: Callable[[], OpenVideo]
  ) -> OpenVideo:
    if decoded := self._cache.videos.get(key):
      return decoded
    video = open_file()
    if not self._cache.reserve(key, video.num_frames):
      return video
    try:
      with video:
        frames = video.read(range(video.num_frames))
        if not video.depends_on_clip:
          decoded = DecodedVideo(frames, video.fps, video.times)
    except DecoderStuck:
      raise
    except VideoError:
      pass  # Clips of the sound part are sampled as without a cache.
    finally:
      self._cache.store(key, decoded)
    return decoded or open_file()

  def _open_file(self, path: VideoPath, size: Size) -> OpenVideo:
    if self._stuck >= MAX_STUCK:
      raise RuntimeError(
        f'{self._stuck} videos did not come back from the decoder; the next '
        f'would be {path}. Is the disk still there? If videos are that long, '
        'set data.time_limit higher.'
      )
    known = None
    if self._index and not isinstance(path, FramesPath):  # Opened as quickly.
      known = self._index.get(path)
    if known and known.cause:
      raise VideoError(str(path), known.cause)
    return open_any(path, size, self._limit, known and known.table)


class FrameCache:
  """Decoded videos of a small data set; keys begin with path and size.

  A video that does not fit, takes more than MAX_SHARE of all `gib`, or cannot
  be decoded whole in time, stays in its file.
  """

  def __init__(self, gib: float):
    self.gib = gib
    self._limit = int(gib * 2**30)
    self.videos: dict[tuple, DecodedVideo] = {}
    # Bytes of videos that are stored or being decoded, 0 for all others that
    # are never decoded whole again.
    self._sizes: dict[tuple, int] = {}
    self._used = 0  # Their sum.
    self._lock = threading.Lock()

  def reserve(self, key: tuple, num_frames: int) -> bool:
    """Reserves memory for a video; False if it shall not be decoded whole."""
    size = key[1]
    if not size:
      return False  # Frames at full size take too much memory.
    shape = size if isinstance(size, tuple) else (size, size * 16 / 9)
    count = int(3 * num_frames * math.prod(shape))
    with self._lock:
      is_large = count > min(self._limit * MAX_SHARE, self._limit - self._used)
      if is_large or key in self._sizes:
        return False
      self._sizes[key] = count
      self._used += count
      return True

  def store(self, key: tuple, video: DecodedVideo | None) -> None:
    """Stores a video, or releases its memory if it could not be decoded."""
    size = video.frames.nbytes if video else 0
    with self._lock:
      self._used += size - self._sizes[key]
      self._sizes[key] = size
      if video:
        self.videos[key] = video
