# SPDX-License-Identifier: Apache-2.0
"""Tests of ViViT, VTN and VidTr, against the official code in float64."""

import json
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import vidtr, vtn
from flatten_jax.models.weights import key_names
from flatten_jax.runtime.configuration import default_config
from flatten_jax.runtime.devices import sharding
from tests.support import official, video_twins
from tests.support.official import assert_close

# File -> the model and its options.
FILES = {
  'vivit_l16x2_2x3x6x32x48': ('vivit_l', {'clip_shape': (6, 32, 48)}),
  'vivit_l16x2_1x3x8x64x64': ('vivit_l', {'clip_shape': (8, 64, 64)}),
  'vivit_l16x2_fe_2x3x6x32x48': ('vivit_l_fe', {'clip_shape': (6, 32, 48)}),
  'vivit_l16x2_fe_1x3x8x64x64': ('vivit_l_fe', {'clip_shape': (8, 64, 64)}),
  'vidtr_l_2x3x4x32x48': ('vidtr_l', {'clip_shape': (4, 32, 48)}),
  'vidtr_l_1x3x8x64x64': ('vidtr_l', {'clip_shape': (8, 64, 64)}),
  'vtn_vit_b_1x3x40x32x48': ('vtn_b', {}),
  'vtn_vit_b_1x3x12x64x64': ('vtn_b', {}),
}
LARGE = pytest.mark.large
# In float64 with its gradients it takes 9 GB; the logits in float32, 5.
SMALLEST_VIVIT = 'vivit_l16x2_fe_2x3x6x32x48'
SMALLEST = [
  'vidtr_l_2x3x4x32x48',
  'vtn_vit_b_1x3x12x64x64',
]


def load(folder, file, dtype):
  """Loads a model with official weights, and the truth."""
  truth, weights = official.read(folder, file)
  name, options = FILES[file]
  model = nnx.eval_shape(lambda: fj.create_model(name, dtype=dtype, **options))
  # Drawing 350 million values takes longer than the test.
  graphdef, state = nnx.split(model)
  state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
  model = nnx.merge(graphdef, state)
  report = fj.load_torch(model, weights)
  assert not (report.resized or report.left_at_init or report.dropped)
  return model, truth


def activations(model, x, given):
  """Returns the outputs of all parts of a model, by official name.

  [B t h w C] or [B t C] of positions, and [B C] or [B t C] of class tokens.
  """
  if isinstance(model, vidtr.VidTr):
    return vidtr_activations(model, x)
  if isinstance(model, vtn.VTN):
    return vtn_activations(model, x, **given)
  return vivit_activations(model, x)


def vtn_activations(model, x, positions):
  batch, frames, height, width, _ = x.shape
  grid = (batch, frames, height // 16, width // 16, -1)
  stem = model.embeds[0](x.reshape(-1, *x.shape[2:]))
  seen = {'patch_embed': (stem.reshape(grid), None)}

  def split(x):
    return x[:, :, 1:].reshape(grid), x[:, :, 0]

  x = model.patches(x)
  for i, block in enumerate(model.stages[0]):
    x = block(x)
    seen[f'backbone.blocks.{i}'] = split(x)
  x = model.norms[0](x)
  seen['backbone.norm'] = split(x)
  x = model.frames(x[:, :, 0], positions)
  seen['temporal_encoder.embeddings'] = x[:, 1:], x[:, 0]
  for i, layer in enumerate(model.stages[1]):
    x = layer(x)
    seen[f'temporal_encoder.encoder.layer.{i}'] = x[:, 1:], x[:, 0]
  return seen


def vidtr_activations(model, x):
  stem = model.embeds[0](x)
  seen = {'conv_stem': (stem, None)}

  def split(x):
    spatial, temporal = x[:, 1:, 0], x[:, 0, 1:]
    tokens = x[:, 1:, 1:].reshape(stem.shape)
    return tokens, x[:, 0, 0], spatial.mean(axis=1), temporal.mean(axis=1)

  x, table = model.tokens(x)
  for i, block in enumerate(model.stages[0]):
    x, _ = block((x, None if i else table))
    seen[f'encoder.layers.{i}'] = split(x)
  seen['encoder.norm'] = split(model.norms[0](x))
  return seen


def vivit_activations(model, x):
  names = ('SpatialTransformer', 'TemporalTransformer')
  names = names if len(model.stages) > 1 else ('Transformer',)
  x = model.embeds[0](x)
  grid = x.shape[1:-1]
  seen = {'embedding': (x, None)}
  x = x.reshape(len(x), grid[0] if names[1:] else 1, -1, x.shape[-1])
  for i, name in enumerate(names):
    places = grid[:1] if i else grid
    times = places[:-2] if names[1:] and not i else ()

    def split(x, times=times, places=places):
      tokens = x[:, :, 1:].reshape(len(x), *places, x.shape[-1])
      return tokens, x[:, :, 0].reshape(len(x), *times, x.shape[-1])

    x = model.with_positions(i, x, x.shape[2:3], x.shape[2:3])
    for j, block in enumerate(model.stages[i]):
      x = block(x)
      seen[f'{name}/encoderblock_{j}'] = split(x)
    x = model.norms[i](x)
    seen[f'{name}/encoder_norm'] = split(x)
    x = x[:, None, :, 0]
  return seen


def frame_numbers(truth):
  """Returns the frames' numbers in their video, for VTN."""
  numbers = truth.get('position_ids')
  return {} if numbers is None else {'positions': numbers}


def points(x):
  """Returns values at three places. [B T (H W) C] -> [B C 3]."""
  if x.ndim == 5:
    return official.points(x)
  return np.stack([x[:, 0], x[:, x.shape[1] // 2], x[:, -1]], axis=-1)


def assert_same_activations(seen, truth):
  compared = 0
  for key in truth:
    if not key.startswith('act/') or key.endswith('shape'):
      continue
    name, _, kind = key.removeprefix('act/').rpartition('/')
    kinds = ('', '/cls_token', '/spatial_cls', '/temporal_cls')
    number = max(i for i, part in enumerate(kinds) if name.endswith(part))
    name = name.removesuffix(kinds[number])
    if number >= 2:
      assert_close(seen[name][number], truth[key], rtol=1e-6, name=key)
      continue
    x = np.asarray(seen[name][number])
    axes = tuple(range(1, x.ndim - 1))
    ours = {
      'mean': lambda x=x, axes=axes: x.mean(axis=axes),
      'std': lambda x=x, axes=axes: x.std(axis=axes),
      'probe': lambda x=x: points(x),
      'value': lambda x=x: x,
    }[kind]()
    assert_close(ours, truth[key], rtol=1e-6, name=key)
    compared += 1
  assert compared > 5


@pytest.mark.parametrize(
  'file',
  [
    pytest.param(f, marks=pytest.mark.slow if f in SMALLEST else LARGE)
    for f in FILES
  ],
)
def test_everything_agrees_in_float64(parity_folder, file):
  x = official.images(tuple(map(int, file.rsplit('_', 1)[1].split('x'))))
  with jax.enable_x64(True):
    model, truth = load(parity_folder, file, 'float64')
    given = frame_numbers(truth)
    shape = truth['logits'].shape
    cotangent = official.generator('cotangent', shape).standard_normal(shape)
    graphdef, params = nnx.split(model)
    x, params = jax.tree.map(lambda x: jnp.asarray(x, 'float64'), (x, params))
    model = nnx.merge(graphdef, params)  # That in float32 takes 1.4 GB.

    def loss(params, x):
      logits = nnx.merge(graphdef, params)(x, **given)
      return (logits * cotangent).sum(), logits

    @jax.jit
    def compute(params, x):
      gradients = jax.grad(loss, argnums=(0, 1), has_aux=True)
      seen = activations(nnx.merge(graphdef, params), x, given)
      return *gradients(params, x), seen

    (grads, grad_x), logits, seen = compute(params, x)

  assert_close(logits, truth['logits'])
  assert_same_activations(seen, truth)
  norms = np.sqrt(np.square(grad_x).sum(axis=(1, 2, 3)))
  assert_close(norms, truth['grad_input_l2'])
  theirs = np.moveaxis(truth['grad_input_sub7'], 1, -1)
  assert_close(grad_x[:, :, ::7, ::7], theirs)
  norms = official_norms(model, official.flat(grads))
  names = [str(n).replace('/', '.') for n in truth['grad_param_names']]
  assert set(names) == norms.keys()
  ours = np.array([norms[name] for name in names])
  # That of a key's bias is zero but for rounding: softmax ignores it.
  assert_close(ours, truth['grad_param_l2'])


def official_norms(model, gradients):
  """Returns the norm of every gradient by its official name."""
  naming = next(iter(key_names.namings_of(model).values()))
  return {
    key: np.sqrt(np.square(part).sum())
    for name, value in gradients.items()
    for key, part in naming.to_theirs(name, value, model).items()
  }


@pytest.mark.parametrize(
  'file',
  [
    pytest.param(f, marks=pytest.mark.slow if f == SMALLEST_VIVIT else LARGE)
    for f in FILES
  ],
)
def test_logits_agree_to_1e_5_in_float32(parity_folder, file):
  model, truth = load(parity_folder, file, 'float32')
  x = official.images(tuple(map(int, file.rsplit('_', 1)[1].split('x'))))
  given = frame_numbers(truth)
  logits = nnx.jit(lambda model, x: model(x, **given))(model, x)
  np.testing.assert_allclose(logits, truth['logits'], atol=1e-5)


@pytest.mark.parametrize('twin', video_twins.TWINS)
def test_the_tiny_twin_computes_what_it_did_when_the_files_agreed(twin):
  path = pathlib.Path(__file__).parents[1] / 'fixtures/video_transformers.json'
  golden = json.loads(path.read_text())[twin]
  with jax.enable_x64(True):
    ours = video_twins.measure(twin)
  assert_close(ours['logits'], golden['logits'])
  assert_close(ours['input'], golden['input'])
  assert ours['parameters'].keys() == golden['parameters'].keys()
  for name, norm in golden['parameters'].items():
    np.testing.assert_allclose(ours['parameters'][name], norm, 1e-8, 1e-12)


@pytest.mark.parametrize('twin', video_twins.TWINS)
def test_clips_of_other_sizes_are_taken(twin):
  model = nnx.eval_shape(lambda: fj.create_model(twin, 5))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  for shape in ((2, 2, 16, 16, 3), (1, 9, 50, 70, 3)):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert jax.eval_shape(run, state, x).shape == (shape[0], 5)


def test_frame_numbers_move_vtns_logits_and_repeat_after_286():
  model = fj.create_model('vtn_test', 5)
  x = official.images((1, 3, 4, 32, 48))
  near, far, again = (
    np.asarray(model(x, positions=np.array([first]) + np.arange(4)[None]))
    for first in (0, 30, 286)
  )
  assert np.abs(near - far).max() > 1e-6
  np.testing.assert_array_equal(near, model(x))
  np.testing.assert_array_equal(near, again)


def test_vtns_table_of_neither_a_square_nor_these_frames_is_refused():
  model = fj.create_model('vtn_test', 5)
  model.pos_embeds[0] = nnx.Param(jnp.zeros((1, 1 + 5, 16)))
  with pytest.raises(ValueError, match=r'5 patches, neither .*, 2 x 4 patches'):
    model(jnp.zeros((1, 4, 32, 64, 3)))


def test_frames_beyond_nine_reach_vtns_frames_only_through_the_class_token():
  config = vtn.TEST
  layer = vtn.LongformerLayer(config, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).standard_normal((1, 31, 16)).astype(np.float32)
  other = x.copy()
  other[0, 15] += 1
  moved = np.abs(layer(x) - layer(other)).max(axis=(0, 2)) > 1e-6
  expected = np.abs(np.arange(31) - 15) <= 9
  expected[0] = True  # The class token attends to all.
  np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize('twin', video_twins.TWINS)
def test_large_matrices_are_divided_over_the_model_axis(twin):
  config = default_config.base()
  config.sharding, config.mesh.model = 'fsdp+tensor', 2
  config.fsdp_min_size = 0
  mesh = sharding.make_mesh(config)
  model = nnx.eval_shape(lambda: fj.create_model(twin, 5))
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  found = sharding.of_tree(params, config, mesh)
  specs = jax.tree_util.tree_leaves_with_path(found)
  for path, value in specs:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if name.endswith('kernel') and name.startswith('stages'):
      assert set(value.spec) == {'data', 'model'}, name


@pytest.mark.parametrize(
  ('twin', 'draws'),
  [
    # After the embeddings; in each of 2 layers on the weights of frames and of
    # the class token, after attention and the MLP; before the head.
    ('vtn_test', [0.1] * (1 + 2 * 4) + [0.5]),
    # In each of 2 layers on the weights of time and of space, after attention,
    # inside the MLP and after it; before the head.
    ('vidtr_test', [0.1] * 2 * 5 + [0.5]),
    ('video_swin_test', [0.5]),  # Before the head.
    ('timesformer_test', []),
    ('vivit_test', []),
  ],
)
def test_dropout_is_where_the_authors_have_it(twin, draws, monkeypatch):
  shares = []

  def bernoulli(key, share, shape):
    shares.append(round(1 - share, 6))
    return jnp.ones(shape, bool)

  monkeypatch.setattr(jax.random, 'bernoulli', bernoulli)
  model = fj.create_model(twin, 5, drop_path_rate=0.0)
  x = jax.ShapeDtypeStruct((1, 4, 32, 48, 3), jnp.float32)
  jax.eval_shape(lambda x: model(x, True, nnx.Rngs(dropout=0)), x)
  assert shares == draws


def test_a_vidtr_of_16_frames_adds_positions_in_every_block():
  for frames in (8, 16, 32):
    model = fj.create_model('vidtr_test', 5, clip_shape=(frames, 32, 32))
    x = official.images((1, 3, frames, 32, 32))
    before = np.asarray(model(x))
    model.every_position = False
    assert (np.abs(model(x) - before).max() > 1e-6) == (frames == 16)


def test_scenics_drop_path_keeps_the_size_of_kept_branches():
  block = fj.create_model('vivit_test', 5, drop_path_rate=0.5).stages[0][1]
  x = np.ones((64, 3, 2, 16), np.float32)
  y = block.drop_path(x, train=True, rngs=nnx.Rngs(dropout=0))
  assert set(np.unique(y)) == {0, 1}
  # One draw for all moments of a clip.
  assert (np.ptp(y, axis=(1, 2, 3)) == 0).all()
