# SPDX-License-Identifier: Apache-2.0
"""Mesh of devices, and rules that shard parameters and optimizer state.

A batch is divided over the mesh axis 'data'. Parameters, and arrays with their
names and shapes (optimizer moments, averages), are replicated, or divided over
'data' (FSDP; Zhao et al., 2023), over 'model' (tensor parallelism of attention
and MLP weights), or over both.
"""

from collections.abc import Callable, Sequence
import contextlib
import math
import re
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import ml_collections
import numpy as np

from flatten_jax.models.layers import devices

BLOCKS = 'stages'  # The name of the blocks in a model.
SHARDINGS = ('replicated', 'fsdp', 'tensor', 'fsdp+tensor')

# Tensor parallelism: the end of a parameter's path, and its dimension that is
# divided over 'model' (Shoeybi et al., "Megatron-LM", 2019). Parameters that
# match no rule (norms, embeddings, heads, other models) stay replicated.
RULES = (
  # By columns: each device computes some hidden units, or channels.
  (r'stages/.*/(qkv|qkv_global|fc1|conv_in|mix)/(kernel|bias)', -1),
  (r'stages/.*/non_local/(theta|phi|g)/(kernel|bias)', -1),
  (r'stages/.*/attn/(q_bias|v_bias)', -1),
  (r'stages/.*/attn/bias_table', 0),
  # By rows: the partial outputs are summed over devices.
  (r'stages/.*/(proj|fc2|conv_out|temporal_fc|non_local/out)/kernel', -2),
)


def mesh_shape(
  config: ml_collections.ConfigDict, devices: int
) -> tuple[int, int]:
  """Returns the sizes of the axes 'data' and 'model'.

  Raises:
    ValueError: they do not fit the number of devices or `config.sharding`.
  """
  sharding = config.sharding
  if sharding not in SHARDINGS:
    raise ValueError(
      f'sharding is one of {", ".join(SHARDINGS)}, not {sharding!r}.'
    )
  data, model = config.mesh.data, config.mesh.model
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
      f'{devices} devices. Use mesh.data=-1 for all that remain, here '
      f'{devices // model}.'
    )
  if (model > 1) != ('tensor' in sharding):
    raise ValueError(
      f'mesh.model={model} does not fit sharding={sharding!r}: mesh.model must '
      "be > 1 exactly when sharding includes 'tensor'."
    )
  return data, model


def batch_parts(config: ml_collections.ConfigDict) -> int:
  """Returns the number of parts that the current devices divide a batch into.

  Devices along the mesh's axis 'model' see the same part.

  Raises:
    ValueError: the config does not fit the devices; see `mesh_shape`.
  """
  return mesh_shape(config, len(devices.current()))[0]


def make_mesh(
  config: ml_collections.ConfigDict,
  chosen: Sequence[jax.Device] | None = None,
) -> Mesh:
  """Arranges devices in the mesh of `config.mesh`; by default the current ones.

  Processes are in order along 'data', so that their batches concatenate to the
  global batch. 'model' stays within a process.

  Raises:
    ValueError: the config does not fit the devices; see `mesh_shape`.
  """
  chosen = devices.current() if chosen is None else chosen
  shape, axes = mesh_shape(config, len(chosen)), ('data', 'model')
  auto = (AxisType.Auto,) * 2
  rows = jax.make_mesh(shape, axes, axis_types=auto, devices=chosen).devices
  if any(len({d.process_index for d in row}) > 1 for row in rows):
    chosen = sorted(chosen, key=lambda d: (d.process_index, d.id))
    rows = np.array(chosen).reshape(shape)
  each = len(chosen) // len({d.process_index for d in chosen})
  if each % shape[1]:
    raise ValueError(
      f'mesh.model={shape[1]} does not divide the {each} devices of a process: '
      'weights are divided within a process.'
    )
  rows = sorted(rows, key=lambda row: row[0].process_index)
  return Mesh(np.array(rows), axes, axis_types=auto)


def rows_of_process(mesh: Mesh) -> int:
  """Returns the number of parts of a batch on this process's devices."""
  return mesh.local_mesh.shape['data']


def of_tree(tree: Any, config: ml_collections.ConfigDict, mesh: Mesh) -> Any:
  """Returns the sharding of every array of a tree of arrays or shapes.

  Rules match the end of an array's path, so an optimizer moment is divided like
  its parameter.
  """
  return _shardings(tree, config.sharding, config.fsdp_min_size, mesh)


def _shardings(tree: Any, sharding: str, min_size: int, mesh: Mesh) -> Any:
  def place(path, leaf):
    spec = [None] * len(leaf.shape)
    if 'tensor' in sharding:
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      _divide_over_model(spec, name, leaf.shape, mesh.shape['model'])
    if 'fsdp' in sharding and math.prod(leaf.shape) >= min_size:
      _divide_over_data(spec, leaf.shape, mesh.shape['data'])
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree_util.tree_map_with_path(place, tree)


def _divide_over_model(
  spec: list, name: str, shape: tuple[int, ...], parts: int
) -> None:
  """Applies the first rule that matches, if the size is divisible."""
  for pattern, axis in RULES:
    if re.search(f'(^|/){pattern}$', name):
      if shape[axis] % parts == 0:
        spec[axis] = 'model'
      return


def _divide_over_data(spec: list, shape: tuple[int, ...], parts: int) -> None:
  """Divides the largest dimension that is divisible and not divided yet."""
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
  """Returns a function that gathers FSDP's parameters within a step.

  Without it, the compiler may move activations rather than weights. Those of
  blocks are left to `devices.with_parameter` if there is a `divided_dimension`.
  """
  if 'fsdp' not in config.sharding:
    return lambda tree: tree
  gathered = config.sharding.replace('fsdp', '')
  later = divided_dimension(config, mesh) is not None

  def gather(tree):
    in_blocks = tree.get(BLOCKS) if later else None
    tree = jax.lax.with_sharding_constraint(
      tree, _shardings(tree, gathered, 0, mesh)
    )
    return tree | ({BLOCKS: in_blocks} if in_blocks else {})

  return gather


def divided_dimension(
  config: ml_collections.ConfigDict, mesh: Mesh
) -> devices.Divided | None:
  """Returns what finds the dimension of a block's parameter that is divided.

  It takes the shape. None where parameters are not gathered layer by layer:
  without FSDP, with tensor parallelism too, and if gradients are clipped by
  group, before they are added up.
  """
  if config.sharding != 'fsdp' or config.grad_clip_groups > 1:
    return None

  def dimension(shape):
    spec = [None] * len(shape)
    if math.prod(shape) >= config.fsdp_min_size:
      _divide_over_data(spec, shape, mesh.shape['data'])
    return spec.index('data') if 'data' in spec else None

  return dimension


def in_host_memory() -> contextlib.AbstractContextManager:
  """Returns a context in which new arrays are in host memory, if possible."""
  try:
    return jax.default_device(jax.local_devices(backend='cpu')[0])
  except RuntimeError:  # JAX_PLATFORMS names accelerators only.
    return contextlib.nullcontext()


def put(tree: Any, shardings: Any) -> Any:
  """Copies host arrays, equal in all processes, to the devices.

  Each device receives its own part only.
  """

  return jax.tree.map(
    lambda x, sharding: jax.make_array_from_callback(
      np.shape(x), sharding, np.asarray(x).__getitem__
    ),
    tree,
    shardings,
  )


def bytes_per_device(tree: Any) -> int:
  """Returns the bytes of a tree of arrays, or of shapes, that a device holds.

  Arrays without a sharding are on no device.
  """
  return sum(
    math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
    if (sharding := getattr(leaf, 'sharding', None))
  )


def describe(
  config: ml_collections.ConfigDict, mesh: Mesh, params: Any, state: Any
) -> str:
  """Formats the mesh, the sharding and the memory per device as a log line."""
  total = sum(
    leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)
  )
  count = len({device.process_index for device in mesh.devices.flat})
  line = (
    f'Mesh data {mesh.shape["data"]} x model {mesh.shape["model"]} in '
    f'{"one process" if count == 1 else f"{count} processes"}, '
    f'{config.sharding}: each device holds '
    f'{bytes_per_device(params) / 1e6:.3f} of {total / 1e6:.3f} MB of '
    f'parameters, {bytes_per_device(state) / 1e6:.3f} MB with optimizer state'
  )
  specs = [s.spec for s in jax.tree.leaves(of_tree(params, config, mesh))]
  if 'tensor' in config.sharding and not any('model' in spec for spec in specs):
    line += (
      '. No weight of this model can be divided over model, so these devices '
      'repeat the same work: use mesh.model=1'
    )
  return line
