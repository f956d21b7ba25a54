# SPDX-License-Identifier: Apache-2.0
"""A loaded model as one function from uint8 clips to logits."""

from collections.abc import Callable
import dataclasses
import functools

from flax import nnx
import jax
import jax.export
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax.inputs.flow import fields
from flatten_jax.models.layers import devices
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel


def clip_shape(model: LoadedModel) -> tuple[int, int, int, int]:
  """Returns the shape [T s s C] of a clip."""
  channels = fields.num_channels(model.config.data)
  side = model.views.resolution
  return model.views.frames, side, side, channels


def frame_order(model: LoadedModel) -> np.ndarray | None:
  """Returns the frame in each cell of the flattened image, row by row. [T].

  For 'random' it is one fixed order, the one of view 0 of video 0. None if
  frames stay apart.
  """
  if model.takes_clips:
    return None
  shown, cells = _orders(model)
  return shown[cells]


def _orders(model: LoadedModel) -> tuple[np.ndarray, np.ndarray]:
  """Returns the frames as they are shown, and which of these is in each cell.

  They are those of view 0 of video 0, and differ from 0, 1, 2, ... where the
  layout is random.
  """
  frames = jnp.arange(model.config.data.num_frames)[None]
  batch = {'clip': frames} | _first_view(1)
  shown = preprocess.reorder_frames(batch, model.config)[0]
  cells = preprocess.frame_orders(batch, model.config)[0]
  return np.asarray(shown), np.asarray(cells)


def _first_view(count: int) -> dict[str, jax.Array]:
  """Returns the numbers of `count` clips that all are view 0 of video 0."""
  zeros = jnp.zeros(count, jnp.int32)
  return {'index': zeros, 'view': zeros}


def program(model: LoadedModel) -> Callable[[jax.Array], jax.Array]:
  """Returns uint8 clips [B T s s 3] -> float32 logits [B K], to be traced.

  Normalization and layout are inside; weights, and a random layout, are
  constants.
  """
  weights = jax.device_get((model.params, model.batch_stats))
  if model.config.flatten != 'random':
    return lambda clips: _logits(model, weights, {'clip': clips})
  shown, cells = _orders(model)
  config = ml_collections.ConfigDict(model.config.to_dict())
  config.flatten, config.eval_frame_order = 'row_major', 'forward'
  return lambda clips: _logits(
    model, weights, {'clip': clips[:, shown]}, config, cells
  )


def in_float32(model: LoadedModel) -> LoadedModel:
  """Returns the model with activations in float32 instead of 16 bits.

  Its weights, which always are float32, stay.
  """
  if model.config.model.dtype not in ('bfloat16', 'float16'):
    return model
  config = ml_collections.ConfigDict(model.config.to_dict())
  config.model.dtype = 'float32'
  experiment = Experiment.create(config, model.class_names)
  return dataclasses.replace(model, experiment=experiment)


def _logits(model, weights, batch, config=None, order=None):
  module = nnx.merge(model.experiment.graphdef, *weights)
  inputs = preprocess.eval_inputs(batch, config or model.config, order)
  return preprocess.call(module, inputs).astype(jnp.float32)


def symbolic_clips(model: LoadedModel) -> jax.ShapeDtypeStruct:
  """Returns the shape of any number of clips, to trace `program` with."""
  (batch,) = jax.export.symbolic_shape('b')
  return jax.ShapeDtypeStruct((batch, *clip_shape(model)), jnp.uint8)


def to_stablehlo(model: LoadedModel) -> bytes:
  """Serializes `program` for CPUs, NVIDIA GPUs and TPUs.

  `jax.export.deserialize` reads it.
  """
  function, platforms = jax.jit(program(model)), ('cpu', 'cuda', 'tpu')
  with devices.cross_platform_export():
    exported = jax.export.export(function, platforms=platforms)
    return bytes(exported(symbolic_clips(model)).serialize())


def reference_logits(model: LoadedModel, clips: np.ndarray) -> np.ndarray:
  """Computes logits as --mode=evaluate does, on this machine's CPU. [B K].

  `clips` are uint8 [B T s s 3], each as view 0 of video 0.
  """
  batch = {'clip': clips} | _first_view(len(clips))
  weights = jax.device_get((model.params, model.batch_stats))
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    return np.asarray(
      jax.jit(functools.partial(_logits, model))(weights, batch)
    )
