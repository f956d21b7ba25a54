# SPDX-License-Identifier: Apache-2.0
"""Our models against PyTorch: the official ones, and tiny twins of ours."""

import pathlib
import zlib

from flax import nnx, traverse_util
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import resnet, swin_v2, torch_names

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
OFFICIAL = {
  'uniformer_small_2d_2x3x96x96': ('uniformer_s', {}),
  'uniformer_small_2d_1x3x224x224': ('uniformer_s', {}),
  'uniformer_xxs_2d_plain_2x3x96x96': ('uniformer_xxs', {}),
  'uniformer_xxs_2d_plain_1x3x160x160': ('uniformer_xxs', {}),
  'resnet50_2x3x96x96': ('resnet50', {}),
  'resnet101_2x3x96x96': ('resnet101', {}),
  'swinv2_tiny_w6_2x3x192x192': ('swinv2_t', {'window': 6}),
  'swinv2_tiny_w8_2x3x256x256': ('swinv2_t', {}),
  'swinv2_tiny_w8_1x3x512x512': ('swinv2_t', {}),
  'swinv2_tiny_w16_1x3x256x256': ('swinv2_t', {'window': 16}),
  'swinv2_tiny_w16_1x3x512x512': ('swinv2_t', {'window': 16}),
  'swinv2_tiny_w16_pre8_1x3x512x512': (
    'swinv2_t',
    {'window': 16, 'pretrained_window': 8},
  ),
}
SMALL = [file for file in OFFICIAL if file.endswith('96x96')]
# How far float32 takes gradients from float64's, of the largest. An input that
# rounds across a ReLU's zero or a pool's maximum turns a whole path on or off:
# PyTorch's own float32 ResNet-50 is 1.5e-4 (norms by parameter) and 5e-4 (of
# the image) away, its SwinV2 1.2e-5. In float64 ours agree to 2e-7.
GRADIENT_TOLERANCE = {'resnet': 5e-4, 'swinv2': 3e-5, 'uniformer': 1e-5}
QUICK = ['resnet50_2x3x96x96', 'swinv2_tiny_w6_2x3x192x192']


def slow_but(files, quick=()):
  """As parameters of a test; the quick ones are part of every run."""
  marks = {True: (), False: pytest.mark.slow}
  return [pytest.param(file, marks=marks[file in quick]) for file in files]


@pytest.fixture(autouse=True, scope='module')
def full_precision():
  with jax.default_matmul_precision('highest'):
    yield


def translation(model, names):
  """PyTorch's name of a tensor -> our spelling."""
  ours = flat(nnx.state(model, (nnx.Param, nnx.BatchStat)))
  naming = torch_names.naming_in(model, ours, names)
  translated = {naming.official(name): name for name in ours}
  return {str(n): translated[n] for n in names if n in translated}


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


@pytest.mark.parametrize(
  'twin, mode',
  [
    ('uniformer_test', 'eval'),
    ('uniformer_test', 'train'),
    ('resnet_test', 'eval'),
    ('resnet_test', 'train'),
    ('swinv2_test', 'eval'),
  ],
)
def test_the_tiny_twin_computes_what_pytorch_does(twin, mode):
  fixture = np.load(FIXTURES / f'{twin}.npz')
  model = fj.create_model(twin, num_classes=5)
  weights = with_prefix(fixture, 'weights/')
  fj.load_torch(model, weights)
  ours = translation(model, weights)
  images = fixture['images'].astype(np.float32)

  logits, params, grad_images, stats = run(
    model, images, fixture['cotangent'], train=mode == 'train'
  )

  np.testing.assert_allclose(logits, fixture[f'{mode}/logits'], atol=1e-5)
  np.testing.assert_allclose(
    grad_images[:, ::5, ::5], fixture[f'{mode}/grad_images'], atol=1e-5
  )
  theirs = with_prefix(fixture, f'{mode}/grad/')
  assert not theirs or {ours[key] for key in theirs} == params.keys()
  for key, value in theirs.items():
    grad = params[ours[key]]
    value = arranged(value, grad.shape)
    np.testing.assert_allclose(
      grad, value, atol=2e-5 * max(1, np.abs(value).max()), err_msg=key
    )
  if mode == 'train':
    for key, value in with_prefix(fixture, 'updated/').items():
      if not key.endswith('num_batches_tracked'):
        updated = stats.pop(ours[key])
        np.testing.assert_allclose(updated, value, atol=1e-5, err_msg=key)
    assert not stats


def with_prefix(fixture, prefix):
  """The arrays under a prefix, by their names without it."""
  return {k[len(prefix) :]: fixture[k] for k in fixture if k.startswith(prefix)}


def arranged(value, shape):
  """A tensor of PyTorch's in our axis order."""
  if value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)
  elif value.ndim == 2:
    value = value.T
  return value.reshape(shape)


def fill(name, shape):
  """The weights of the official fixtures: a function of name and shape."""
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
  if name.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  if name.endswith('running_var'):
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  noise = rng.standard_normal(shape)
  if name.endswith('logit_scale'):  # Some beyond the bound.
    return (np.log(10) + noise).astype(np.float32)
  if len(shape) == 1:
    shift = 1 if name.endswith('.weight') else 0
    return (shift + 0.1 * noise).astype(np.float32)
  noise = noise / np.sqrt(np.prod(shape[1:]))
  half = name.endswith(('pos_embed.weight', 'conv3.weight'))
  return (noise * (0.5 if half else 1)).astype(np.float32)


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
  name, options = OFFICIAL[file]
  model = fj.create_model(name, **options)
  report = fj.load_torch(model, weights)
  assert not report.left_at_init
  assert not report.dropped
  images = official_input(tuple(map(int, file.rsplit('_', 1)[1].split('x'))))
  name = 'cotangent:' + 'x'.join(map(str, truth['logits'].shape))
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
  cotangent = rng.standard_normal(truth['logits'].shape).astype(np.float32)
  return model, images, cotangent, truth


def channel_norms(grad_images):
  """[B H W C] -> [B C], the norm over space."""
  return np.sqrt(np.square(grad_images.astype(np.float64)).sum(axis=(1, 2)))


def gradient_tolerance(file):
  return GRADIENT_TOLERANCE[
    next(family for family in GRADIENT_TOLERANCE if file.startswith(family))
  ]


def assert_same_gradients(
  model, params, grad_images, truth, tolerance, prefix=''
):
  norms = truth[f'{prefix}grad_input_l2']
  np.testing.assert_allclose(channel_norms(grad_images), norms, rtol=tolerance)
  names = translation(model, truth[f'{prefix}grad_param_names']).values()
  norms = truth[f'{prefix}grad_param_l2']
  assert set(names) == params.keys()
  for name, norm in zip(names, norms, strict=True):
    # A bias before a batch norm has no gradient: there, a share of the largest.
    gap = abs(np.sqrt(np.square(params[name]).sum()) - norm)
    assert gap <= tolerance * norm + 1e-8 * norms.max(), name


@pytest.mark.parametrize('file', slow_but(OFFICIAL, QUICK))
def test_same_logits_and_gradients_as_the_official_code(parity_folder, file):
  model, images, cotangent, truth = official(parity_folder, file)

  logits, params, grad_images, _ = run(model, images, cotangent, train=False)

  np.testing.assert_allclose(logits, truth['logits'], atol=1e-5)
  tolerance = gradient_tolerance(file)
  assert_same_gradients(model, params, grad_images, truth, tolerance)
  theirs = np.moveaxis(truth['grad_input_sub7'], 1, -1)
  np.testing.assert_allclose(
    grad_images[:, ::7, ::7], theirs, atol=tolerance * np.abs(theirs).max()
  )


def activations(model, x):
  """What comes out of every part of a model, by its official name."""
  seen = {}
  if isinstance(model, resnet.ResNet):
    x = seen['maxpool'] = model.stem(x)
    for i, stage in enumerate(model.stages, start=1):
      for block in stage:
        x = block(x)
      seen[f'layer{i}'] = x
    return seen
  swin = isinstance(model, swin_v2.SwinV2)
  for i, (embed, stage) in enumerate(
    zip(model.embeds, model.stages, strict=True), start=0 if swin else 1
  ):
    x = seen[f'patch_embed{i or ""}'] = embed(x)
    for j, block in enumerate(stage):
      x = seen[f'blocks{i}.{j}'] = block(x)
    seen[f'layers.{i}'] = x
  seen['norm'] = model.norm(x)
  return seen


@pytest.mark.slow
@pytest.mark.parametrize('file', [*SMALL, 'swinv2_tiny_w6_2x3x192x192'])
def test_same_activations_as_the_official_code(parity_folder, file):
  model, images, _, truth = official(parity_folder, file)
  ours = jax.jit(lambda x: activations(model, x))(images)
  names = {key.split('/')[1] for key in truth if key.startswith('act/')}
  assert names <= ours.keys()
  for name in names:
    x = np.asarray(ours[name], np.float64)
    mean, std = x.mean(axis=(1, 2)), x.std(axis=(1, 2))
    np.testing.assert_allclose(mean, truth[f'act/{name}/mean'], atol=1e-5)
    np.testing.assert_allclose(std, truth[f'act/{name}/std'], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('file', SMALL)
def test_same_batch_statistics_as_the_official_code(parity_folder, file):
  model, images, cotangent, truth = official(parity_folder, file)

  logits, params, grad_images, stats = run(model, images, cotangent, train=True)

  np.testing.assert_allclose(logits, truth['train/logits'], atol=1e-5)
  tolerance = gradient_tolerance(file)
  assert_same_gradients(
    model, params, grad_images, truth, tolerance, prefix='train/'
  )
  running = [key for key in truth if 'running_' in key]
  assert len(running) == 6
  ours = translation(model, [key.removeprefix('train/') for key in running])
  for key in running:
    value = stats[ours[key.removeprefix('train/')]]
    np.testing.assert_allclose(value, truth[key], atol=1e-5, err_msg=key)
