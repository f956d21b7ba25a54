# SPDX-License-Identifier: Apache-2.0
"""Features of clips in several orders of frames, and lengths of videos."""

from collections.abc import Callable
import concurrent.futures
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs import pipeline, views
from flatten_jax.inputs.parts import Part
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader
from flatten_jax.progress import Progress
from flatten_jax.runtime import model_factory, preprocess
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel

SINGLE_FRAMES = 3  # Of a clip, each by itself.
Orders = Callable[[np.ndarray], np.ndarray]  # Video numbers [B] -> [B T].


class Passed(nnx.Module):
  """A head's place: features come out of the model in place of logits."""

  def __init__(self, dtype: Any):
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns what the head gets."""
    return x


def single_frames(num_frames: int) -> list[int]:
  """Returns frames in the middle of equal parts, among them the middle one."""
  parts = range(SINGLE_FRAMES)
  return sorted({(2 * i + 1) * num_frames // (2 * len(parts)) for i in parts})


def orders_of(model: LoadedModel, seed: int) -> dict[str, Orders]:
  """Returns the orders of frames that a model is asked for, by name.

  Orders that cannot make a difference are left out: 'random' where frames have
  no order, and single frames where a clip has only one.
  """
  config = model.config
  count = config.data.num_frames
  in_order = np.arange(count)

  def repeat(frames, numbers):
    return np.broadcast_to(frames, (len(numbers), count))

  def shuffle(numbers):
    # The padding of a batch has the number -1.
    rngs = (np.random.default_rng((seed, n + 1)) for n in numbers.tolist())
    return np.stack([rng.permutation(count) for rng in rngs])

  orders: dict[str, Orders] = {'clip': functools.partial(repeat, in_order)}
  if count == 1 or config.data.repeat_frame:
    return orders
  # Frames of motion contain the change to the next one, also if averaged.
  ordered = config.clip_model != 'average' or config.channels == 'motion'
  if config.flatten != 'random' and ordered:
    orders['random'] = shuffle
  for frame in single_frames(count):
    orders[f'frame {frame}'] = functools.partial(repeat, np.full(count, frame))
  return orders


def compute(
  model: LoadedModel,
  videos: Videos,
  orders: dict[str, Orders],
  step: Callable[..., dict[str, jax.Array]],
  failed_videos: FailedVideos,
  bar: Progress,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Computes features of every video, one central view, in each order.

  Every clip is read once. All processes read their share, and get all.

  Returns:
    Features [N D] by order, 0 for videos that could not be read, and which
    ones were and have finite features, bool [N].
  """
  experiment, config = model.experiment, model.config
  data = config.data.to_dict() | {'test_crop': 0}
  view = views.full_views(data, 1, 1, data['num_frames'])
  batches = pipeline.eval_batches(
    videos,
    view.apply(data),
    batch_size=config.eval_views * sharding.rows_of_process(experiment.mesh),
    group=config.eval_views,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    workers=data['workers'],
    threads=data['threads'],
  )
  found, scored = {}, np.zeros(len(videos), bool)
  with batches:
    for batch in batches:
      clips = experiment.to_devices(batch)
      results = {}
      for name, order in orders.items():
        frames = order(batch['index']).astype(np.int32)
        inputs = clips | experiment.to_devices({'order': frames})
        results[name] = step(model.params, model.batch_stats, inputs)
      failed_videos.record(batch, videos)
      for name, result in jax.device_get(results).items():
        rows = result['features'][result['mask']]
        numbers = result['index'][result['mask']]
        found.setdefault(
          name, np.zeros((len(videos), rows.shape[-1]), np.float32)
        )[numbers] = rows
      scored[numbers] = True
      bar.update(len(numbers))
  failed_videos.sync()
  for values in found.values():
    scored &= np.isfinite(values).all(-1)
  return found, scored


def make_step(experiment: Experiment) -> Callable[..., dict[str, jax.Array]]:
  """Returns a jitted step: weights and a batch with 'order' -> 'features'.

  Features are what the head gets, or the logits of a model whose head cannot be
  found. 'order' [B T] are the frames that a clip is made of.
  """
  config = experiment.config
  heads = {
    tuple(name.split('.'))[:-1]
    for name in model_factory.head_axes(config, len(experiment.class_names))
  }

  def step(params, batch_stats, batch):
    model = nnx.merge(
      experiment.graphdef, experiment.gather(params), batch_stats
    )
    for path in heads:
      _pass_features(model, path)
    order = batch['order'][..., None, None, None]
    clips = jnp.take_along_axis(batch['clip'], order, axis=1)
    inputs = preprocess.eval_inputs(batch | {'clip': clips}, config)
    features = preprocess.call(model, inputs).astype(jnp.float32)
    features = features.mean(axis=range(1, features.ndim - 1))
    return {k: batch[k] for k in ('index', 'mask')} | {'features': features}

  return experiment.jit(step, out_shardings=experiment.replicated)


def _pass_features(model: nnx.Module, path: tuple[str, ...]) -> None:
  """Replaces the module at `path`, if there is one, by `Passed`."""
  *parents, name = path or ('',)
  for part in parents:
    model = model[int(part)] if part.isdigit() else getattr(model, part, None)
  is_item = name.isdigit()
  head = model[int(name)] if is_item else getattr(model, name, None)
  if not isinstance(head, nnx.Module):
    return
  passed = Passed(getattr(head, 'dtype', None))
  if is_item:
    model[int(name)] = passed
  else:
    setattr(model, name, passed)


def lengths(videos: Videos, data: dict[str, Any]) -> np.ndarray:
  """Returns frames and seconds of every video, or its part, without pictures.

  Returns:
    [N 2], 0 where unknown.
  """
  # Flow is not needed to count frames.
  reader = Reader(data | {'input': 'rgb'}, index=video_index.find(videos, data))

  def length(record: Record) -> tuple[int, float]:
    try:
      with reader.open(record.path) as video:
        part = Part.of(record, video)
        return part.length, part.length / part.fps if part.fps else 0.0
    except VideoError:
      return 0, 0.0

  with concurrent.futures.ThreadPoolExecutor(max(data['threads'], 1)) as pool:
    return np.array(list(pool.map(length, videos.records)), float)
