# SPDX-License-Identifier: Apache-2.0
"""What training and evaluation share: the model, its devices, its classes."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
from jax.sharding import NamedSharding, PartitionSpec
import ml_collections
import numpy as np
import optax

from flatten_jax.checkpoints import initial_weights
from flatten_jax.runtime import model_factory, sharding, state
from flatten_jax.runtime.cost import Cost, cost
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import steps


@dataclasses.dataclass(frozen=True)
class Run:
  """One experiment: a config, the classes of its model, and where it runs.

  Attributes:
    config: frozen.
    class_names: in the order of the model's outputs.
    graphdef: structure of the model.
    mesh: all devices; the batch is divided over 'data', and parameters as
      `config.sharding` says.
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
    devices: list[jax.Device] | None = None,
  ) -> 'Run':
    """Builds the structure only: no weights, nothing on a device.

    `devices` are all there are, unless they are given.
    """
    mesh = sharding.make_mesh(config, devices)
    build = functools.partial(
      model_factory.build_model, config, len(class_names)
    )
    graphdef, *_ = state.split(nnx.eval_shape(build))
    frozen = ml_collections.FrozenConfigDict(config)
    return cls(frozen, tuple(class_names), graphdef, mesh)

  @functools.cached_property
  def cost(self) -> Cost:
    """GFLOPs of one view, and parameters."""
    data = self.config.data
    build = functools.partial(
      model_factory.build_model, self.config, len(self.class_names)
    )
    return cost(
      nnx.eval_shape(build),
      frames=data.num_frames,
      resolution=data.crop,
      mode=self.config.flatten,
      grid=tuple(self.config.grid) or None,
    )

  @property
  def replicated(self) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(self.mesh, PartitionSpec())

  def initial_weights(self) -> tuple[dict, dict]:
    """Parameters and batch statistics before the first step.

    Drawn from the seed, then overwritten by `config.model.pretrained`: by the
    host, in its own memory, from where each device gets its part.
    """
    with sharding.in_host_memory():
      weights = self._draw()
      if source := self.config.model.pretrained:
        config, classes = self.config, self.class_names
        head = functools.partial(model_factory.head_axes, config, len(classes))
        weights = initial_weights.load_initial_weights(
          source, config.model.name, self.graphdef, *weights, classes, head
        )
    return sharding.put(weights, self.shardings(weights))

  def _draw(self) -> tuple[dict, dict]:
    model = model_factory.build_model(self.config, len(self.class_names))
    return state.split(model)[1:]

  @functools.cached_property
  def _weight_shapes(self) -> tuple[dict, dict]:
    return jax.eval_shape(self._draw)

  def shardings(self, tree: Any) -> Any:
    """Where the arrays of a state, or of a part of it, belong."""
    return sharding.of_tree(tree, self.config, self.mesh)

  def initial_state(self, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step, as it is divided over the devices."""
    create = functools.partial(TrainState.create, tx=tx, ema=self.config.ema)
    weights = self.initial_weights()
    places = self.shardings(jax.eval_shape(create, *weights))
    return jax.jit(create, out_shardings=places)(*weights)

  def abstract_state(self, tx: optax.GradientTransformation) -> TrainState:
    """Shapes of a state and where its arrays belong: what to restore."""
    create = functools.partial(TrainState.create, tx=tx, ema=self.config.ema)
    shapes = jax.eval_shape(create, *self._weight_shapes)
    return jax.tree.map(
      lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
      shapes,
      self.shardings(shapes),
    )

  def update(
    self, tx: optax.GradientTransformation
  ) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """`steps.train_step`, jitted; the state stays where it is, and is donated.

    Metrics are the same on every process.
    """
    places = jax.tree.map(lambda x: x.sharding, self.abstract_state(tx))
    return jax.jit(
      functools.partial(
        steps.train_step,
        graphdef=self.graphdef,
        tx=tx,
        config=self.config,
        num_classes=len(self.class_names),
        gather=self._gather,
      ),
      in_shardings=(places, self._over_data),
      out_shardings=(places, self.replicated),
      donate_argnums=0,
    )

  @property
  def _gather(self) -> Callable[[dict], dict]:
    return sharding.gathering(self.config, self.mesh)

  @property
  def _over_data(self) -> NamedSharding:
    return NamedSharding(self.mesh, PartitionSpec('data'))

  def to_devices(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's share of a batch, as part of the global one."""
    keys = ('clip', 'label', 'index', 'view', 'mask')
    # Of several processes, jax counts what is asked for here as implicit.
    with jax.transfer_guard_host_to_device('allow'):
      return {
        key: jax.make_array_from_process_local_data(self._over_data, batch[key])
        for key in keys
        if key in batch
      }

  @functools.cached_property
  def forward(self) -> Callable[[dict, dict, dict], dict[str, jax.Array]]:
    """Jitted: parameters, batch statistics and a batch to the whole batch's
    'logits' [B K], 'index' [B] and 'mask' [B], the same on every process.
    """

    def forward(params, batch_stats, batch):
      logits = steps.eval_step(
        self._gather(params),
        batch_stats,
        batch,
        graphdef=self.graphdef,
        config=self.config,
      )
      return {'logits': logits, 'index': batch['index'], 'mask': batch['mask']}

    return jax.jit(forward, out_shardings=self.replicated)
