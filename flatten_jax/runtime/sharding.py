# SPDX-License-Identifier: Apache-2.0
"""Which device holds what: the mesh, and one table of rules for all arrays.

A batch is divided over the mesh's axis 'data'. Parameters, and whatever has
their names and shapes (moments of the optimizer, averages), are on every
device, or divided: over 'data' (FSDP; Zhao et al., 2023), by the weights of
attention and MLPs over 'model' (tensor parallelism), or over both.
"""

import collections
from collections.abc import Callable
import contextlib
import logging
import math
import re
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import ml_collections
import numpy as np

log = logging.getLogger('flatten_jax')

SHARDINGS = ('replicated', 'fsdp', 'tensor', 'fsdp+tensor')

# Tensor parallelism: the end of a parameter's path, and which of its dimensions
# is divided over 'model' (Shoeybi et al., "Megatron-LM", 2019). What no rule
# names, norms, embeddings, heads and other networks' layers, is not.
RULES = (
  # By columns: a device computes some of the hidden units, or of the channels.
  (r'stages/.*/(qkv|fc1|conv_in|mix)/(kernel|bias)', -1),
  (r'stages/.*/attn/(q_bias|v_bias)', -1),
  # By rows: what a device's units add to the output, summed over devices.
  (r'stages/.*/(proj|fc2|conv_out)/kernel', -2),
)


def mesh_shape(config: ml_collections.ConfigDict, devices: int) -> tuple:
  """Sizes of the axes 'data' and 'model' that `config` asks for.

  Raises:
    ValueError: they do not make `devices`, or disagree with
      `config.sharding`.
  """
  sharding = config.get('sharding', 'replicated')
  if sharding not in SHARDINGS:
    raise ValueError(
      f'sharding is one of {", ".join(SHARDINGS)}, not {sharding!r}.'
    )
  wanted = config.get('mesh', {'data': -1, 'model': 1})
  data, model = wanted['data'], wanted['model']
  if model < 1 or devices % model:
    raise ValueError(
      f'mesh.model={model} does not divide {devices} devices. Choose one of '
      f'{", ".join(str(n) for n in range(1, devices + 1) if devices % n == 0)}.'
    )
  if data == -1:
    data = devices // model
  if data * model != devices:
    raise ValueError(
      f'A mesh of mesh.data={data} x mesh.model={model} does not fill '
      f'{devices} devices. Leave mesh.data at -1: all that are left, here '
      f'{devices // model}.'
    )
  if (model > 1) != ('tensor' in sharding):
    raise ValueError(
      f'mesh.model={model} and sharding={sharding!r} do not go together: '
      "mesh.model is over how many devices 'tensor' divides weights, and 1 "
      'without it.'
    )
  return data, model


def make_mesh(
  config: ml_collections.ConfigDict, devices: list[jax.Device] | None = None
) -> Mesh:
  """All devices (or these), as `config.mesh` arranges them.

  Processes follow one another along 'data', so that the batches of all, one
  after the other, are the batch; 'model' stays within a process.

  Raises:
    ValueError: the config asks for what cannot be; see `mesh_shape`.
  """
  devices = jax.devices() if devices is None else devices
  shape = mesh_shape(config, len(devices))
  axes = ('data', 'model')
  auto = (AxisType.Auto,) * 2
  rows = jax.make_mesh(shape, axes, axis_types=auto, devices=devices).devices
  if any(len({d.process_index for d in row}) > 1 for row in rows):
    devices = sorted(devices, key=lambda d: (d.process_index, d.id))
    rows = np.array(devices).reshape(shape)
  each = len(devices) // len({d.process_index for d in devices})
  if each % shape[1]:
    raise ValueError(
      f'mesh.model={shape[1]} is more than, or does not divide, the {each} '
      'devices of a process: weights are divided within a process.'
    )
  rows = sorted(rows, key=lambda row: row[0].process_index)
  return Mesh(np.array(rows), axes, axis_types=auto)


def rows_of_process(mesh: Mesh) -> int:
  """Over how many parts of it a process divides its share of a batch."""
  return mesh.local_mesh.shape['data']


def of_tree(tree: Any, config: ml_collections.ConfigDict, mesh: Mesh) -> Any:
  """The sharding of every array of a tree of arrays or shapes.

  Goes by the end of an array's path and by its shape, so a moment of the
  optimizer is divided as the parameter that it belongs to.
  """
  sharding = config.get('sharding', 'replicated')
  smallest = config.get('fsdp_min_size', 0)

  def place(path, leaf):
    spec = [None] * len(leaf.shape)
    if 'tensor' in sharding:
      _divide_over_model(spec, _name(path), leaf.shape, mesh.shape['model'])
    if 'fsdp' in sharding and math.prod(leaf.shape) >= smallest:
      _divide_over_data(spec, leaf.shape, mesh.shape['data'])
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree_util.tree_map_with_path(place, tree)


def _name(path: tuple) -> str:
  """'opt_state/1/0/mu/stages/2/0/qkv/kernel'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _divide_over_model(
  spec: list, name: str, shape: tuple[int, ...], parts: int
) -> None:
  """By the first rule that names the array, where its size divides."""
  for pattern, axis in RULES:
    if re.search(f'(^|/){pattern}$', name):
      if shape[axis] % parts == 0:
        spec[axis] = 'model'
      return


def _divide_over_data(spec: list, shape: tuple[int, ...], parts: int) -> None:
  """Along the largest dimension that divides and is not divided yet."""
  fitting = [
    axis
    for axis, size in enumerate(shape)
    if size % parts == 0 and spec[axis] is None
  ]
  if fitting:
    spec[max(fitting, key=lambda axis: shape[axis])] = 'data'


def gathering(
  config: ml_collections.ConfigDict, mesh: Mesh
) -> Callable[[Any], Any]:
  """What brings together, within a step, the parts that FSDP keeps apart.

  Without it, the compiler may move activations rather than weights. Gradients
  that come back through it are summed over 'data'.
  """
  if 'fsdp' not in config.get('sharding', 'replicated'):
    return lambda tree: tree
  whole = ml_collections.ConfigDict(
    {'sharding': config.sharding.replace('fsdp', '').strip('+')}
  )
  return lambda tree: jax.lax.with_sharding_constraint(
    tree, of_tree(tree, whole, mesh)
  )


def in_host_memory() -> contextlib.AbstractContextManager:
  """Within it, new arrays are the host's, where jax has its CPU beside."""
  try:
    return jax.default_device(jax.local_devices(backend='cpu')[0])
  except RuntimeError:  # JAX_PLATFORMS names accelerators only.
    return contextlib.nullcontext()


def put(tree: Any, shardings: Any) -> Any:
  """Arrays of this process's memory, the same in all, to where they belong.

  No device gets more than its own part.
  """

  def place(value, sharding):
    value = np.asarray(value)
    return jax.make_array_from_callback(
      value.shape, sharding, value.__getitem__
    )

  return jax.tree.map(place, tree, shardings)


def bytes_per_device(tree: Any) -> int:
  """The most that any device of this process holds of a tree of arrays."""
  held = collections.Counter()
  for leaf in jax.tree.leaves(tree):
    for shard in getattr(leaf, 'addressable_shards', ()):  # Numpy's has none.
      held[shard.device] += shard.data.nbytes
  return max(held.values(), default=0)


def describe(
  config: ml_collections.ConfigDict, mesh: Mesh, params: Any, state: Any
) -> str:
  """One line: the mesh, the sharding, what a device holds of it."""
  whole = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
  each, all_of_it = bytes_per_device(params), bytes_per_device(state)
  count = jax.process_count()
  line = (
    f'Mesh data {mesh.shape["data"]} x model {mesh.shape["model"]} in '
    f'{"one process" if count == 1 else f"{count} processes"}, '
    f'{config.sharding}: a device holds {each / 1e6:.3f} of {whole / 1e6:.3f} '
    f'MB of parameters, {all_of_it / 1e6:.3f} MB with what the optimizer keeps'
  )
  places = jax.tree.leaves(of_tree(params, config, mesh))
  if 'tensor' in config.sharding and not any(
    'model' in place.spec for place in places
  ):
    line += (
      '. No weight of this model is divided over model: those devices repeat '
      "each other's work, so use mesh.model=1"
    )
  return line
