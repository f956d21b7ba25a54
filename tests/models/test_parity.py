# SPDX-License-Identifier: Apache-2.0
"""Tests of parity with PyTorch: official models, and tiny twins.

In float64, logits, activations, gradients and batch statistics agree to 8
digits. In float32, logits agree to 1e-5, and gradients up to rounding.
"""

import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from tests.support import official
from tests.support.official import assert_close

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
SMALLEST = [
  'efficientnet_lite0_2x3x96x96',
  'resnet50_2x3x96x96',
  'swinv2_tiny_w6_2x3x192x192',
  'uniformer_xxs_2d_plain_2x3x96x96',
]
SLOW, LARGE = pytest.mark.slow, pytest.mark.large
ALSO = [  # In float64: the paper's model, and windows of two sizes.
  'uniformer_small_2d_2x3x96x96',
  'swinv2_tiny_w16_pre8_1x3x512x512',
]

# Tolerance of gradients in float32, as a share of the largest. An input that
# rounds across a ReLU's zero turns a path on or off, so ResNet's single pixels
# move by 6e-4 with JAX 0.10 (PyTorch's own float32: 4.6e-4), 5 of 1176 by up to
# 4.6e-3 with JAX 0.12, and those of ResNet-101 with the statistics of a small
# batch by 5e-3.
ROUNDING = {
  'efficientnet': 1e-5,
  'resnet': 2e-3,
  'swinv2': 3e-5,
  'uniformer': 1e-5,
}
# The share of pixels that may move further: none with the pinned JAX.
FLIPPED = {'resnet': 0.01} if jax.__version_info__ >= (0, 11) else {}


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def marked(files, small, also):
  """Marks the smallest files of each kind, those of ALSO, and others."""
  marks = dict.fromkeys(ALSO, also) | dict.fromkeys(SMALLEST, small)
  return [pytest.param(file, marks=marks.get(file, LARGE)) for file in files]


def run(model, images, cotangent, *, train=False, look=False, dtype='float32'):
  """Returns logits, gradients of sum(logits * cotangent), statistics, maps."""
  graphdef, *variables = nnx.split(model, nnx.Param, nnx.BatchStat)
  params, stats, images, cotangent = jax.tree.map(
    lambda x: jnp.asarray(x, dtype), (*variables, images, cotangent)
  )

  def loss(params, images):
    model = nnx.merge(graphdef, params, stats, copy=True)
    seen = official.activations(model, images) if look else {}
    logits = model(images, train=train)
    updated = nnx.state(model, nnx.BatchStat)
    return (logits * cotangent).sum(), (logits, seen, updated)

  gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
  (params, images), (logits, seen, stats) = gradients(params, images)
  assert logits.dtype == images.dtype == dtype
  return logits, official.flat(params), images, official.flat(stats), seen


def rounding(file):
  return next(ROUNDING[name] for name in ROUNDING if file.startswith(name))


def assert_same_gradients(
  case, params, images, prefix='', flipped=0.0, **tolerance
):
  """Compares norms by parameter and by channel, and values of the image.

  All of these values but a share `flipped`, those that are furthest off.
  """
  # A long float32 sum of squares rounds more than the gradients do.
  images, params = jax.tree.map(np.float64, (np.asarray(images), params))
  norms = np.sqrt(np.square(images).sum(axis=(1, 2)))
  if f'{prefix}grad_input_l2' in case.truth:
    assert_close(norms, case.truth[f'{prefix}grad_input_l2'], **tolerance)
  names = case.truth[f'{prefix}grad_param_names']
  names = official.translation(case.model, names).values()
  assert set(names) == params.keys()
  norms = np.array([np.sqrt(np.square(params[name]).sum()) for name in names])
  assert_close(norms, case.truth[f'{prefix}grad_param_l2'], **tolerance)
  if not prefix:
    theirs = np.moveaxis(case.truth['grad_input_sub7'], 1, -1)
    ours = images[:, ::7, ::7]
    off = np.abs(ours - theirs)
    ours = np.where(off > np.quantile(off, 1 - flipped), theirs, ours)
    assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize('file', marked(official.FILES, (), SLOW))
def test_everything_agrees_in_float64(parity_folder, float64, file):
  case = official.load(parity_folder, file, dtype='float64')

  logits, params, images, _, seen = run(
    case.model, case.images, case.cotangent, look=True, dtype='float64'
  )

  assert_close(logits, case.truth['logits'])
  assert_same_gradients(case, params, images)
  names = {key.split('/')[1] for key in case.truth if key.startswith('act/')}
  assert names <= seen.keys()
  for name in names:
    x = np.asarray(seen[name])
    assert_close(x.mean(axis=(1, 2)), case.truth[f'act/{name}/mean'], name=name)
    assert_close(x.std(axis=(1, 2)), case.truth[f'act/{name}/std'], name=name)
    assert_close(official.points(x), case.truth[f'act/{name}/probe'], name=name)


@pytest.mark.parametrize('file', marked(official.TRAINED, (), SLOW))
def test_training_agrees_in_float64(parity_folder, float64, file):
  case = official.load(parity_folder, file, dtype='float64')

  logits, params, images, stats, _ = run(
    case.model, case.images, case.cotangent, train=True, dtype='float64'
  )

  assert_close(logits, case.truth['train/logits'])
  assert_same_gradients(case, params, images, prefix='train/')
  running = {
    key.removeprefix('train/'): value
    for key, value in case.truth.items()
    if 'running_' in key
  }
  assert len(running) == 6
  for name, ours in official.translation(case.model, running).items():
    assert_close(stats[ours], running[name], name=name)


@pytest.mark.parametrize('file', marked(official.FILES, SLOW, LARGE))
def test_logits_agree_to_1e_5_in_float32(parity_folder, file):
  case = official.load(parity_folder, file)

  logits, params, images, *_ = run(case.model, case.images, case.cotangent)

  np.testing.assert_allclose(logits, case.truth['logits'], atol=1e-5)
  flipped = FLIPPED.get(file[: len('resnet')], 0.0)
  atol = rounding(file)
  assert_same_gradients(
    case, params, images, flipped=flipped, rtol=0, atol=atol
  )


@pytest.mark.parametrize('file', marked(official.TRAINED, SLOW, LARGE))
def test_training_agrees_up_to_rounding_in_float32(parity_folder, file):
  case = official.load(parity_folder, file)

  logits, params, images, *_ = run(
    case.model, case.images, case.cotangent, train=True
  )

  # The batch's statistics round, too: those of the last stages of networks of
  # convolutions are over 18 values, and ResNet's 101 layers add up to 1.5e-4 of
  # the largest logit.
  convolutional = file.startswith(('resnet', 'efficientnet'))
  atol = 3e-4 if convolutional else 1e-5
  assert_close(logits, case.truth['train/logits'], rtol=0, atol=atol)
  if not convolutional:  # Gradients are off by up to 5e-3, see above.
    atol = rounding(file)
    assert_same_gradients(
      case, params, images, prefix='train/', rtol=0, atol=atol
    )


@pytest.mark.parametrize(
  'twin, mode, dtype',
  [
    ('uniformer_test', 'eval', 'float32'),
    ('uniformer_test', 'train', 'float32'),
    ('uniformer_test', 'train', 'float64'),
    ('resnet_test', 'eval', 'float32'),
    ('resnet_test', 'train', 'float32'),
    ('resnet_test', 'train', 'float64'),
    ('swinv2_test', 'eval', 'float32'),
    ('swinv2_test', 'eval', 'float64'),
  ],
)
def test_the_tiny_twin_computes_what_pytorch_does(twin, mode, dtype):
  fixture = np.load(FIXTURES / f'{twin}.npz')
  weights = with_prefix(fixture, 'weights/')
  # All but the logits is stored in float32.
  rtol, atol = {'float32': (0, 1e-5), 'float64': (1e-8, 1e-7)}[dtype]

  with jax.enable_x64(dtype == 'float64'):
    model = fj.create_model(twin, num_classes=5, dtype=dtype)
    fj.load_torch(model, weights)
    ours = official.translation(model, weights)
    logits, params, grad_images, stats, _ = run(
      model,
      fixture['images'],
      fixture['cotangent'],
      train=mode == 'train',
      dtype=dtype,
    )

  assert_close(logits, fixture[f'{mode}/logits'], rtol, atol)
  theirs = fixture[f'{mode}/grad_images']
  assert_close(grad_images[:, ::5, ::5], theirs, rtol, atol)
  theirs = with_prefix(fixture, f'{mode}/grad/')
  assert not theirs or {ours[key] for key in theirs} == params.keys()
  largest = max((np.abs(value).max() for value in theirs.values()), default=0)
  for key, value in theirs.items():
    grad = params[ours[key]]
    value = arranged(value, grad.shape)
    np.testing.assert_allclose(grad, value, rtol, atol * largest, err_msg=key)
  if mode == 'train':
    for key, value in with_prefix(fixture, 'updated/').items():
      if not key.endswith('num_batches_tracked'):
        assert_close(stats.pop(ours[key]), value, rtol, atol, name=key)
    assert not stats


def with_prefix(fixture, prefix):
  """Selects the arrays under a prefix, which is removed."""
  return {k[len(prefix) :]: fixture[k] for k in fixture if k.startswith(prefix)}


def arranged(value, shape):
  """Converts a tensor of PyTorch to our axis order."""
  if value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)
  elif value.ndim == 2:
    value = value.T
  return value.reshape(shape)
