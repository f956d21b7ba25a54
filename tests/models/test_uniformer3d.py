# SPDX-License-Identifier: Apache-2.0
"""UniFormers for clips and the light ones: against PyTorch, and what is new."""

import pathlib
import zlib

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest
import test_parity as parity
from test_parity import full_precision  # noqa: F401

import flatten_jax as fj
from flatten_jax.models import token_pruning, uniformer3d, uniformer_light

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
TWINS = ['uniformer3d_test', 'uniformer3d_light_test', 'uniformer_light_test']
OFFICIAL = {
  'uniformer_small_3d_2x3x8x64x64': 'uniformer3d_s',
  'uniformer_xxs_3d_2x3x8x64x64': 'uniformer3d_xxs',
  'uniformer_xxs_2d_light_2x3x128x128': 'uniformer_xxs_light',
}


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def every_head(model, x, train):
  """Logits of all heads, whose batch norms alone are told to train. [n B K]."""
  if not isinstance(model, uniformer_light.UniFormerLight):
    return model(x, train=train)[None]
  x, token = model.encode(x, train=train)
  logits = model.classify(model.norm(x, train=train))
  return jnp.stack([logits, model.classify_token(token)])


def run(model, x, cotangents, train):
  """Logits, gradients by parameter and input, and updated statistics."""
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

  @jax.jit
  def gradients(params, x):
    def loss(params, x):
      model = nnx.merge(graphdef, params, stats, copy=True)
      logits = every_head(model, x, train)
      stats_now = nnx.state(model, nnx.BatchStat)
      return (logits * cotangents).sum(), (logits, stats_now)

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

  (params, grad_x), (logits, stats_now) = gradients(params, x)
  return logits, parity.flat(params), grad_x, parity.flat(stats_now)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('twin', TWINS)
def test_the_tiny_twin_computes_what_pytorch_does(twin, mode):
  fixture = np.load(FIXTURES / f'{twin}.npz')
  model = fj.create_model(twin, num_classes=5)
  weights = parity.with_prefix(fixture, 'weights/')
  fj.load_torch(model, weights)
  ours = parity.translation(model, weights)

  logits, params, grad_x, stats = run(
    model,
    fixture['inputs'].astype(np.float32),
    fixture[f'{mode}/cotangents'],
    train=mode == 'train',
  )

  np.testing.assert_allclose(logits, fixture[f'{mode}/logits'], atol=1e-5)
  theirs = fixture[f'{mode}/grad_inputs']
  np.testing.assert_allclose(
    grad_x[..., ::3, ::3, :], theirs, atol=1e-5 * np.abs(theirs).max()
  )
  if mode == 'eval':
    return
  theirs = parity.with_prefix(fixture, 'grad/')
  assert {ours[key] for key in theirs} == params.keys()
  for key, value in theirs.items():
    grad = params[ours[key]]
    value = channels_last(value).reshape(grad.shape)
    scale = max(1, np.abs(value).max())
    np.testing.assert_allclose(grad, value, atol=2e-5 * scale, err_msg=key)
  for key, value in parity.with_prefix(fixture, 'updated/').items():
    if not key.endswith('num_batches_tracked'):
      updated = stats.pop(ours[key])
      np.testing.assert_allclose(updated, value, atol=1e-5, err_msg=key)
  assert not stats


def channels_last(value):
  """PyTorch's [O I ...] -> [... I O]."""
  if value.ndim == 3:  # A class token.
    return value
  return np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value


def official_input(shape):
  """What the official fixtures were made of; `shape` is [N C (T) H W]."""
  name = 'x'.join(map(str, shape))
  rng = np.random.Generator(
    np.random.PCG64(zlib.crc32(f'input:{name}'.encode()))
  )
  noise = rng.standard_normal(shape)
  cells = (2, 8, 8)[-len(shape[2:]) :]
  counts = (-(-n // cell) for n, cell in zip(shape[2:], cells, strict=True))
  coarse = rng.standard_normal((*shape[:2], *counts))
  coarse = np.kron(coarse, np.ones((1, 1, *cells)))
  coarse = coarse[tuple(slice(n) for n in shape)]
  bias = rng.standard_normal(shape[:2])
  bias = bias.reshape(*shape[:2], *(1 for _ in shape[2:]))
  x = 0.5 * noise + 0.8 * coarse + 0.5 * bias
  return np.moveaxis(x.astype(np.float32), 1, -1)


def official(folder, file):
  """A model with the official weights, its input, cotangents, and the truth."""
  truth = np.load(folder / f'{file}.npz')
  shapes = {
    str(name): tuple(map(int, shape.split('x'))) if shape else ()
    for name, shape in zip(
      truth['state_names'], truth['state_shapes'], strict=True
    )
  }
  weights = {k: parity.fill(k, s) for k, s in shapes.items()}
  model = fj.create_model(OFFICIAL[file])
  report = fj.load_torch(model, weights)
  assert not (report.resized or report.left_at_init or report.dropped)
  x = official_input(tuple(map(int, file.rsplit('_', 1)[1].split('x'))))
  shape = truth['logits'].shape
  names = ('cotangent', 'cotangent_cls')[: 1 + ('logits_cls' in truth)]
  cotangents = []
  for name in names:
    name = f'{name}:' + 'x'.join(map(str, shape))
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    cotangents.append(rng.standard_normal(shape).astype(np.float32))
  return model, x, np.stack(cotangents), truth


def all_logits(truth, prefix=''):
  keys = [k for k in ('logits', 'logits_cls') if prefix + k in truth]
  return np.stack([truth[prefix + key] for key in keys])


def assert_same_gradients(model, params, grad_x, truth, prefix=''):
  axes = tuple(range(1, grad_x.ndim - 1))
  norms = np.sqrt(np.square(np.float64(grad_x)).sum(axis=axes))
  np.testing.assert_allclose(norms, truth[f'{prefix}grad_input_l2'], rtol=1e-5)
  names = truth[f'{prefix}grad_param_names']
  ours = parity.translation(model, names)
  assert set(ours.values()) == params.keys()
  norms = truth[f'{prefix}grad_param_l2']
  for name, norm in zip(names, norms, strict=True):
    # A bias before a batch norm has no gradient: there, a share of the largest.
    gap = abs(np.sqrt(np.square(params[ours[str(name)]]).sum()) - norm)
    assert gap <= 1e-5 * norm + 1e-7 * norms.max(), name


@pytest.mark.slow
@pytest.mark.parametrize('file', OFFICIAL)
def test_same_logits_and_gradients_as_the_official_code(parity_folder, file):
  model, x, cotangents, truth = official(parity_folder, file)

  logits, params, grad_x, _ = run(model, x, cotangents, train=False)

  np.testing.assert_allclose(logits, all_logits(truth), atol=1e-5)
  assert_same_gradients(model, params, grad_x, truth)
  theirs = np.moveaxis(truth['grad_input_sub7'], 1, -1)
  np.testing.assert_allclose(
    grad_x[..., ::7, ::7, :], theirs, atol=1e-5 * np.abs(theirs).max()
  )


@pytest.mark.slow
@pytest.mark.parametrize('file', OFFICIAL)
def test_same_batch_statistics_as_the_official_code(parity_folder, file):
  model, x, cotangents, truth = official(parity_folder, file)

  logits, params, grad_x, stats = run(model, x, cotangents, train=True)

  np.testing.assert_allclose(logits, all_logits(truth, 'train/'), atol=1e-5)
  assert_same_gradients(model, params, grad_x, truth, 'train/')
  running = [key for key in truth if 'running_' in key]
  assert len(running) == 6
  ours = parity.translation(model, [k.removeprefix('train/') for k in running])
  for key in running:
    value = stats[ours[key.removeprefix('train/')]]
    np.testing.assert_allclose(value, truth[key], atol=1e-5, err_msg=key)


def activations(model, x):
  """What comes out of every part of a model, by its official name."""
  seen = {}
  light = isinstance(model, uniformer_light.UniFormerLight)
  x = x if light else uniformer3d.in_threes(x)
  token = scores = None
  for i, (embed, stage) in enumerate(
    zip(model.embeds, model.stages, strict=True), start=1
  ):
    if light and i == 3:
      token = jnp.broadcast_to(model.cls_token[...], (len(x), 1, 224))
    elif light and i == 4:
      token = model.cls_upsample(token)
      scores = token_pruning.pool(scores, x.shape[1:-1])
    x = seen[f'patch_embed{i}'] = embed(x)
    for j, block in enumerate(stage):
      name = f'blocks{i}.{j}'
      if token is None:
        x = block(x)
      else:
        x, token, scores = block((x, token, scores))
        seen[f'{name}/cls_token'] = token[:, 0]
      seen[name] = x
  seen['norm'] = model.norm(x)
  return seen


@pytest.mark.slow
@pytest.mark.parametrize('file', OFFICIAL)
def test_same_activations_as_the_official_code(parity_folder, file):
  model, x, _, truth = official(parity_folder, file)
  ours = jax.jit(lambda x: activations(model, x))(x)
  compared = 0
  for key in truth:
    name, _, what = key.removeprefix('act/').rpartition('/')
    if not key.startswith('act/') or what in ('probe', 'shape'):
      continue
    compared += 1
    value = np.float64(ours[name])
    space = tuple(range(1, value.ndim - 1))
    if what != 'value':
      value = {'mean': np.mean, 'std': np.std}[what](value, axis=space)
    np.testing.assert_allclose(value, truth[key], atol=1e-5, err_msg=key)
  assert compared >= 22


@pytest.mark.parametrize('frames', [1, 4, 5])
def test_the_first_patches_are_a_convolution_over_three_frames(frames):
  model = fj.create_model('uniformer3d_test', 5)
  clips = draw(2, frames, 32, 32, 3)
  proj = model.embeds[0].proj
  expected = lax.conv_general_dilated(
    clips,
    proj.kernel[...],
    window_strides=(2, 4, 4),
    padding=((1, 1), (0, 0), (0, 0)),
    dimension_numbers=('NTHWC', 'THWIO', 'NTHWC'),
  )
  ours = proj(uniformer3d.in_threes(clips))
  assert ours.shape[1] == -(-frames // 2)
  np.testing.assert_allclose(
    ours - proj.bias[...][None, None, None, None], expected, atol=1e-5
  )


@pytest.mark.parametrize('name', TWINS)
def test_whatever_cannot_be_is_refused_with_what_can(name):
  model = fj.create_model(name, 5)
  clips = (4,) if name.startswith('uniformer3d') else ()
  with pytest.raises(ValueError, match=r'of 32, and are 48 x 90;.* 64 x 96'):
    model(draw(1, *clips, 48, 90, 3))
  with pytest.raises(ValueError, match=r'takes (clips|images) \[B .*, not'):
    model(draw(1, 2, *clips, 64, 64, 3))


def test_training_gives_the_logits_of_both_heads_and_evaluation_of_one():
  model = fj.create_model('uniformer3d_light_test', 5)
  clips = draw(2, 4, 32, 32, 3)
  pair = jax.eval_shape(lambda x: model(x, train=True), clips)
  assert [x.shape for x in pair] == [(2, 5), (2, 5)]
  assert jax.eval_shape(model, clips).shape == (2, 5)


def test_only_3d_models_take_clips():
  takes = {
    name
    for name, (kind, _) in fj.models.MODELS.items()
    if getattr(kind, 'takes_clips', False)
  }
  assert takes == {n for n in fj.list_models() if n.startswith('uniformer3d')}


@pytest.mark.parametrize('name', ['uniformer3d_light_test', 'uniformer3d_test'])
def test_each_clip_of_a_batch_is_seen_by_itself(name):
  model = jax.jit(fj.create_model(name, 5))
  clips = 3 * draw(3, 4, 32, 64, 3)
  others = clips.copy()
  others[1] = draw(4, 32, 64, 3, seed=1)
  gaps = np.abs(model(clips) - model(others)).max(axis=1)
  np.testing.assert_array_equal(gaps > 1e-6, [False, True, False])


def pruning_block(seed=0):
  config = uniformer_light.TEST_3D
  return token_pruning.PruningBlock(16, config, 0.0, rngs=nnx.Rngs(seed))


def test_the_better_half_attends_and_the_rest_moves_as_one():
  block = pruning_block()
  tokens, token = draw(2, 8, 16), draw(2, 1, 16, seed=1)
  scores = np.random.default_rng(2).permuted(
    np.tile(np.linspace(0.1, 0.8, 8, dtype=np.float32), (2, 1)), axis=1
  )
  moved, new_token, new_scores = block.prune(tokens, token, scores, lambda x: x)
  for i in range(2):
    best = np.sort(np.argsort(scores[i])[-4:])
    rest = np.setdiff1d(np.arange(8), best)
    mean = np.average(tokens[i, rest], axis=0, weights=scores[i, rest])
    alone = np.concatenate([token[i], tokens[i, best], mean[None]])[None]
    moves, attended = block.moves(alone, lambda x: x)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
    close(new_token[i] - token[i], moves[0, :1])
    close((moved - tokens)[i, best], moves[0, 1:-1])
    close((moved - tokens)[i, rest], np.tile(moves[0, -1:], (4, 1)))
    close(new_scores[i, best], (scores[i, best] + attended[0, :-1]) / 2)
    close(new_scores[i, rest], scores[i, rest])


def test_scores_are_the_class_tokens_row_of_the_attention():
  qkv = draw(2, 6, 3, 4, 8)
  q, k = np.moveaxis(qkv, 2, 0)[:2]
  logits = np.einsum('bqhd,bkhd->bhqk', q, k) / np.sqrt(8)
  weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
  np.testing.assert_allclose(
    token_pruning.class_attention(qkv), weights[:, :, 0, 1:].mean(1), rtol=1e-5
  )


def test_an_order_and_its_inverse_undo_each_other_and_so_do_their_gradients():
  rng = np.random.default_rng(0)
  order = np.stack([rng.permutation(7) for _ in range(2)])
  inverse = np.argsort(order, axis=1)
  x, grad = draw(2, 7, 3), draw(2, 7, 3, seed=1)
  y, backward = jax.vjp(lambda x: token_pruning.permute(x, order, inverse), x)
  np.testing.assert_array_equal(y[1, 2], x[1, order[1, 2]])
  np.testing.assert_array_equal(token_pruning.permute(y, inverse, order), x)
  plain = jax.vjp(lambda x: jnp.take_along_axis(x, order[..., None], 1), x)[1]
  np.testing.assert_array_equal(backward(grad)[0], plain(grad)[0])


def test_pooled_scores_keep_their_sum_and_place():
  scores = np.zeros((1, 2, 4, 6), np.float32)
  scores[0, 1, 2:, 2:4] = [[1, 2], [3, 4]]
  pooled = token_pruning.pool(scores.reshape(1, -1), (2, 4, 6))
  expected = np.zeros((1, 2, 2, 3))
  expected[0, 1, 1, 1] = 10
  np.testing.assert_array_equal(pooled.reshape(1, 2, 2, 3), expected)
