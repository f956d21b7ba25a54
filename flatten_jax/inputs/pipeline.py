# SPDX-License-Identifier: Apache-2.0
"""From videos to batches: batch k is a pure function of (seed, k).

Grain brings the order, the threads and the worker processes. What a clip looks
like depends on nothing but the seed and its position in the training order, so
batches repeat bit for bit whatever the number of threads, workers or processes,
and a run continues exactly where it stopped.
"""

from collections.abc import Iterator, Mapping
import math
import sys

from absl import flags
import cv2
import grain
from grain.experimental import ThreadPrefetchIterDataset
import numpy as np

from flatten_jax.inputs import workers as worker_processes
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.examples import (
  ERROR_BYTES,
  ProcessShard,
  TestClips,
  TrainClip,
)
from flatten_jax.inputs.sources.dataset import Videos

Batch = dict[str, np.ndarray]


class Batches(Iterator[Batch]):
  """Iterates over batches; close it, or use it in a `with`, to end workers.

  After an error it stays broken: Grain's own iterator goes on when a worker
  process died, without the clips that it was making.
  """

  def __init__(self, batches: Iterator[Batch], close=lambda: None):
    self._batches = batches
    self._close = close
    self._failure: BaseException | None = None

  def __next__(self) -> Batch:
    if self._failure:
      raise RuntimeError('Reading videos has failed before.') from self._failure
    try:
      return next(self._batches)
    except StopIteration:
      self.close()
      raise
    except BaseException as error:
      self._failure = error
      self.close()
      if death := worker_processes.death(error):
        raise RuntimeError(death) from error
      raise

  def close(self) -> None:
    """Ends threads and worker processes; may be called twice."""
    self._close()
    self._close = lambda: None

  def __enter__(self) -> 'Batches':
    return self

  def __exit__(self, *_) -> None:
    self.close()


def train_batches(
  videos: Videos,
  data: Mapping,
  *,
  seed: int,
  batch_size: int,
  start: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 0,
  threads: int = 4,
) -> Batches:
  """Training batches without end, from batch `start` on.

  Args:
    videos: what to draw from; every epoch shows each video once, in new order.
      An epoch ends inside a batch where the numbers say so.
    data: `config.data`: sampling, transforms. If `repeated_aug` is 2, a batch
      has two clips of each video, side by side (Hoffer et al., 2020).
    seed: all randomness comes from (seed, position in the order).
    batch_size: videos per batch of this process.
    start: the first batch, to resume exactly.
    process_index: this process among `process_count`. The batches k of all
      processes, one after the other, are the batch k of a single process.
    process_count: how many processes share a batch.
    workers: processes that read; 0 reads in threads of this process.
    threads: reading threads of this process, or of each worker.

  Returns:
    An iterator of {'clip': uint8 [b T s s 3], 'label': int32 [b], 'index':
    int32 [b] position in `videos`, 'failed': int32 [b] position of the video
    that could not be read and that this one replaces, -1 if none, 'error':
    bytes [b] why}.

  Raises:
    RuntimeError: no video can be read, or a worker process died (both while
      iterating).
  """
  if not len(videos):
    raise ValueError('There are no videos to train on.')
  shard = ProcessShard(batch_size, process_index, process_count)
  batch_size *= data['repeated_aug']
  check_batch(batch_size, process_index, process_count)
  clips = grain.MapDataset.range(start * batch_size, sys.maxsize // 2)
  clips = clips.map(TrainClip.create(videos, data, seed, shard))
  size = data['num_frames'] * data['crop'] ** 2 * 3
  stream = read_ahead(clips, workers, threads, size).batch(batch_size)
  # The next batch is put together while this one is being used.
  stream = iter(ThreadPrefetchIterDataset(stream, prefetch_buffer_size=1))
  return Batches(stream, stream.close)


def eval_batches(
  videos: Videos,
  data: Mapping,
  *,
  batch_size: int,
  group: int = 1,
  process_index: int = 0,
  process_count: int = 1,
  workers: int = 0,
  threads: int = 4,
) -> Batches:
  """Every view of every video once: `num_clips` x `num_crops` of each.

  Each video is decoded in one pass, by one process, and the frames of no more
  than a few videos are in memory. All processes get equally many batches.

  Args:
    videos: of the split.
    data: `config.data`: sampling and crops.
    batch_size: views per batch of this process.
    group: so many views stay together, however many processes there are. To
      keep them in one batch, make `batch_size` a multiple of it.
    process_index: this process among `process_count`, which divide the videos.
    process_count: how many processes there are.
    workers: processes that read; 0 reads in threads of this process.
    threads: reading threads of this process, or of each worker.

  Returns:
    An iterator of batches like those of `train_batches`, and 'view': int32 [b],
    clip * num_crops + crop, 'mask': bool [b], False for views of a video that
    cannot be read and for the padding of the last batches, which has index -1.
  """
  check_batch(batch_size, process_index, process_count)
  data = dict(data)
  per_video = data['num_clips'] * data['num_crops']
  # Videos go to the processes in runs whose views fill whole groups.
  run = group // math.gcd(group, per_video)
  mine, first = (
    [i for i in range(len(videos)) if i // run % process_count == process]
    for process in (process_index, 0)
  )
  # None has more than the first.
  num_batches = -(-len(first) * per_video // batch_size)
  elements = iter(())
  if mine:
    own = grain.MapDataset.source(mine)
    # A picture is as good as never more than twice as long as it is high.
    size = data['num_clips'] * data['num_frames'] * data['crop'] ** 2 * 6
    clips = own.map(TestClips(videos, data))
    elements = iter(read_ahead(clips, workers, threads, size))

  def batches() -> Iterator[Batch]:
    views, blank = cut_views(elements, data), blank_view(data)
    for _ in range(num_batches):
      rows = [next(views, blank) for _ in range(batch_size)]
      yield {key: np.stack([row[key] for row in rows]) for key in blank}

  return Batches(batches(), getattr(elements, 'close', lambda: None))


def check_batch(
  batch_size: int, process_index: int, process_count: int
) -> None:
  """Refuses numbers that make no batch."""
  if batch_size < 1 or not 0 <= process_index < process_count:
    raise ValueError(
      f'Expected a batch of one clip or more on one of {process_count} '
      f'processes, got {batch_size} clips on process {process_index}.'
    )


def read_ahead(
  clips: grain.MapDataset, workers: int, threads: int, size: int
) -> grain.IterDataset:
  """Makes clips in threads or in worker processes, and keeps their order.

  `size` is that of one clip in bytes. Little is made ahead: a few clips for
  each thread, since a batch that waits is as good as many clips that do.
  """
  if workers:
    worker_processes.check_shared_memory(workers, size)
    # Workers parse absl's flags, which notebooks and tests never did.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
  cv2.setNumThreads(1)  # Clips are made side by side already.
  threads = max(threads, 1)
  stream = clips.to_iter_dataset(
    grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
  )
  if workers:
    stream = stream.mp_prefetch(
      grain.MultiprocessingOptions(workers, per_worker_buffer_size=2),
      worker_init_fn=worker_processes.start,
    )
  return stream


def cut_views(elements: Iterator[Batch], data: dict) -> Iterator[Batch]:
  """One view after the other; crops are slices, and only a batch copies."""
  for element in elements:
    clips = element.pop('clip')  # [V T h w 3]
    crops = transforms.test_crops(clips, data['crop'], data['num_crops'])
    element['mask'] = np.bool_(element['failed'] < 0)
    for clip in range(data['num_clips']):
      for crop, pixels in enumerate(crops):
        view = np.int32(clip * data['num_crops'] + crop)
        yield element | {'clip': pixels[clip], 'view': view}


def blank_view(data: dict) -> Batch:
  """What pads a batch."""
  size = data['crop']
  return {
    'clip': np.zeros((data['num_frames'], size, size, 3), np.uint8),
    'label': np.int32(-1),
    'index': np.int32(-1),
    'view': np.int32(-1),
    'mask': np.bool_(False),
    'failed': np.int32(-1),
    'error': np.zeros((), f'S{ERROR_BYTES}'),
  }
