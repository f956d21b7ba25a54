# SPDX-License-Identifier: Apache-2.0
"""A config with its classes, model structure and devices, but no weights."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import ml_collections
import numpy as np

from flatten_jax.inputs import views
from flatten_jax.models.layers import devices
from flatten_jax.runtime import model_factory, preprocess, state
from flatten_jax.runtime.cost import Cost
from flatten_jax.runtime.devices import sharding


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A config with everything that its training and evaluation share.

  Attributes:
    config: resolved and frozen.
    class_names: in the order of the model's outputs.
    graphdef: structure of the model.
    mesh: devices; the batch is divided over 'data', parameters as
      in `config.sharding`.
  """

  config: ml_collections.FrozenConfigDict
  class_names: tuple[str, ...]
  graphdef: nnx.GraphDef
  mesh: jax.sharding.Mesh

  @classmethod
  def create(
    cls,
    config: ml_collections.ConfigDict,
    class_names: tuple[str, ...],
    chosen: Sequence[jax.Device] | None = None,
  ) -> 'Experiment':
    """Builds the structure only: no weights, nothing on a device.

    Args:
      config: resolved.
      class_names: in the order of the model's outputs.
      chosen: devices; by default the current ones, all that there are.
    """
    mesh = sharding.make_mesh(config, chosen)
    build = functools.partial(
      model_factory.build_model, config, len(class_names)
    )
    graphdef, *_ = state.split(nnx.eval_shape(build))
    frozen = ml_collections.FrozenConfigDict(config)
    return cls(frozen, tuple(class_names), graphdef, mesh)

  @functools.cached_property
  def cost(self) -> Cost:
    """GFLOPs of one test view, and the number of parameters."""
    test_views = views.of_config(self.config.data)
    return self.cost_of(test_views.frames, test_views.resolution)

  def cost_of(self, num_frames: int, side: int) -> Cost:
    """Counts the cost of a clip of another length, or of another side in px."""
    classes = len(self.class_names)
    return model_factory.cost_of(self.config, classes, num_frames, side)

  @property
  def replicated(self) -> NamedSharding:
    """The sharding of arrays that every device holds whole."""
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def over_data(self) -> NamedSharding:
    """The sharding of a batch: its first axis is divided."""
    return NamedSharding(self.mesh, PartitionSpec('data'))

  @property
  def gather(self) -> Callable[[dict], dict]:
    """Gathers parameters within a step if FSDP divides them."""
    return sharding.gathering(self.config, self.mesh)

  def shardings(self, tree: Any) -> Any:
    """Returns the shardings of a training state, or of a part of it."""
    return sharding.of_tree(tree, self.config, self.mesh)

  def random_weights(self) -> tuple[dict, dict]:
    """Draws parameters and batch statistics from the config's seed."""
    model = model_factory.build_model(self.config, len(self.class_names))
    return state.split(model)[1:]

  def to_devices(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Transfers this process's share of a batch, as part of the global one."""
    keys = ('clip', 'positions', 'label', 'index', 'view', 'mask', 'order')
    # With several processes, jax counts this explicit transfer as implicit.
    with jax.transfer_guard_host_to_device('allow'):
      return {
        key: jax.make_array_from_process_local_data(self.over_data, batch[key])
        for key in keys
        if key in batch
      }

  def to_all_devices(self, number: float) -> jax.Array:
    """Transfers a number, the same in all processes, as float32."""
    with jax.transfer_guard_host_to_device('allow'):  # As for a batch.
      return sharding.put(np.float32(number), self.replicated)

  @functools.cached_property
  def eval_step(self) -> Callable[[dict, dict, dict], dict[str, jax.Array]]:
    """Jitted: parameters, batch statistics and a batch on the devices to the
    whole batch's 'logits' float32 [B K], 'index' [B] and 'mask' [B], the same
    on every process.
    """

    def step(params, batch_stats, batch):
      model = nnx.merge(self.graphdef, self.gather(params), batch_stats)
      inputs = preprocess.eval_inputs(batch, self.config)
      logits = preprocess.call(model, inputs).astype(jnp.float32)
      return {'logits': logits, 'index': batch['index'], 'mask': batch['mask']}

    return self.jit(step, out_shardings=self.replicated)

  def jit(self, function: Callable, **options: Any) -> Callable:
    """Returns `jax.jit(function, **options)` for the devices of the mesh.

    Layers take the forms that suit these devices, which need not be here.
    """

    def traced(*args):
      divided = sharding.divided_dimension(self.config, self.mesh)
      with devices.use(self.mesh, divided):
        return function(*args)

    inner = getattr(function, 'func', function)  # Of a partial.
    traced.__name__ = inner.__name__  # Names the program, as in traces.
    return jax.jit(traced, **options)
