# SPDX-License-Identifier: Apache-2.0
"""A model with its weights and config; what all modes after training use."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import logging
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import scipy.special

from flatten_jax.flattening import Flattened
from flatten_jax.inputs import views
from flatten_jax.inputs.pipeline import Batch
from flatten_jax.models import InputSpec, external
from flatten_jax.runtime import (
  config as configs,
  config_rules,
  default_config,
  preprocess,
)
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True, eq=False)  # jit asks for a hash.
class LoadedModel:
  """A model on its devices, ready to classify clips.

  Attributes:
    experiment: config, class names, model structure and mesh.
    params: parameters, divided as in `config.sharding`.
    batch_stats: running statistics of batch norms, and other variables.
    step: of the checkpoint; 0 for a model that was not loaded from one.
    batch_norm: the clips that batch norms averaged over in training.
    source: name of the model or of its workdir, for messages.
  """

  experiment: Experiment
  params: dict
  batch_stats: dict
  step: int = 0
  batch_norm: str = ''
  source: str = ''

  @property
  def config(self) -> ml_collections.FrozenConfigDict:
    """The resolved config, frozen."""
    return self.experiment.config

  @property
  def class_names(self) -> tuple[str, ...]:
    """Class names in the order of the logits."""
    return self.experiment.class_names

  @property
  def views(self) -> views.Views:
    """The test views of the config."""
    return views.of_config(self.config.data)

  @property
  def takes_clips(self) -> bool:
    """True for a video model, whose clips are not flattened."""
    return preprocess.takes_clips(self.config)

  @functools.cached_property
  def module(self) -> nnx.Module:
    """The model by itself on one device: normalized images -> logits."""
    weights = jax.device_get((self.params, self.batch_stats))
    weights = jax.tree.map(jnp.asarray, weights)
    model = nnx.merge(self.experiment.graphdef, *weights)
    return external.inner_model(model)

  def __call__(self, batch: Batch) -> dict[str, jax.Array]:
    """Computes the logits of a batch of `inputs.pipeline`.

    Returns:
      'logits' float32 [B K], 'index' [B] and 'mask' [B] of the whole batch, the
      same on every process.
    """
    batch = self.experiment.to_devices(batch)
    return self.experiment.eval_step(self.params, self.batch_stats, batch)

  def run(
    self, batches: Iterable[Batch]
  ) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """Yields batches with their results; reads one while one is computed."""
    ahead = None
    for batch in batches:
      computing = batch, self(batch)
      if ahead:
        yield ahead[0], jax.device_get(ahead[1])
      ahead = computing
    if ahead:
      yield ahead[0], jax.device_get(ahead[1])

  def batch_size(self, num_views: int) -> int:
    """Returns a batch size for `num_views` views in all, not larger than it."""
    devices = self.experiment.mesh.size
    return devices * min(self.config.eval_views, -(-num_views // devices))

  def describe(self) -> str:
    """Returns one line: which model, and which views of a video it sees."""
    return f'{self.source}: {self.views.describe()} of each video'


class ViewMeans:
  """Averages the views of videos, see `config.eval_average`.

  Sums are float64, in the order of the views, so that they do not depend on
  batch sizes.

  Args:
    average: 'logits' or 'probs'.
    num_views: of each video.
  """

  def __init__(self, average: str, num_views: int):
    self._probs = average == 'probs'
    self._num_views = num_views
    self._sums: dict[int, np.ndarray] = {}
    self._seen: dict[int, int] = {}

  def add(self, result: dict[str, np.ndarray]) -> list[int]:
    """Adds the views of one batch; returns the videos that are complete."""
    mask = result['mask']
    logits = result['logits'][mask].astype(np.float64)
    values = scipy.special.softmax(logits, axis=-1) if self._probs else logits
    complete = []
    for number, row in zip(result['index'][mask].tolist(), values, strict=True):
      self._sums[number] = self._sums.get(number, 0.0) + row
      self._seen[number] = self._seen.get(number, 0) + 1
      if self._seen[number] == self._num_views:
        complete.append(number)
    return complete

  def pop(self, number: int) -> np.ndarray:
    """Removes a video and returns its logits, summed over the views. [K].

    For 'probs', `num_views` times the logarithm of the mean probability: in
    both cases softmax(logits / num_views) are the video's probabilities.
    """
    values, seen = self._sums.pop(number), self._seen.pop(number)
    if self._probs:
      values = self._num_views * np.log(np.maximum(values / seen, 1e-300))
    return values.astype(np.float32)


class _Function(nnx.Module):
  """Any callable images -> logits as a module without parameters."""

  def __init__(self, function: Callable[..., jax.Array]):
    self.function = function
    self.takes_positions = getattr(function, 'takes_positions', False)

  def __call__(self, images: jax.Array, **positions) -> jax.Array:
    return self.function(images, **positions)


def _warn_of_assumptions(
  config: ml_collections.ConfigDict, given: dict[str, Any]
) -> None:
  """Logs the input that a callable is given without having been asked."""
  data = config.data
  assumed = {
    'num_frames': data.num_frames,
    'crop': data.crop,
    'mean': tuple(config.mean),
    'std': tuple(config.std),
  }
  unknown = [
    f'{key}={value}'
    for key, value in assumed.items()
    if not {key, f'data.{key}'} & given.keys()
  ]
  if unknown:
    log.warning(
      'The input of this model is assumed: %s. Give others as arguments.',
      ', '.join(unknown),
    )


def from_callable(
  model: Callable[[jax.Array], jax.Array],
  class_names: Sequence[str] | None = None,
  settings: dict[str, Any] | None = None,
) -> LoadedModel:
  """Wraps any callable from images (or clips) to logits.

  Args:
    model: takes images [B H W 3]; clips [B T H W 3] if it is `Flattened` or has
      a true attribute `takes_clips`; with `takes_positions` also the numbers
      of the frames, positions=[B T]. An `input_spec`, as models of
      `create_model` have, fills the settings that are left open.
    class_names: of the logits; their numbers by default.
    settings: config values by dotted key, {'data.num_frames': 16, ...}.

  Raises:
    ValueError: `class_names` has another length than the logits.
  """
  source, settings = type(model).__name__, settings or {}
  if not callable(model) or isinstance(class_names, str):
    raise TypeError(
      'Expected a workdir or a callable model, and a list of class names; got '
      f'{model!r} and {class_names!r}.'
    )
  for key, value in settings.items():
    config_rules.check(key, value)
  if isinstance(model, Flattened):
    layout = {'flatten': model.mode, 'grid': model.grid or ()}
    model, settings = model.model, layout | settings
  config = default_config.base()
  config.model.name = ''  # It is not in the registry.
  with config.ignore_type():
    config.update_from_flattened_dict(settings)
  if getattr(model, 'takes_clips', False):
    config.flatten = 'none'
  spec = getattr(model, 'input_spec', None)
  configs.fill_input(config, spec=spec or InputSpec(sampling='segment'))
  if spec is None:
    _warn_of_assumptions(config, settings)
  module = model if isinstance(model, nnx.Module) else _Function(model)
  graphdef, *weights = nnx.split(module, nnx.Param, ...)
  weights = [nnx.to_pure_dict(part) for part in weights]
  data = config.data
  frames = data.test_frames or data.num_frames
  shape = (1, frames, data.crop, data.crop, 3)
  one = {
    'clip': jax.ShapeDtypeStruct(shape, np.uint8),
    'positions': jax.ShapeDtypeStruct(shape[:2], np.int32),
    'index': jax.ShapeDtypeStruct((1,), np.int32),
    'view': jax.ShapeDtypeStruct((1,), np.int32),
  }
  num_classes = jax.eval_shape(
    lambda weights, batch: preprocess.call(
      nnx.merge(graphdef, *weights), preprocess.eval_inputs(batch, config)
    ),
    weights,
    one,
  ).shape[-1]
  if class_names is None:
    class_names = [str(number) for number in range(num_classes)]
  if len(class_names) != num_classes:
    raise ValueError(
      f'The model has {num_classes} classes, and class_names has '
      f'{len(class_names)}.'
    )
  frozen = ml_collections.FrozenConfigDict(config)
  mesh = sharding.make_mesh(config, jax.local_devices()[:1])
  experiment = Experiment(frozen, tuple(class_names), graphdef, mesh)
  weights = jax.device_put(weights, experiment.replicated)
  return LoadedModel(experiment, *weights, source=source)
