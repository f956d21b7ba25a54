# SPDX-License-Identifier: Apache-2.0
"""A model with its weights and config; what all modes after training use."""

from collections.abc import Iterable, Iterator
import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax.inputs import views
from flatten_jax.inputs.pipeline import Batch
from flatten_jax.models import external
from flatten_jax.runtime import preprocess, task as tasks
from flatten_jax.runtime.experiment import Experiment


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
    thresholds: of a multi-label model, the probability from which each class
      counts, chosen on the validation of the checkpoint; (): 0.5 for all.
  """

  experiment: Experiment
  params: dict
  batch_stats: dict
  step: int = 0
  batch_norm: str = ''
  source: str = ''
  thresholds: tuple[float, ...] = ()

  @property
  def config(self) -> ml_collections.FrozenConfigDict:
    """The resolved config, frozen."""
    return self.experiment.config

  @property
  def class_names(self) -> tuple[str, ...]:
    """Class names in the order of the logits."""
    return self.experiment.class_names

  @property
  def task(self) -> tasks.Task:
    """How logits become probabilities."""
    return tasks.of(self.config)

  @property
  def views(self) -> views.Views:
    """The test views of the config."""
    return views.of_config(self.config.data)

  @property
  def takes_clips(self) -> bool:
    """True if clips are not flattened, see `preprocess.takes_clips`."""
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
    task: of the logits.
  """

  def __init__(self, average: str, num_views: int, task: tasks.Task):
    self._probs = average == 'probs'
    self._num_views, self._task = num_views, task
    self._sums: dict[int, np.ndarray] = {}
    self._seen: dict[int, int] = {}

  def add(self, result: dict[str, np.ndarray]) -> list[int]:
    """Adds the views of one batch; returns the videos that are complete."""
    mask = result['mask']
    logits = result['logits'][mask].astype(np.float64)
    values = self._task.probabilities(logits) if self._probs else logits
    complete = []
    for number, row in zip(result['index'][mask].tolist(), values, strict=True):
      self._sums[number] = self._sums.get(number, 0.0) + row
      self._seen[number] = self._seen.get(number, 0) + 1
      if self._seen[number] == self._num_views:
        complete.append(number)
    return complete

  def pop(self, number: int) -> np.ndarray:
    """Removes a video and returns its logits, summed over the views. [K].

    For 'probs', `num_views` times the logits of the mean probability: in both
    cases `task.probabilities` of logits / num_views are the video's.
    """
    values, seen = self._sums.pop(number), self._seen.pop(number)
    if self._probs:
      values = self._num_views * self._task.logits(values / seen)
    return values.astype(np.float32)
