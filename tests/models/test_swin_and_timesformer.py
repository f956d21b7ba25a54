# SPDX-License-Identifier: Apache-2.0
"""Tests of Video Swin and TimeSformer, also against the official code."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models.layers import attention, positions, windows
from tests.support import official
from tests.support.official import assert_close

BASE16 = ('video_swin_b', {'window': (16, 7, 7)})
FILES = {  # The quickest of each family first.
  'video_swin_tiny_2x3x8x64x64': ('video_swin_t', {}),
  'timesformer_base_1x3x2x112x448': ('timesformer_b', {}),
  'video_swin_tiny_1x3x16x112x96': ('video_swin_t', {}),
  'video_swin_tiny_1x3x20x72x56': ('video_swin_t', {}),
  'video_swin_base_1x3x16x64x80': ('video_swin_b', {}),
  'video_swin_base_1x3x20x68x36': ('video_swin_b', {}),
  'video_swin_base_w16_1x3x16x64x64': BASE16,
  'video_swin_base_w16_1x3x32x64x48': BASE16,
  'timesformer_base_1x3x6x96x128': ('timesformer_b', {}),
  'timesformer_base_1x3x8x224x224': ('timesformer_b', {}),
  'timesformer_hr_1x3x16x64x96': ('timesformer_hr', {}),
  'timesformer_l_1x3x96x32x32': ('timesformer_l', {}),
}
QUICK = list(FILES)[:2]


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def load(folder, file, dtype):
  """Loads a model with official weights, its input, and the truth."""
  truth, weights = official.read(folder, file)
  name, options = FILES[file]
  model = fj.create_model(name, dtype=dtype, **options)
  report = fj.load_torch(model, weights)
  assert not (report.resized or report.left_at_init or report.dropped)
  shape = tuple(map(int, file.rsplit('_', 1)[1].split('x')))
  return model, official.images(shape), truth


def activations(model, x):
  """Returns the outputs of all parts of a model, by official name."""
  seen = {}
  if hasattr(model, 'time_embed'):
    x = model.embed(x)
    seen['model.time_drop'] = x[0]
    for i, block in enumerate(model.stages[0]):
      x = block(x)
      seen[f'model.blocks.{i}'] = x[0]
      seen[f'model.blocks.{i}/cls_token'] = x[1][:, 0]
    seen['model.norm/cls_token'] = model.norm(x[1])[:, 0]
    return seen
  x = model.prepare_input(x)
  for i, (embed, stage) in enumerate(
    zip(model.embeds, model.stages, strict=True)
  ):
    x = embed(x)
    seen.setdefault('backbone.patch_embed', x)
    for j, block in enumerate(stage):
      x = seen[f'backbone.layers.{i}.blocks.{j}'] = block(x)
  seen['backbone.norm'] = model.norm(x)
  return seen


OF_EVERY_MAP = {
  'mean': lambda x: x.mean(axis=tuple(range(1, x.ndim - 1))),
  'std': lambda x: x.std(axis=tuple(range(1, x.ndim - 1))),
  'probe': official.points,
  'value': lambda x: x,  # Of a class token.
}


@pytest.mark.parametrize(
  'file',
  [
    pytest.param(f, marks=() if f in QUICK else pytest.mark.large)
    for f in FILES
  ],
)
def test_everything_agrees_with_official_code_in_float64(parity_folder, file):
  with jax.enable_x64(True):
    model, x, truth = load(parity_folder, file, 'float64')
    shape = truth['logits'].shape
    cotangent = official.generator('cotangent', shape).standard_normal(shape)
    graphdef, state = nnx.split(model)
    state, x = jax.tree.map(lambda a: jnp.asarray(a, 'float64'), (state, x))

    def loss(state, x):
      logits = nnx.merge(graphdef, state)(x)
      return (logits * cotangent).sum(), logits

    @jax.jit
    def compute(state, x):
      gradients = jax.grad(loss, argnums=(0, 1), has_aux=True)
      return *gradients(state, x), activations(nnx.merge(graphdef, state), x)

    (params, grad_x), logits, seen = compute(state, x)

  assert_close(logits, truth['logits'])
  norms = np.sqrt(np.square(grad_x).sum(axis=(1, 2, 3)))
  assert_close(norms, truth['grad_input_l2'])
  theirs = np.moveaxis(truth['grad_input_sub7'], 1, -1)
  assert_close(grad_x[..., ::7, ::7, :], theirs)
  names = official.translation(model, truth['grad_param_names'])
  params = official.flat(params)
  assert set(names.values()) == params.keys()
  for name, norm in zip(
    truth['grad_param_names'], truth['grad_param_l2'], strict=True
  ):
    ours = np.sqrt(np.square(params[names[str(name)]]).sum())
    np.testing.assert_allclose(ours, norm, rtol=1e-8, err_msg=str(name))
  compared = 0
  for key in truth:
    name, _, what = key.removeprefix('act/').rpartition('/')
    if key.startswith('act/') and what != 'shape':
      compared += 1
      ours = OF_EVERY_MAP[what](np.asarray(seen[name]))
      assert_close(ours, truth[key], name=key)
  assert compared >= (8 if '8x224x224' in file else 12)  # Fewer in that file.


@pytest.mark.large
@pytest.mark.parametrize('file', FILES)
def test_logits_agree_to_1e_5_in_float32(parity_folder, file):
  model, x, truth = load(parity_folder, file, 'float32')
  np.testing.assert_allclose(model(x), truth['logits'], atol=1e-5)


def test_nearest_entries_are_those_of_pytorch():
  np.testing.assert_array_equal(positions.nearest(4, 6), [0, 0, 1, 2, 2, 3])
  np.testing.assert_array_equal(positions.nearest(6, 4), [0, 1, 3, 4])
  # Integers would give one entry elsewhere.
  exact = np.arange(46) * 14 // 46
  assert (positions.nearest(14, 46) != exact).any()


def test_windows_of_clips_are_cut_in_time_and_put_back():
  x = draw(2, 4, 4, 6, 3)
  cut = windows.to_windows(x, (2, 2, 3))
  assert cut.shape == (2, 8, 12, 3)
  np.testing.assert_array_equal(cut[0, 0, :3], x[0, 0, 0, :3])
  np.testing.assert_array_equal(cut[0, 1, 6:9], x[0, 1, 0, 3:])
  again = windows.from_windows(cut, (2, 2, 3), x.shape[1:4])
  np.testing.assert_array_equal(again, x)


def test_the_memory_of_many_sequences_is_bounded_and_changes_nothing():
  qkv = draw(6, 40, 3, 2, 8)
  expected = attention.plain_attention(qkv)
  for sequences in (1, 6, 10_000, 10**9):  # The last, a query at a time.
    ours = attention.lean_attention(qkv, sequences)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
  grads = [
    jax.grad(lambda x, n=n: (attention.lean_attention(x, n) ** 2).sum())(qkv)
    for n in (1, 10_000)
  ]
  np.testing.assert_allclose(*grads, atol=1e-5)
  program = str(
    jax.make_jaxpr(lambda x: attention.lean_attention(x, 16))(
      jax.ShapeDtypeStruct((16, 785, 3, 12, 64), jnp.float32)
    )
  )
  assert '785,785' not in program


@pytest.mark.parametrize('sides', [(2, 3), (2, 3, 3, 3)])
def test_a_window_without_three_sides_is_refused(sides):
  with pytest.raises(ValueError, match='three sides'):
    fj.create_model('video_swin_test', 5, window=sides)


@pytest.mark.parametrize('name', ['video_swin_test', 'timesformer_test'])
def test_clips_of_a_batch_do_not_mix_and_images_are_refused(name):
  model = fj.create_model(name, 5)
  clips = 3 * draw(3, 5, 33, 50, 3)  # Sizes that no patch divides.
  others = clips.copy()
  others[1] = draw(5, 33, 50, 3, seed=1)
  gaps = np.abs(model(clips) - model(others)).max(axis=1)
  np.testing.assert_array_equal(gaps > 1e-6, [False, True, False])
  with pytest.raises(ValueError, match='takes clips'):
    model(clips[0])


def test_the_head_of_video_swin_drops_values_in_training():
  model = fj.create_model('video_swin_test', 5)
  clips = draw(1, 4, 32, 32, 3)
  first, again, other = (
    np.asarray(model(clips, train=True, rngs=nnx.Rngs(dropout=seed)))
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0
  with pytest.raises(ValueError, match=r'Dropout of rate 0\.5'):
    model(clips, train=True)
