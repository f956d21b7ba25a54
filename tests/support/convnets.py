# SPDX-License-Identifier: Apache-2.0
"""Parity files of convolutional video models, and goldens of their twins."""

from collections.abc import Callable
import dataclasses
import pathlib
import re
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

import flatten_jax as fj
from flatten_jax.models import classifier, i3d_inception
from flatten_jax.runtime.devices import batch_norm
from tests.support import convnet_activations, official

NL_LONG = {'clip_shape': (32, 64, 64)}
FILES = {  # File -> the model and its options.
  'slowfast_r101_1x3x16x64x64': (
    'slowfast_r101',
    {'clip_shape': (16, 64, 64)},
  ),
  'slowfast_r101_fc64_1x3x16x96x96': (
    'slowfast_r101',
    {'clip_shape': (16, 64, 64)},
  ),
  'slowfast_r101_nl_1x3x16x64x64': (
    'slowfast_r101_nl',
    {'clip_shape': (16, 64, 64)},
  ),
  'slowfast_r101_nl_2x3x16x32x32': (
    'slowfast_r101_nl',
    {'clip_shape': (16, 32, 32)},
  ),
  'slowfast_r101_nl_pool122_1x3x16x64x64': (
    'slowfast_r101_nl',
    {'clip_shape': (16, 64, 64), 'key_pool': (1, 2, 2)},
  ),
  'i3d_r50_1x3x8x64x64': ('i3d_r50', {'clip_shape': (8, 64, 64)}),
  'i3d_r50_nl_1x3x8x64x64': ('i3d_r50_nl', {'clip_shape': (8, 64, 64)}),
  'i3d_r50_nl_2x3x8x32x32': ('i3d_r50_nl', {'clip_shape': (8, 32, 32)}),
  'i3d_r101_nl_1x3x8x64x64': ('i3d_r101_nl', {'clip_shape': (8, 64, 64)}),
  'i3d_r101_nl_long_1x3x32x64x64': ('i3d_r101_nl_long', NL_LONG),
  'i3d_r101_nl_long_g2_1x3x64x32x32': (
    'i3d_r101_nl_long',
    {'clip_shape': (64, 32, 32), 'temporal_groups': 2},
  ),
  'i3d_r101_nl_long359_1x3x32x64x64': ('i3d_r101_nl_long359', NL_LONG),
  'tsn_r50_1x3x8x80x80': ('tsn_r50', {}),
  'tsn_r50_2x3x3x64x64': ('tsn_r50', {}),
  'tsn_bninception_rgb_1x3x2x96x96': ('tsn_bninception', {}),
  'tsn_bninception_rgb_2x3x3x64x64': ('tsn_bninception', {}),
  'tsn_bninception_flow_1x10x3x64x64': ('tsn_bninception_flow', {}),
  'tdn_r50_8f_2x3x40x48x48': ('tdn_r50', {'segments': 8}),
  'tdn_r50_8f_1x3x40x64x64': ('tdn_r50', {'segments': 8}),
  'tdn_r50_16f_1x3x80x48x48': ('tdn_r50', {'segments': 16}),
  'msnet_r50_8f_2x3x8x64x64': ('motion_squeeze_r50', {'frames': 8}),
  'msnet_r50_8f_1x3x8x128x64': ('motion_squeeze_r50', {'frames': 8}),
  'msnet_r50_16f_1x3x16x56x64': ('motion_squeeze_r50', {'frames': 16}),
  'i3d_inception_1x3x9x193x224': ('i3d_inception', {}),
  'i3d_inception_1x3x17x193x193': ('i3d_inception', {}),
  'two_stream_spatial_cnnm2048_1x3x224x224': ('two_stream_spatial', {}),
  'two_stream_temporal_cnnm2048_1x20x224x224': ('two_stream_temporal', {}),
}
TRAINED = [  # With batch statistics.
  'slowfast_r101_1x3x16x64x64',
  'slowfast_r101_nl_1x3x16x64x64',
  'i3d_r50_1x3x8x64x64',
  'i3d_r50_nl_1x3x8x64x64',
  'i3d_r101_nl_long_1x3x32x64x64',
  'tsn_r50_2x3x3x64x64',
  'tsn_bninception_rgb_2x3x3x64x64',
  'tdn_r50_8f_2x3x40x48x48',
  'msnet_r50_8f_2x3x8x64x64',
  'i3d_inception_1x3x9x193x224',
]
PARTLY_TRAINED = [  # The same, with all batch norms but the first frozen.
  'tsn_r50_2x3x3x64x64',
  'tsn_bninception_rgb_2x3x3x64x64',
]
KEYS = {  # Published file -> the model, its options, and the publisher.
  'slowfast_r101_16x8_nc400': ('slowfast_r101', {}, 'pyslowfast'),
  'slowfast_r101_nl_16x8_nc400': ('slowfast_r101_nl', {}, 'pyslowfast'),
  'slowfast_r101_16x8_pytorchvideo_pyslowfast_wrapper_nc400': (
    'slowfast_r101',
    {},
    'pytorchvideo',
  ),
  'slowfast_r101_nl_16x8_caffe2_nc400': ('slowfast_r101_nl', {}, 'caffe2'),
  'i3d_r50_nc400': ('i3d_r50', {}, 'pyslowfast'),
  'i3d_r50_nl_nc400': ('i3d_r50_nl', {}, 'pyslowfast'),
  'i3d_r50_nl_caffe2_nc400': ('i3d_r50_nl', {}, 'caffe2'),
  'i3d_r101_nl_pyslowfast_nc400': ('i3d_r101_nl', {}, 'pyslowfast'),
  'i3d_r101_nl_long_nc400': ('i3d_r101_nl_long', {}, 'pyslowfast'),
  'i3d_r101_nl_long_caffe2_nc400': ('i3d_r101_nl_long', {}, 'caffe2'),
  'i3d_r101_nl_long359_nc400': ('i3d_r101_nl_long359', {}, 'pyslowfast'),
}
KEYS |= {
  **{
    f'efficientnet_lite{i}_nc1000': (
      f'efficientnet_lite{i}',
      {},
      'efficientnet_pytorch',
    )
    for i in range(3)
  },
  'tsn_r50_tsm_repo_nc174': ('tsn_r50', {}, 'tsn'),
  'tsn_r50_mmaction2_nc174': ('tsn_r50', {}, 'openmmlab'),
  'tsn_bninception_rgb_hmdb51_nc51': ('tsn_bninception', {}, 'tsn'),
  'tdn_r50_k400_nc400': ('tdn_r50', {}, 'tdn'),
  'tdn_r50_ssv2_nc174': ('tdn_r50', {}, 'tdn'),
  'tdn_r101_ssv2_nc174': ('tdn_r101', {}, 'tdn'),
  'msnet_r50_k400_nc400': ('motion_squeeze_r50', {}, 'motion_squeeze'),
  'msnet_r50_hmdb51_nc51': ('motion_squeeze_r50', {}, 'motion_squeeze'),
  'i3d_inception_piergiaj_nc400': ('i3d_inception', {}, 'piergiaj'),
  'cnn_m_2048_imagenet_nc1000': ('two_stream_spatial', {}, 'vgg'),
  'cnn_m_2048_flow20_hmdb51_nc51': ('two_stream_temporal', {}, 'vgg'),
  'vggm_pretrainedmodels_nc1000': (
    'two_stream_spatial',
    {'hidden': (4096, 4096)},
    'cadene',
  ),
  'i3d_inception_deepmind_rgb_imagenet_tf': ('i3d_inception', {}, 'deepmind'),
  'i3d_inception_deepmind_rgb_scratch_kin600_tf': (
    'i3d_inception',
    {},
    'deepmind',
  ),
}
TWINS = {  # And the input of their golden, [B C T H W].
  'slowfast_test': (2, 3, 8, 64, 96),
  'i3d_test': (2, 3, 8, 64, 96),
  'tsn_test': (2, 3, 3, 64, 96),
  'bn_inception_test': (2, 3, 64, 96),
  'tdn_test': (2, 3, 10, 64, 96),
  'motion_squeeze_test': (2, 3, 4, 64, 96),
  'i3d_inception_test': (2, 3, 9, 64, 96),
  'two_stream_test': (2, 3, 64, 64),
}
SUMMARIES = {  # Of an activation.
  'mean': lambda x: x.mean(axis=tuple(range(1, x.ndim - 1))),
  'std': lambda x: x.std(axis=tuple(range(1, x.ndim - 1))),
  'probe': official.points,
  'value': lambda x: np.moveaxis(x, -1, 1),
}


@dataclasses.dataclass
class Case:
  """A model with the official weights, its input, and its true results."""

  model: nnx.Module
  clips: np.ndarray
  truth: dict[str, np.ndarray]


@dataclasses.dataclass
class Found:
  """Results of ours; `positions` are logits [B N K], `output` the model's."""

  output: np.ndarray
  logits: np.ndarray
  positions: np.ndarray
  params: dict[str, np.ndarray]
  grad_x: np.ndarray
  stats: dict[str, np.ndarray]
  seen: dict[str, np.ndarray]


def load(
  folder: pathlib.Path, file: str, dtype: str, frozen: str = 'none'
) -> Case:
  """Loads the case of a file; the model computes in `dtype`.

  `frozen` are the batch norms that training does not change.
  """
  truth, weights = official.read(folder, file)
  name, options = FILES[file]
  model = create(name, 400, frozen, dtype=dtype, **options)
  report = fj.load_torch(model, weights)
  assert not (report.resized or report.left_at_init or report.dropped)
  shape = tuple(map(int, file.rsplit('_', 1)[1].split('x')))
  scale = truth.get('input_scale', 1.0)
  return Case(model, official.images(shape) * np.float32(scale), truth)


def create(
  name: str, classes: int, frozen: str = 'none', **options: Any
) -> nnx.Module:
  """Builds a model of zeros, without dropout: drawing values takes longer."""
  model = nnx.eval_shape(
    lambda: fj.create_model(name, classes, dropout=0.0, **options)
  )
  batch_norm.freeze(model, frozen)
  graphdef, state = nnx.split(model)
  state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
  return nnx.merge(graphdef, state)


def position_logits(
  model: nnx.Module, x: jax.Array, train: bool = False
) -> jax.Array:
  """Returns the logits of all positions, segments or times. [B N K]."""
  if isinstance(model, classifier.SegmentClassifier):
    return model.segment_logits(model.features(x, train=train), train)
  if isinstance(model, classifier.WindowClassifier) and (
    not train or isinstance(model, i3d_inception.I3DInception)
  ):
    logits = model.head(model.windows(model.features(x, train=train)))
    return logits.reshape(len(x), -1, logits.shape[-1])
  return model(x, train=train)[:, None]


def run(
  case: Case,
  dtype: str,
  *,
  train: bool = False,
  look: bool = False,
) -> Found:
  """Computes logits and gradients of sum(logits * cotangent).

  With `look`, also the parts of the model that the file knows. One program
  computes all, which LLVM is to optimize: without, float64 convolutions take
  ten times as long.
  """
  shape = case.truth['logits'].shape
  cotangent = official.generator('cotangent', shape).standard_normal(shape)
  graphdef, *variables = nnx.split(case.model, nnx.Param, nnx.BatchStat)
  variables = jax.tree.map(
    lambda x: jnp.asarray(x, dtype), (*variables, case.clips)
  )

  def compute(params, stats, x):
    def loss(params, x):
      model = nnx.merge(graphdef, params, stats, copy=True)
      positions = position_logits(model, x, train)
      logits = positions.mean(axis=1)
      updated = nnx.state(model, nnx.BatchStat)
      return (logits * cotangent).sum(), (logits, positions, updated)

    gradients, found = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)
    seen, output = {}, found[0]
    if look:
      model = nnx.merge(graphdef, params, stats, copy=True)
      seen = convnet_activations.activations(model, x)
      known = {name for name, _, _ in summaries(case.truth)}
      seen = {name: seen[name] for name in known}
      output = model(x) if 'scores' in case.truth else output
    return gradients, found, seen, output

  result = jax.device_get(optimized(compute)(*variables))
  (params_g, grad_x), (logits, positions, updated), seen, output = result
  return Found(
    output,
    logits,
    positions,
    official.flat(params_g),
    grad_x,
    official.flat(updated),
    seen,
  )


def output(case: Case) -> np.ndarray:
  """Returns what the model computes."""
  graphdef, state = nnx.split(case.model)
  compute = optimized(lambda state, x: nnx.merge(graphdef, state)(x))
  return np.asarray(compute(state, case.clips))


def summaries(truth: dict) -> list[tuple[str, str, np.ndarray]]:
  """Returns the part, the kind, and the value of a file's summaries."""
  keys = [k.removeprefix('act/') for k in truth if k.startswith('act/')]
  keys = [k.rpartition('/') for k in keys]
  return [
    (name, kind, truth[f'act/{name}/{kind}'])
    for name, _, kind in keys
    if kind != 'shape'
  ]


def optimized(function: Callable) -> Callable:
  """Compiles as users do, which the tests' settings do not."""
  options = {'xla_backend_optimization_level': 3}
  return jax.jit(function, compiler_options=options)


def softmax(x: jax.Array) -> np.ndarray:
  """Returns probabilities in float64. [... K] -> same."""
  x = np.asarray(x, np.float64)
  x = np.exp(x - x.max(axis=-1, keepdims=True))
  return x / x.sum(axis=-1, keepdims=True)


def statistic(key: str) -> str:
  """Returns the official name of a running statistic of a training."""
  name = re.sub(r'/(?=running)', '.', key.partition('/')[2])
  return re.sub(r'^(?=conv1_7x7|inception_)', 'base_model.', name)


def measure(name: str) -> dict:
  """Returns logits, gradients and statistics of a twin with set weights."""
  model = create(name, 5, dtype='float64')
  weights = {
    key: official.fill(key, value.shape)
    for key, value in fj.export_torch(model).items()
  }
  fj.load_torch(model, weights)
  truth = {'logits': np.zeros((TWINS[name][0], 5))}
  case = Case(model, official.images(TWINS[name]), truth)
  tested, trained = (
    run(case, 'float64', train=train) for train in (False, True)
  )
  axes = tuple(range(1, tested.grad_x.ndim - 1))
  return {
    'logits': np.asarray(tested.positions).mean(axis=1).tolist(),
    'trained': trained.logits.tolist(),
    'input': np.sqrt(np.square(tested.grad_x).sum(axis=axes)).tolist(),
    'parameters': {
      k: float(np.linalg.norm(g)) for k, g in tested.params.items()
    },
    'statistics': {
      k: float(np.linalg.norm(x)) for k, x in trained.stats.items()
    },
  }
