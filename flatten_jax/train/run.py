# SPDX-License-Identifier: Apache-2.0
"""What training and evaluation share: the model, its devices, its classes."""

from collections.abc import Callable
import dataclasses
import functools
import logging

from flax import nnx
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import ml_collections
import numpy as np

from flatten_jax import flattening
from flatten_jax.analysis.cost import Cost, cost
from flatten_jax.inputs import labels
from flatten_jax.inputs.sources import Videos
from flatten_jax.models import create_model, foreign
from flatten_jax.train import (
  checkpoints,
  config_history,
  state,
  steps,
  transfer,
)

log = logging.getLogger('flatten_jax')

# What may change when a run goes on, because the numbers stay the same.
MAY_CHANGE = (
  'log_every',
  'eval_every',
  'save_every',
  'keep_last',
  'test_checkpoint',
  'playback',
  'compile_cache',
  'eval_views',
  'distributed',
  'data.root',
  'data.train',
  'data.val',
  'data.test',
  'data.prefix',
  'data.divisions',
  'data.images',
  'data.views',
  'data.num_clips',
  'data.num_crops',
  'data.val_clips',
  'data.val_crops',
  'data.index',
  'data.time_limit',
  'data.cache_gib',
  'data.workers',
  'data.threads',
  'model.pretrained',
)


@dataclasses.dataclass(frozen=True)
class Run:
  """One experiment: a config, the classes of its model, and where it runs.

  Attributes:
    config: frozen.
    class_names: in the order of the model's outputs.
    graphdef: structure of the model.
    mesh: all devices; the batch is split over 'data'.
  """

  config: ml_collections.FrozenConfigDict
  class_names: tuple[str, ...]
  graphdef: nnx.GraphDef
  mesh: jax.sharding.Mesh

  @classmethod
  def create(
    cls, config: ml_collections.ConfigDict, class_names: tuple[str, ...]
  ) -> 'Run':
    """Builds the structure only: no weights, nothing on a device."""
    devices = jax.device_count()
    axis = (AxisType.Auto,)
    mesh = jax.make_mesh((devices,), ('data',), axis_types=axis)
    build = functools.partial(build_model, config, len(class_names))
    graphdef, *_ = state.split(nnx.eval_shape(build))
    frozen = ml_collections.FrozenConfigDict(config)
    return cls(frozen, tuple(class_names), graphdef, mesh)

  @functools.cached_property
  def cost(self) -> Cost:
    """GFLOPs of one view, and parameters."""
    data = self.config.data
    build = functools.partial(build_model, self.config, len(self.class_names))
    return cost(
      nnx.eval_shape(build),
      frames=data.num_frames,
      resolution=data.crop,
      mode=self.config.flatten,
      grid=tuple(self.config.grid) or None,
    )

  @property
  def image_shape(self) -> tuple[int, int]:
    """Height and width of what the model sees at once, in pixels."""
    return _image_shape(self.config)

  @property
  def replicated(self) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(self.mesh, PartitionSpec())

  def initial_weights(self) -> tuple[dict, dict]:
    """Parameters and batch statistics before the first step.

    Drawn from the seed, then overwritten by `config.model.pretrained`.
    """
    model = build_model(self.config, len(self.class_names))
    _, params, batch_stats = state.split(model)
    source = self.config.model.pretrained
    if not source:
      return params, batch_stats
    name = self.config.model.name
    return transfer.load(
      source, name, self.graphdef, params, batch_stats, self.class_names
    )

  def to_devices(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's share of a batch, as part of the global one."""
    sharding = NamedSharding(self.mesh, PartitionSpec('data'))
    return {
      key: jax.make_array_from_process_local_data(sharding, batch[key])
      for key in ('clip', 'label', 'index', 'view', 'mask')
      if key in batch
    }

  @functools.cached_property
  def forward(self) -> Callable[[dict, dict, dict], dict[str, jax.Array]]:
    """Jitted: parameters, batch statistics and a batch to the whole batch's
    'logits' [B K], 'index' [B] and 'mask' [B], the same on every process.
    """

    def forward(params, batch_stats, batch):
      logits = steps.eval_step(
        params,
        batch_stats,
        batch,
        graphdef=self.graphdef,
        config=self.config,
      )
      return {'logits': logits, 'index': batch['index'], 'mask': batch['mask']}

    return jax.jit(forward, out_shardings=self.replicated)

  def match_labels(self, videos: Videos, what: str) -> Videos:
    """Numbers the labels of `videos` as the model does, by class name.

    Raises:
      ValueError: the videos have classes that the model does not know; they
        are named.
    """
    if videos.class_names == self.class_names:
      return videos
    numbers = {
      labels.canonical(name): number
      for number, name in enumerate(self.class_names)
    }
    theirs = [labels.canonical(name) for name in videos.class_names]
    unknown = [
      name
      for name, key in zip(videos.class_names, theirs, strict=True)
      if key not in numbers
    ]
    if unknown:
      absent = [
        name
        for name in self.class_names
        if labels.canonical(name) not in theirs
      ]
      raise ValueError(
        f'The {what} videos have {len(unknown)} classes that the model does '
        f'not know: {", ".join(unknown[:10])}. Of its '
        f'{len(self.class_names)}, {len(absent)} are not theirs: '
        f'{", ".join(absent[:10]) or "none"}.'
      )
    log.info('Classes of the %s videos are matched by name', what)
    to_ours = [numbers[key] for key in theirs]
    records = tuple(
      dataclasses.replace(
        record, label=to_ours[record.label] if record.label >= 0 else -1
      )
      for record in videos.records
    )
    return dataclasses.replace(
      videos, records=records, class_names=self.class_names
    )

  def check_same(self, saved: checkpoints.RunInfo) -> None:
    """Refuses to go on with a checkpoint of another experiment.

    Raises:
      ValueError: classes differ, or values of the config that are not in
        MAY_CHANGE; the differences are listed.
    """
    if saved.class_names != self.class_names:
      raise ValueError(
        'The checkpoint was trained on other classes: '
        f'{", ".join(saved.class_names[:10])}, ... '
        f'({len(saved.class_names)}); the data has '
        f'{", ".join(self.class_names[:10])}, ... ({len(self.class_names)}). '
        'Use a new --workdir.'
      )
    changed = config_history.differences(saved.config, self.config.to_dict())
    refused = {k: v for k, v in changed.items() if k not in MAY_CHANGE}
    if refused:
      lines = [f'  {k}: was {a!r}, is {b!r}' for k, (a, b) in refused.items()]
      raise ValueError(
        'This workdir holds a run of another config:\n'
        + '\n'.join(lines)
        + '\nUse a new --workdir, or the values that it was started with.'
      )
    for key, (old, new) in changed.items():
      log.info('Going on with another %s: was %r, is %r', key, old, new)


def _image_shape(config: ml_collections.ConfigDict) -> tuple[int, int]:
  if steps.takes_clips(config):
    return config.data.crop, config.data.crop
  grid = tuple(config.grid) or None
  rows, columns = flattening.grid_shape(config.data.num_frames, grid)
  return rows * config.data.crop, columns * config.data.crop


def build_model(
  config: ml_collections.ConfigDict, num_classes: int
) -> nnx.Module:
  """The model that a config names, as drawn from its seed."""
  options = config.model.to_dict()
  name = options.pop('name')
  options.pop('pretrained')
  if foreign.is_path(name):
    options['image_shape'] = _image_shape(config)
  rngs = nnx.Rngs(config.seed)
  return create_model(name, num_classes=num_classes, rngs=rngs, **options)
