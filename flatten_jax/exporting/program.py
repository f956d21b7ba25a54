# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as one function from bytes of frames to logits."""

import dataclasses
import pathlib

from flax import nnx
import jax
import jax.export
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax import flattening
from flatten_jax.models.layers import devices
from flatten_jax.runtime import preprocess, trained
from flatten_jax.runtime.run import Run
from flatten_jax.training import steps


@dataclasses.dataclass(frozen=True, eq=False)  # jit asks for a hash.
class Program:
  """What a checkpoint computes: uint8 clips [B T s s 3] -> logits [B K].

  Normalisation and layout are inside, so that nothing has to be known of them.

  Attributes:
    run: its config and its classes.
    params: parameters, as numpy arrays.
    batch_stats: running statistics of batch normalisation, likewise.
    step: of the training.
    order: [T] which frame goes to each place; None for the order of time.
  """

  run: Run
  params: dict
  batch_stats: dict
  step: int
  order: np.ndarray | None = None

  @classmethod
  def of_workdir(cls, workdir: str | pathlib.Path) -> 'Program':
    """From the checkpoint that is evaluated.

    Raises:
      FileNotFoundError: `workdir` holds no checkpoint.
    """
    config = trained.as_trained(None, workdir)
    config.eval_frame_order = 'forward'  # Another one is for tests of a model.
    found = trained.load(workdir, config)
    weights = jax.device_get((found.params, found.batch_stats))
    return cls(found.run, *weights, found.step, _order(found.run))

  @property
  def config(self) -> ml_collections.FrozenConfigDict:
    """The run's."""
    return self.run.config

  @property
  def clip_shape(self) -> tuple[int, int, int, int]:
    """[T s s 3], of one clip."""
    data = self.config.data
    return data.num_frames, data.crop, data.crop, 3

  @property
  def model(self) -> nnx.Module:
    """The trained model by itself: normalised images -> logits."""
    return nnx.merge(self.run.graphdef, self.params, self.batch_stats)

  def __call__(self, clips: jax.Array) -> jax.Array:
    """uint8 [B T s s 3] -> float32 [B K]; to be traced."""
    config = self.config
    if self.order is not None:
      clips = clips[:, self.order]
      config = ml_collections.ConfigDict(config)
      config.flatten = 'row_major'
    images = preprocess.lay_out(preprocess.normalize(clips, config), config)
    return self.model(images).astype(jnp.float32)

  def symbolic_clips(self) -> jax.ShapeDtypeStruct:
    """Clips of any number: what the program is traced with."""
    (batch,) = jax.export.symbolic_shape('b')
    return jax.ShapeDtypeStruct((batch, *self.clip_shape), jnp.uint8)

  def to_stablehlo(self) -> bytes:
    """For jax.export.deserialize, on CPUs, NVIDIA GPUs and TPUs."""
    with devices.cross_platform_export():
      exported = jax.export.export(
        jax.jit(self), platforms=('cpu', 'cuda', 'tpu')
      )(self.symbolic_clips())
    return bytes(exported.serialize())

  def evaluated(self, clips: np.ndarray) -> np.ndarray:
    """Logits as --mode=evaluate computes them, on this machine's CPU. [B K]."""
    zeros = np.zeros(len(clips), np.int32)  # The view 0 of the video 0.
    batch = {'clip': clips, 'index': zeros, 'view': zeros}
    step = jax.jit(
      lambda params, batch_stats, batch: steps.eval_step(
        params,
        batch_stats,
        batch,
        graphdef=self.run.graphdef,
        config=self.config,
      )
    )
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
      return np.asarray(step(self.params, self.batch_stats, batch))


def _order(run: Run) -> np.ndarray | None:
  """For the layout 'random' the one order that a program can have.

  That of the first view of the first video, which `evaluated` draws as well.
  """
  config = run.config
  if config.flatten != 'random' or preprocess.takes_clips(config):
    return None
  key, _ = jax.random.split(jax.random.key(config.seed))
  zero = jnp.zeros(1, jnp.int32)
  (key,) = preprocess.key_of_each({'index': zero, 'view': zero}, key)
  order = flattening.frame_order(
    'random', config.data.num_frames, grid=tuple(config.grid) or None, rng=key
  )
  return np.asarray(order)
