# SPDX-License-Identifier: Apache-2.0
"""Makes batches of clips; batch k is a pure function of (seed, k).

Grain provides the order, the threads and the worker processes. Batches repeat
bit for bit with any number of them, and a run resumes exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import math
import sys

from absl import flags
import cv2
import grain
from grain.experimental import ThreadPrefetchIterDataset
import numpy as np

from flatten_jax.inputs import workers as worker_processes
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.examples import TestClips, to_example
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.training_order import ProcessShard, TrainClip

Batch = dict[str, np.ndarray]


class Batches(Iterator[Batch], contextlib.AbstractContextManager):
  """Iterates over batches; close it, or use it in a `with`, to end workers.

  After an error it stays broken; Grain's iterator would leave clips out.
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
  mean: Sequence[float] = (0.45, 0.45, 0.45),
) -> Batches:
  """Makes training batches without end, from batch `start` on.

  Every epoch shows each video once, in a new order, and may end inside of a
  batch; with `data.balanced`, each class equally often, see `training_order`.
  If `data.repeated_aug` is 2, a batch has two clips of each video, one after
  the other (Hoffer et al., 2020). All randomness comes from (seed, position in
  the order). Batches k of all processes, of `batch_size` videos each, joined,
  are batch k of a single process. Each of `workers` processes reads with
  `threads` threads; with 0 workers, this process does. `mean` is the color of
  boxes that are erased, RGB from 0 to 1.

  Returns:
    An iterator of {'clip': uint8 [b T s s C], 'positions': int32 [b T] numbers
    of the frames from the clip's first on, 'label': int32 [b], of a multi-label
    set int8 [b K] (see `Videos.target`), 'index': int32 [b] position in
    `videos`, 'failed': int32 [b] position of the video that could not be read
    and that this one replaces, -1 if none, 'error': bytes [b] its cause}.
    Raises RuntimeError if no video can be read or a worker process died.
  """
  if not len(videos):
    raise ValueError('There are no videos to train on.')
  shard = ProcessShard(batch_size, process_index, process_count)
  batch_size *= data['repeated_aug']
  check_batch(batch_size, process_index, process_count)
  clips = grain.MapDataset.range(start * batch_size, sys.maxsize // 2)
  clips = clips.map(TrainClip(videos, data, seed, shard, mean))
  size = data['num_frames'] * data['crop'] ** 2 * fields.num_channels(data)
  stream = read_ahead(clips, workers, threads, size).batch(batch_size)
  # The next batch is made while this one is used.
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
  """Makes batches of all views, `num_clips` x `num_crops` of each video.

  Each video is decoded in one pass, by one process, and the frames of a few
  videos are in memory. All processes get the same number of batches, of
  `batch_size` views. `group` views stay together with any number of processes;
  to keep them in one batch, make `batch_size` a multiple of it.

  Batches are as of `train_batches`, with 'positions' from the video's first
  frame on (or its part's), 'view': int32 [b], clip * num_crops +
  crop, and 'mask': bool [b], False for views of a video that cannot be read and
  for the padding of the last batches, with index -1.
  """
  check_batch(batch_size, process_index, process_count)
  data = dict(data)
  per_video = data['num_clips'] * data['num_crops']
  # A process gets videos in runs whose views fill whole groups.
  run = group // math.gcd(group, per_video)
  mine, first = (
    [i for i in range(len(videos)) if i // run % process_count == process]
    for process in (process_index, 0)
  )
  # No process has more views than the first.
  num_batches = -(-len(first) * per_video // batch_size)
  examples = iter(())
  if mine:
    # Frames are hardly ever more than twice as wide as they are high.
    side = transforms.test_short_side(data)
    size = data['num_clips'] * data['num_frames'] * side**2 * 2
    size *= fields.num_channels(data)
    clips = grain.MapDataset.source(mine).map(TestClips(videos, data))
    examples = iter(read_ahead(clips, workers, threads, size))

  def batches() -> Iterator[Batch]:
    views, blank = cut_views(examples, data), blank_view(data)
    for _ in range(num_batches):
      rows = [next(views, blank) for _ in range(batch_size)]
      yield {key: np.stack([row[key] for row in rows]) for key in blank}

  return Batches(batches(), getattr(examples, 'close', lambda: None))


def check_batch(
  batch_size: int, process_index: int, process_count: int
) -> None:
  """Checks that a batch has clips and the process exists."""
  if batch_size < 1 or not 0 <= process_index < process_count:
    raise ValueError(
      f'Expected a batch of one clip or more on one of {process_count} '
      f'processes, got {batch_size} clips on process {process_index}.'
    )


def read_ahead(
  clips: grain.MapDataset, workers: int, threads: int, size: int
) -> grain.IterDataset:
  """Makes clips of `size` bytes in threads or worker processes, in order.

  A thread makes only a few clips ahead, since the next batch waits already.
  """
  if workers:
    worker_processes.check_script()
    worker_processes.check_shared_memory(workers, size)
    # Workers parse absl's flags, which notebooks and tests have not done.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
  cv2.setNumThreads(1)  # Clips are made in parallel already.
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


def cut_views(examples: Iterator[Batch], data: dict) -> Iterator[Batch]:
  """Yields the views of each video; crops are slices, copied by a batch."""
  size, num_crops = data['crop'], data['num_crops']
  steps = rules.of_data(data).crop_steps
  for example in examples:
    clips, positions = example.pop('clip'), example.pop('positions')
    example['mask'] = np.bool_(example['failed'] < 0)
    for i, clip in enumerate(clips):
      crops = transforms.test_crops(clip, size, num_crops, steps)
      for j, pixels in enumerate(crops):
        yield example | {
          'clip': pixels,
          'positions': positions[i],
          'view': np.int32(i * num_crops + j),
        }


def blank_view(data: dict) -> Batch:
  """Returns the padding of a batch."""
  channels = fields.num_channels(data)
  shape = data['num_frames'], data['crop'], data['crop'], channels
  clip, record = np.zeros(shape, np.uint8), Record('', '', label=-1)
  blank = to_example(clip, np.zeros(shape[0], np.int32), record, index=-1)
  return blank | {'view': np.int32(-1), 'mask': np.bool_(False)}
