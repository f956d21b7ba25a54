# SPDX-License-Identifier: Apache-2.0
"""From videos to batches: batch k is a pure function of (seed, k).

Grain brings the order, the threads and the worker processes. What a clip looks
like depends on nothing but the seed and its position in the endless training
order, so batches repeat bit for bit whatever the number of threads, workers or
processes, and a run continues exactly where it stopped.
"""

from collections.abc import Iterator
import dataclasses
import sys

from absl import flags
import cv2
import grain
import numpy as np

from flatten_jax.inputs import sampling, transforms
from flatten_jax.inputs.decoding import VideoError, read_clip
from flatten_jax.inputs.sources import Videos

ERROR_BYTES = 200
MAX_REPLACEMENTS = 50  # in a row, before a run gives up on its videos


def train_batches(
  videos: Videos,
  data,
  *,
  seed: int,
  batch_size: int,
  start: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 0,
  threads: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
  """Training batches without end, from batch `start` on.

  Args:
    videos: what to draw from; every epoch shows each video once, in new order.
    data: `config.data`: sampling and transforms.
    seed: all randomness comes from (seed, position in the order).
    batch_size: clips per batch of this process.
    start: the first batch, to resume exactly.
    process_index: this process among `process_count`. The batches k of all
      processes, one after the other, are the batch k of a single process.
    process_count: how many processes share a batch.
    workers: processes that read; 0 reads in threads of this process.
    threads: reading threads of this process, or of each worker.

  Yields:
    {'clip': uint8 [b T s s 3], 'label': int32 [b], 'index': int32 [b] position
    in `videos`, 'failed': int32 [b] position of the video that could not be
    read and was replaced, -1 if none, 'error': bytes [b] why}.

  Raises:
    RuntimeError: where no video can be read, or a worker process died.
  """
  if not len(videos):
    raise ValueError('There are no videos to train on.')
  order = grain.MapDataset.range(len(videos)).seed(seed).shuffle().repeat()
  slots = Slots(batch_size, process_index, process_count)
  clips = grain.MapDataset.range(start * batch_size, sys.maxsize // 2)
  clips = clips.map(TrainClip(videos, Plain(data), seed, order, slots))
  stream = read(clips, workers, threads)
  return forward(stream.batch(batch_size))


def read(clips: grain.MapDataset, workers: int, threads: int):
  """Reads elements ahead, in order, in threads or in worker processes."""
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=2 * threads
  )
  stream = clips.to_iter_dataset(options)
  if workers:
    # Workers are spawned and parse absl flags, which notebooks never did.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    stream = stream.mp_prefetch(
      grain.MultiprocessingOptions(workers, per_worker_buffer_size=2 * threads)
    )
  return stream


def forward(stream) -> Iterator[dict]:
  """The stream's elements; a generator, so after an error it stays ended.

  Grain's own iterator goes on after a worker died, and loses its elements.
  """
  iterator = iter(stream)
  try:
    yield from iterator
  finally:
    close = getattr(iterator, 'close', None)
    if close:
      close()


@dataclasses.dataclass(frozen=True)
class Slots:
  """Which positions of the global order belong to one process."""

  batch_size: int
  process_index: int
  process_count: int

  def position(self, i: int) -> int:
    """Where this process's i-th clip stands in the order of all processes."""
    batch, slot = divmod(i, self.batch_size)
    first = batch * self.process_count + self.process_index
    return first * self.batch_size + slot


class Plain(dict):
  """`config.data` as a plain dict, cheap to send to a worker."""


@dataclasses.dataclass
class TrainClip:
  """Makes the clip at one position of the training order."""

  videos: Videos
  data: dict
  seed: int
  order: grain.MapDataset
  slots: Slots

  def __call__(self, i: int) -> dict[str, np.ndarray]:
    position = self.slots.position(i)
    rng = np.random.default_rng((self.seed, position))
    index = first = int(self.order[position])
    error = ''
    for _ in range(MAX_REPLACEMENTS):
      try:
        clip = self.read(index, rng)
        break
      except VideoError as e:
        error = error or e.cause
        index = int(rng.integers(len(self.videos)))
    else:
      raise RuntimeError(
        f'{MAX_REPLACEMENTS} videos in a row cannot be read, the first is '
        f'{self.videos[first].path}: {error}'
      )
    return {
      'clip': clip,
      'label': np.int32(self.videos[index].label),
      'index': np.int32(index),
      'failed': np.int32(first if error else -1),
      'error': np.array(error.encode()[:ERROR_BYTES], f'S{ERROR_BYTES}'),
    }

  def read(self, index: int, rng: np.random.Generator) -> np.ndarray:
    clip = read_clip(
      self.videos[index].path,
      lambda length, fps: sampling.train_clip(self.data, length, rng),
      self.data['short_side'] or None,
    )
    for transform in transforms.train_transforms(self.data):
      clip = transform(clip, rng)
    return np.ascontiguousarray(clip)


def eval_batches(
  videos: Videos,
  data,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 0,
  threads: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
  """Every view of every video once: num_clips x num_crops, the last padded.

  All processes yield equally many batches. Each video is opened once, and only
  the frames of a few videos are in memory.

  Yields:
    {'clip': uint8 [b T s s 3], 'label', 'index', 'view': int32 [b], 'mask':
    bool [b] False for padding and for views of an unreadable video, 'failed',
    'error' as in training; padding has index -1}.
  """
  data = Plain(data)
  per_video = data['num_clips'] * data['num_crops']
  share = -(-len(videos) // process_count)
  batches = -(-share * per_video // batch_size)
  own = range(process_index, len(videos), process_count)
  elements = grain.MapDataset.source(own).map(EvalVideo(videos, data))
  views = split_views(forward(read(elements, workers, threads)), data)
  blank = blank_view(data)
  for _ in range(batches):
    rows = [next(views, blank) for _ in range(batch_size)]
    yield {key: np.stack([row[key] for row in rows]) for key in blank}


@dataclasses.dataclass
class EvalVideo:
  """Reads all temporal views of one video, sized for its crops."""

  videos: Videos
  data: dict

  def __call__(self, index: int) -> dict[str, np.ndarray]:
    data = self.data
    shape = (data['num_clips'], data['num_frames'])
    error = ''
    try:
      clips = read_clip(
        self.videos[index].path,
        lambda length, fps: sampling.test_clips(
          data, length, data['num_clips']
        ).ravel(),
        data['crop'],
      )
      clips = clips.reshape(*shape, *clips.shape[1:])
    except VideoError as e:
      error = e.cause
      clips = np.zeros((*shape, data['crop'], data['crop'], 3), np.uint8)
    return {
      'clips': clips,
      'label': np.int32(self.videos[index].label),
      'index': np.int32(index),
      'failed': np.int32(index if error else -1),
      'error': np.array(error.encode()[:ERROR_BYTES], f'S{ERROR_BYTES}'),
    }


def split_views(elements, data) -> Iterator[dict]:
  """One row per view; crops are cut here, where they are needed."""
  for element in elements:
    clips = element.pop('clips')
    crops = transforms.test_crops(clips, data['crop'], data['num_crops'])
    mask = np.bool_(element['failed'] < 0)
    for clip in range(data['num_clips']):
      for crop in range(data['num_crops']):
        view = np.int32(clip * data['num_crops'] + crop)
        yield element | {'clip': crops[crop][clip], 'view': view, 'mask': mask}


def blank_view(data) -> dict[str, np.ndarray]:
  size = data['crop']
  return {
    'clip': np.zeros((data['num_frames'], size, size, 3), np.uint8),
    'label': np.int32(-1),
    'index': np.int32(-1),
    'view': np.int32(-1),
    'mask': np.bool_(False),
    'failed': np.int32(-1),
    'error': np.array(b'', f'S{ERROR_BYTES}'),
  }
