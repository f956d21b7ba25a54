# SPDX-License-Identifier: Apache-2.0
"""Our models against PyTorch: the official ones, and a tiny twin of ours."""

import pathlib
import zlib

from flax import nnx, traverse_util
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import pretrained

FIXTURE = pathlib.Path(__file__).parents[1] / 'fixtures' / 'uniformer_test.npz'
OFFICIAL = {
  'uniformer_small_2d_2x3x96x96': 'uniformer_s',
  'uniformer_small_2d_1x3x224x224': 'uniformer_s',
  'uniformer_xxs_2d_plain_2x3x96x96': 'uniformer_xxs',
  'uniformer_xxs_2d_plain_1x3x160x160': 'uniformer_xxs',
}
SMALL = [file for file in OFFICIAL if file.endswith('96x96')]


@pytest.fixture(autouse=True, scope='module')
def full_precision():
  with jax.default_matmul_precision('highest'):
    yield


def ours(name):
  """PyTorch's name of a tensor, in our spelling."""
  return pretrained.rename(name, pretrained.UNIFORMER_NAMES)


def flat(tree):
  """A pure dict with dotted names and float64 leaves."""
  tree = traverse_util.flatten_dict(nnx.to_pure_dict(tree))
  return {
    '.'.join(map(str, k)): np.asarray(v, np.float64) for k, v in tree.items()
  }


def run(model, images, cotangent, train):
  """Logits, gradients of sum(logits * cotangent), and updated statistics."""
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

  @jax.jit
  def gradients(params, images):
    def loss(params, images):
      model = nnx.merge(graphdef, params, stats, copy=True)
      logits = model(images, train=train)
      return (logits * cotangent).sum(), (
        logits,
        nnx.state(model, nnx.BatchStat),
      )

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, images)

  (params, images), (logits, stats) = gradients(params, images)
  return np.asarray(logits), flat(params), np.asarray(images), flat(stats)


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_the_tiny_twin_computes_what_pytorch_does(mode):
  fixture = np.load(FIXTURE)
  model = fj.create_model('uniformer_test', num_classes=5)
  weights = {k: fixture[k] for k in fixture if k.startswith('weights/')}
  fj.load_torch(
    model, {k.removeprefix('weights/'): v for k, v in weights.items()}
  )
  images = fixture['images'].astype(np.float32)

  logits, params, grad_images, stats = run(
    model, images, fixture['cotangent'], train=mode == 'train'
  )

  np.testing.assert_allclose(logits, fixture[f'{mode}/logits'], atol=1e-5)
  np.testing.assert_allclose(
    grad_images[:, ::5, ::5], fixture[f'{mode}/grad_images'], atol=1e-5
  )
  compared = 0
  for key in fixture:
    if key.startswith(f'{mode}/grad/'):
      grad = params[ours(key.removeprefix(f'{mode}/grad/'))]
      theirs = arranged(fixture[key], grad.shape)
      np.testing.assert_allclose(
        grad, theirs, atol=2e-5 * max(1, np.abs(theirs).max()), err_msg=key
      )
      compared += 1
  assert compared == len(params)
  if mode == 'train':
    for name, value in stats.items():
      key = 'updated/' + theirs_of(name)
      np.testing.assert_allclose(value, fixture[key], atol=1e-5, err_msg=name)


def arranged(value, shape):
  """A tensor of PyTorch's in our axis order."""
  if value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)
  elif value.ndim == 2:
    value = value.T
  return value.reshape(shape)


def theirs_of(name):
  """Our name of a running statistic, in PyTorch's spelling."""
  *module, kind = name.split('.')
  if module[0] == 'stages':
    module = [f'blocks{int(module[1]) + 1}', *module[2:]]
  return '.'.join([*module, f'running_{kind}'])


def fill(name, shape):
  """The weights of the official fixtures: a function of name and shape."""
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
  if name.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  if name.endswith('running_var'):
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  noise = rng.standard_normal(shape)
  if len(shape) == 1:
    shift = 1 if name.endswith('.weight') else 0
    return (shift + 0.1 * noise).astype(np.float32)
  noise = noise / np.sqrt(np.prod(shape[1:]))
  return (noise * (0.5 if 'pos_embed' in name else 1)).astype(np.float32)


def official_input(shape):
  """The images of the official fixtures; `shape` is [N C H W]."""
  name = 'input:' + 'x'.join(map(str, shape))
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
  noise = rng.standard_normal(shape)
  coarse = rng.standard_normal((*shape[:2], *(-(-s // 8) for s in shape[2:])))
  coarse = coarse.repeat(8, axis=2).repeat(8, axis=3)
  coarse = coarse[:, :, : shape[2], : shape[3]]
  bias = rng.standard_normal((*shape[:2], 1, 1))
  images = 0.5 * noise + 0.8 * coarse + 0.5 * bias
  return np.moveaxis(images.astype(np.float32), 1, -1)


def official(parity_folder, file):
  """A model with the official weights, its input, cotangent, and the truth."""
  truth = np.load(parity_folder / f'{file}.npz')
  shapes = [
    tuple(map(int, s.split('x'))) if s else () for s in truth['state_shapes']
  ]
  names = [str(name) for name in truth['state_names']]
  weights = {n: fill(n, s) for n, s in zip(names, shapes, strict=True)}
  model = fj.create_model(OFFICIAL[file])
  report = fj.load_torch(model, weights)
  assert not report.left_at_init
  assert not report.unused
  images = official_input(tuple(map(int, file.rsplit('_', 1)[1].split('x'))))
  name = 'cotangent:' + 'x'.join(map(str, truth['logits'].shape))
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
  cotangent = rng.standard_normal(truth['logits'].shape).astype(np.float32)
  return model, images, cotangent, truth


def channel_norms(grad_images):
  """[B H W C] -> [B C], the norm over space."""
  return np.sqrt(np.square(grad_images.astype(np.float64)).sum(axis=(1, 2)))


def assert_same_gradients(params, grad_images, truth, prefix=''):
  norms = truth[f'{prefix}grad_input_l2']
  np.testing.assert_allclose(channel_norms(grad_images), norms, rtol=1e-5)
  names = truth[f'{prefix}grad_param_names']
  norms = truth[f'{prefix}grad_param_l2']
  assert {ours(str(name)) for name in names} == params.keys()
  for name, norm in zip(names, norms, strict=True):
    # A bias before a batch norm has no gradient: there, a share of the largest.
    gap = abs(np.sqrt(np.square(params[ours(str(name))]).sum()) - norm)
    assert gap <= 1e-5 * norm + 1e-8 * norms.max(), name


@pytest.mark.slow
@pytest.mark.parametrize('file', OFFICIAL)
def test_same_logits_and_gradients_as_the_official_code(parity_folder, file):
  model, images, cotangent, truth = official(parity_folder, file)

  logits, params, grad_images, _ = run(model, images, cotangent, train=False)

  np.testing.assert_allclose(logits, truth['logits'], atol=1e-5)
  assert_same_gradients(params, grad_images, truth)
  theirs = np.moveaxis(truth['grad_input_sub7'], 1, -1)
  np.testing.assert_allclose(
    grad_images[:, ::7, ::7], theirs, atol=1e-5 * np.abs(theirs).max()
  )


@pytest.mark.slow
@pytest.mark.parametrize('file', SMALL)
def test_same_activations_as_the_official_code(parity_folder, file):
  model, images, _, truth = official(parity_folder, file)
  seen = {}

  @jax.jit
  def activations(x):
    for i, (embed, stage) in enumerate(
      zip(model.embeds, model.stages, strict=True), start=1
    ):
      x = seen[f'patch_embed{i}'] = embed(x)
      for j, block in enumerate(stage):
        x = seen[f'blocks{i}.{j}'] = block(x)
    seen['norm'] = model.norm(x)
    return dict(seen)

  compared = 0
  for name, x in activations(images).items():
    if f'act/{name}/mean' not in truth:
      continue
    x = np.asarray(x, np.float64)
    mean, std = x.mean(axis=(1, 2)), x.std(axis=(1, 2))
    np.testing.assert_allclose(mean, truth[f'act/{name}/mean'], atol=1e-5)
    np.testing.assert_allclose(std, truth[f'act/{name}/std'], atol=1e-5)
    compared += 1
  assert compared >= 10


@pytest.mark.slow
@pytest.mark.parametrize('file', SMALL)
def test_same_batch_statistics_as_the_official_code(parity_folder, file):
  model, images, cotangent, truth = official(parity_folder, file)

  logits, params, grad_images, stats = run(model, images, cotangent, train=True)

  np.testing.assert_allclose(logits, truth['train/logits'], atol=1e-5)
  assert_same_gradients(params, grad_images, truth, prefix='train/')
  running = [key for key in truth if 'running_' in key]
  assert len(running) == 6
  for key in running:
    value = stats[ours(key.removeprefix('train/'))]
    np.testing.assert_allclose(value, truth[key], atol=1e-5, err_msg=key)
