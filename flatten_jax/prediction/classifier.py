# SPDX-License-Identifier: Apache-2.0
"""A model with all that it takes to show it a video."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import os
from typing import Any, TypedDict

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax.evaluation import evaluate
from flatten_jax.flattening import Flattened, Mode, flatten
from flatten_jax.inputs import views
from flatten_jax.inputs.pipeline import Batch
from flatten_jax.runtime import preprocess, trained
from flatten_jax.training import setup

Model = str | os.PathLike | Callable[[jax.Array], jax.Array]


class Inputs(TypedDict, total=False):
  """How a video becomes what a model sees, by the names that configs use."""

  num_frames: int
  sampling: str  # 'segment': over the whole video; 'dense': `stride` apart.
  stride: int
  crop: int  # px, the side of a frame
  flatten: Mode
  grid: tuple[int, int] | tuple[()]
  mean: tuple[float, float, float]  # of the pixels, in [0, 1]
  std: tuple[float, float, float]


# For a model that comes without a config: those of `configs/common.py`, but
# over the whole video.
DEFAULTS = Inputs(
  num_frames=16,
  sampling='segment',
  stride=4,
  crop=224,
  flatten='row_major',
  grid=(),
  mean=(0.45, 0.45, 0.45),
  std=(0.225, 0.225, 0.225),
)
# What readers ask of `config.data` besides.
READING = dict(
  dict.fromkeys(('root', 'train', 'val', 'test', 'prefix', 'index'), ''),
  repeat_frame=False,
  views='',
  num_clips=1,
  num_crops=1,
  time_limit=60.0,
  threads=4,
)
# Of `Inputs`, what is not in `config.data`.
OUTSIDE_DATA = ('flatten', 'grid', 'mean', 'std')


@dataclasses.dataclass(frozen=True)
class Classifier:
  """From batches of views to logits.

  Attributes:
    forward: a batch of `inputs.pipeline` -> logits [B K].
    class_names: of the K logits.
    data: as `config.data`; says how videos are read.
    views: of each video.
    group: views that a device takes at a time.
    devices: among which batches are divided.
    source: what it is, for people.
  """

  forward: Callable[[Batch], jax.Array]
  class_names: tuple[str, ...]
  data: dict[str, Any]
  views: views.Views
  group: int
  devices: int
  source: str

  def describe(self) -> str:
    """In a line: which model, and how it looks at a video."""
    seen = self.views
    if self.data['sampling'] == 'segment':  # All along it, at no stride.
      seen = dataclasses.replace(seen, stride=None)
    return f'{self.source}: {seen.describe()} of each video'

  def batch_size(self, num_views: int) -> int:
    """Of batches for so many views in all: no larger than it has to be."""
    return self.devices * min(self.group, -(-num_views // self.devices))

  def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
    """Batches and their logits [B K]; one is computed while one is read."""
    ahead = None
    for batch in batches:
      computing = batch, self.forward(batch)
      if ahead:
        yield ahead[0], jax.device_get(ahead[1])
      ahead = computing
    if ahead:
      yield ahead[0], jax.device_get(ahead[1])


def create(
  model: Model,
  test_views: str = '',
  class_names: Sequence[str] | None = None,
  inputs: Inputs | None = None,
) -> Classifier:
  """A classifier of a workdir or of a model, see `predict`."""
  inputs = inputs or {}
  unknown = set(inputs) - set(DEFAULTS)
  if unknown:
    raise TypeError(
      f'predict takes no {", ".join(sorted(unknown))}; of how a video is shown '
      f'it takes {", ".join(DEFAULTS)}.'
    )
  if isinstance(model, str | os.PathLike):
    if class_names is not None:
      raise TypeError('A workdir has class names of its own.')
    return of_workdir(model, test_views, inputs)
  return of_model(model, test_views, class_names, inputs)


def of_workdir(
  workdir: str | os.PathLike, test_views: str, inputs: Inputs
) -> Classifier:
  """From the checkpoint, and the config and class names that it holds."""
  config = trained.as_trained(None, workdir)
  for key, value in inputs.items():
    part = config if key in OUTSIDE_DATA else config.data
    part[key] = value
  if test_views:
    config.data.views = test_views
  setup.prepare_device(config)
  wanted = views.of_config(config.data)
  model = trained.load(workdir, config)
  return Classifier(
    forward=lambda batch: model.forward(batch)['logits'],
    class_names=model.run.class_names,
    data=config.data.to_dict(),
    views=wanted,
    group=config.get('eval_views', evaluate.EVAL_VIEWS),
    devices=jax.local_device_count(),
    source=f'{config.model.name} of {workdir}, step {model.step}',
  )


def of_model(
  model: Callable[[jax.Array], jax.Array],
  test_views: str,
  class_names: Sequence[str] | None,
  inputs: Inputs,
) -> Classifier:
  """From any callable; images are laid out unless it `takes_clips`."""
  name = type(model).__name__
  if isinstance(model, Flattened):
    layout = {'flatten': model.mode, 'grid': model.grid or ()}
    model, inputs = model.model, {**layout, **inputs}
  inputs = {**DEFAULTS, **inputs}
  data = READING | {k: v for k, v in inputs.items() if k not in OUTSIDE_DATA}
  forward = jitted(model, inputs)
  shape = (1, data['num_frames'], data['crop'], data['crop'], 3)
  num_classes = jax.eval_shape(
    forward, jax.ShapeDtypeStruct(shape, np.uint8)
  ).shape[-1]
  if class_names is None:
    class_names = [str(number) for number in range(num_classes)]
  if len(class_names) != num_classes:
    raise ValueError(
      f'The model tells {num_classes} classes apart, and class_names has '
      f'{len(class_names)}.'
    )
  data['views'] = test_views
  return Classifier(
    forward=lambda batch: forward(batch['clip']),
    class_names=tuple(class_names),
    data=data,
    views=views.of_config(data),
    group=evaluate.EVAL_VIEWS,
    devices=1,
    source=name,
  )


def jitted(
  model: Callable[[jax.Array], jax.Array], inputs: Inputs
) -> Callable[[jax.Array], jax.Array]:
  """uint8 clips [B T H W 3] -> logits [B K] in float32."""
  config = ml_collections.FrozenConfigDict(
    {'mean': inputs['mean'], 'std': inputs['std']}
  )

  def logits(model, clips):
    images = preprocess.normalize(clips, config)
    if not getattr(model, 'takes_clips', False):
      rng = jax.random.key(0)  # For 'random', the same order every time.
      grid = tuple(inputs['grid']) or None
      images = flatten(
        images,
        inputs['flatten'],
        grid=grid,
        rng=rng if inputs['flatten'] == 'random' else None,
      )
    return model(images).astype(jnp.float32)

  if not isinstance(model, nnx.Module):
    return jax.jit(lambda clips: logits(model, clips))
  # Weights go in as arguments: as constants they would be compiled in.
  graphdef, state = nnx.split(model)
  apply = jax.jit(
    lambda state, clips: logits(nnx.merge(graphdef, state), clips)
  )
  return lambda clips: apply(state, clips)


def softmax(logits: np.ndarray) -> np.ndarray:
  """Logits [... K] -> probabilities."""
  powers = np.exp(logits - logits.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)
