# SPDX-License-Identifier: Apache-2.0
"""Tests of UniFormers for clips and light ones, also against PyTorch."""

import pathlib

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import token_pruning, uniformer3d, uniformer_light
from flatten_jax.models.layers import attention_weights
from tests.support import official
from tests.support.official import assert_close

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
TWINS = ['uniformer3d_test', 'uniformer3d_light_test', 'uniformer_light_test']
FILES = {
  'uniformer_xxs_3d_2x3x8x64x64': 'uniformer3d_xxs',
  'uniformer_small_3d_2x3x8x64x64': 'uniformer3d_s',
  'uniformer_xxs_2d_light_2x3x128x128': 'uniformer_xxs_light',
}

MARKED = [  # The smaller file of clips, and that of images.
  pytest.param(
    file, marks=pytest.mark.large if 'small' in file else pytest.mark.slow
  )
  for file in FILES
]


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def every_head(model, x, train):
  """Returns the logits of all heads; `train` is for batch norms. [n B K]."""
  if not isinstance(model, uniformer_light.UniFormerLight):
    return model(x, train=train)[None]
  x, token = model.encode(x, train=train)
  logits = model.classify(model.norm(x, train=train))
  return jnp.stack([logits, model.classify_token(token)])


def run(model, x, cotangents, *, train=False, look=False, dtype='float32'):
  """Returns logits, gradients, running statistics, activations."""
  graphdef, *variables = nnx.split(model, nnx.Param, nnx.BatchStat)
  params, stats, x, cotangents = jax.tree.map(
    lambda x: jnp.asarray(x, dtype), (*variables, x, cotangents)
  )

  def loss(params, x):
    model = nnx.merge(graphdef, params, stats, copy=True)
    seen = activations(model, x) if look else {}
    logits = every_head(model, x, train)
    updated = nnx.state(model, nnx.BatchStat)
    return (logits * cotangents).sum(), (logits, seen, updated)

  gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
  (params, x), (logits, seen, updated) = gradients(params, x)
  assert logits.dtype == x.dtype == dtype
  return logits, official.flat(params), x, official.flat(updated), seen


@pytest.mark.parametrize(
  'mode, dtype', [('eval', 'float32'), ('train', 'float64')]
)
@pytest.mark.parametrize('twin', TWINS)
def test_the_tiny_twin_computes_what_pytorch_does(twin, mode, dtype):
  fixture = np.load(FIXTURES / f'{twin}.npz')
  weights = with_prefix(fixture, 'weights/')
  # All but the logits is stored in float32.
  rtol, atol = {'float32': (0, 1e-5), 'float64': (1e-8, 1e-7)}[dtype]

  with jax.enable_x64(dtype == 'float64'):
    model = fj.create_model(twin, num_classes=5, dtype=dtype)
    fj.load_torch(model, weights)
    ours = official.translation(model, weights)
    logits, params, grad_x, stats, _ = run(
      model,
      fixture['inputs'],
      fixture[f'{mode}/cotangents'],
      train=mode == 'train',
      dtype=dtype,
    )

  assert_close(logits, fixture[f'{mode}/logits'], rtol, atol)
  theirs = fixture[f'{mode}/grad_inputs']
  assert_close(grad_x[..., ::3, ::3, :], theirs, rtol, atol)
  if mode == 'eval':
    return
  theirs = with_prefix(fixture, 'grad/')
  assert {ours[key] for key in theirs} == params.keys()
  largest = max(np.abs(value).max() for value in theirs.values())
  for key, value in theirs.items():
    value = arranged(value, params[ours[key]].shape)
    np.testing.assert_allclose(
      params[ours[key]], value, rtol, atol * largest, err_msg=key
    )
  for key, value in with_prefix(fixture, 'updated/').items():
    if not key.endswith('num_batches_tracked'):
      assert_close(stats.pop(ours[key]), value, rtol, atol, name=key)
  assert not stats


def with_prefix(fixture, prefix):
  """Selects the arrays under a prefix, which is removed."""
  return {k[len(prefix) :]: fixture[k] for k in fixture if k.startswith(prefix)}


def arranged(value, shape):
  """Converts a tensor of PyTorch to our axis order, but for a class token."""
  if value.ndim > 1 and value.ndim != 3:
    value = np.moveaxis(value, (0, 1), (-1, -2))
  return value.reshape(shape)


def load(folder, file, dtype):
  """Loads a model with official weights, input, cotangents, and the truth."""
  truth, weights = official.read(folder, file)
  model = fj.create_model(FILES[file], dtype=dtype)
  report = fj.load_torch(model, weights)
  assert not (report.resized or report.left_at_init or report.dropped)
  x = official.images(tuple(map(int, file.rsplit('_', 1)[1].split('x'))))
  shape = truth['logits'].shape
  tags = ('cotangent', 'cotangent_cls')[: 1 + ('logits_cls' in truth)]
  cotangents = [
    official.generator(t, shape).standard_normal(shape) for t in tags
  ]
  return model, x, np.stack(cotangents), truth


def true_logits(truth, prefix=''):
  """Returns the true logits of every head. [n B K]."""
  keys = (f'{prefix}logits', f'{prefix}logits_cls')
  return np.stack([truth[key] for key in keys if key in truth])


def assert_same_gradients(model, params, grad_x, truth, prefix=''):
  """Compares norms by parameter and by channel of the input."""
  space = tuple(range(1, grad_x.ndim - 1))
  norms = np.sqrt(np.square(grad_x).sum(axis=space))
  assert_close(norms, truth[f'{prefix}grad_input_l2'])
  names = truth[f'{prefix}grad_param_names']
  names = official.translation(model, names).values()
  assert set(names) == params.keys()
  norms = np.array([np.sqrt(np.square(params[name]).sum()) for name in names])
  assert_close(norms, truth[f'{prefix}grad_param_l2'])


def activations(model, x):
  """Returns the outputs of all parts of a model, by official name."""
  seen = {}
  light = isinstance(model, uniformer_light.UniFormerLight)
  x = x if light else uniformer3d.temporal_unfold(x)
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


OF_EVERY_MAP = {
  'mean': lambda x: x.mean(axis=tuple(range(1, x.ndim - 1))),
  'std': lambda x: x.std(axis=tuple(range(1, x.ndim - 1))),
  'probe': official.points,
  'value': lambda x: x,  # Of a class token.
}


@pytest.mark.parametrize('file', MARKED)
def test_everything_agrees_with_official_code_in_float64(parity_folder, file):
  with jax.enable_x64(True):
    model, x, cotangents, truth = load(parity_folder, file, 'float64')
    logits, params, grad_x, _, seen = run(
      model, x, cotangents, look=True, dtype='float64'
    )

    assert_close(logits, true_logits(truth))
    assert_same_gradients(model, params, grad_x, truth)
  theirs = np.moveaxis(truth['grad_input_sub7'], 1, -1)
  assert_close(grad_x[..., ::7, ::7, :], theirs)
  compared = 0
  for key in truth:
    name, _, what = key.removeprefix('act/').rpartition('/')
    if key.startswith('act/') and what != 'shape':
      compared += 1
      ours = OF_EVERY_MAP[what](np.asarray(seen[name]))
      assert_close(ours, truth[key], name=key)
  assert compared >= 3 * 11


@pytest.mark.parametrize('file', MARKED)
def test_training_agrees_with_official_code_in_float64(parity_folder, file):
  with jax.enable_x64(True):
    model, x, cotangents, truth = load(parity_folder, file, 'float64')
    logits, params, grad_x, stats, _ = run(
      model, x, cotangents, train=True, dtype='float64'
    )

    assert_close(logits, true_logits(truth, 'train/'))
    assert_same_gradients(model, params, grad_x, truth, 'train/')
  running = {
    key.removeprefix('train/'): value
    for key, value in truth.items()
    if 'running_' in key
  }
  assert len(running) == 6
  for name, ours in official.translation(model, running).items():
    assert_close(stats[ours], running[name], name=name)


@pytest.mark.parametrize('file', MARKED)
def test_logits_agree_to_1e_5_in_float32(parity_folder, file):
  model, x, _, truth = load(parity_folder, file, 'float32')
  logits = every_head(model, x, train=False)
  np.testing.assert_allclose(logits, true_logits(truth), atol=1e-5)


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
  ours = proj(uniformer3d.temporal_unfold(clips))
  assert ours.shape[1] == -(-frames // 2)
  np.testing.assert_allclose(
    ours - proj.bias[...][None, None, None, None], expected, atol=1e-5
  )


@pytest.mark.parametrize('name', TWINS)
def test_wrong_shapes_are_refused_with_what_fits(name):
  model = fj.create_model(name, 5)
  clips = (4,) if name.startswith('uniformer3d') else ()
  with pytest.raises(ValueError, match=r'of 32; got 48 x 90\. Frames of 32'):
    model(draw(1, *clips, 48, 90, 3))
  with pytest.raises(ValueError, match=r'takes (clips|images) \[B .*; got'):
    model(draw(1, 2, *clips, 64, 64, 3))


def test_training_gives_the_logits_of_both_heads_and_evaluation_of_one():
  model = nnx.eval_shape(lambda: fj.create_model('uniformer3d_light_test', 5))
  graphdef, state = nnx.split(model)

  def shapes(train):
    run = lambda state, x: nnx.merge(graphdef, state)(x, train=train)  # noqa: E731
    return jax.eval_shape(run, state, draw(2, 4, 32, 32, 3))

  assert [x.shape for x in shapes(train=True)] == [(2, 5), (2, 5)]
  assert shapes(train=False).shape == (2, 5)


def test_only_video_models_take_clips():
  takes = {name for name in fj.list_models() if fj.models.takes_clips(name)}
  of_clips = (
    'uniformer3d',
    'video_swin',
    'timesformer',
    'vidtr',
    'vivit',
    'vtn',
    'slowfast',
    'i3d',
    'tsn',
    'tdn',
    'motion_squeeze',
  )
  assert takes == {n for n in fj.list_models() if n.startswith(of_clips)}


@pytest.mark.parametrize('name', ['uniformer3d_light_test', 'uniformer3d_test'])
def test_clips_of_a_batch_do_not_mix(name):
  model = jax.jit(fj.create_model(name, 5))
  clips = 3 * draw(3, 4, 32, 64, 3)
  others = clips.copy()
  others[1] = draw(4, 32, 64, 3, seed=1)
  gaps = np.abs(model(clips) - model(others)).max(axis=1)
  np.testing.assert_array_equal(gaps > 1e-6, [False, True, False])


def pruning_block(seed=0):
  config = uniformer_light.TEST_3D
  return token_pruning.PruningBlock(16, config, 0.0, rngs=nnx.Rngs(seed))


def test_the_better_half_attends_and_the_rest_shares_a_residual():
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
    attention_weights.of_first(qkv), weights[:, :, 0, 1:].mean(1), rtol=1e-5
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
