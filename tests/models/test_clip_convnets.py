# SPDX-License-Identifier: Apache-2.0
"""Tests of the layers and the input of convolutional video models."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import flatten_jax as fj
from flatten_jax import models
from flatten_jax.models import motion_squeeze, slowfast, tdn, two_stream
from flatten_jax.models.layers import correlation, non_local
from tests.support import convnets, official


def trace(name, shape, **options):
  """Calls a model without computing anything."""
  model = nnx.eval_shape(lambda: fj.create_model(name, 5, **options))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  jax.eval_shape(run, state, jax.ShapeDtypeStruct(shape, np.float32))


def test_slow_frames_are_rounded_down_and_reach_the_last():
  for frames, expected in (
    (8, [0, 7]),
    (16, [0, 5, 10, 15]),
    (32, [0, 4, 8, 13, 17, 22, 26, 31]),
  ):
    found = slowfast.slow_frames(frames, 4)
    np.testing.assert_array_equal(found, expected)
  found = slowfast.slow_frames(64, 4)
  np.testing.assert_array_equal(found[:8], [0, 4, 8, 12, 16, 21, 25, 29])


def test_several_positions_average_probabilities():
  model = fj.create_model('i3d_test', 5)
  rng = np.random.default_rng(0)
  maps = 3 * rng.standard_normal((1, 2, 2, 3, 128), np.float32)
  halves = [maps[:, :, :, i : i + 2] for i in (0, 1)]
  expected = np.mean(
    [convnets.softmax(model.classify(x)) for x in halves], axis=0
  )
  found = model.classify(maps)
  np.testing.assert_allclose(convnets.softmax(found), expected, rtol=1e-5)
  np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)


NONE = {'non_local': ((), (), (), ())}
LONG = {'stride': 2, 'stem_pad': 0, 'clip_shape': (8, 64, 64)}


@pytest.mark.parametrize(
  ('name', 'options', 'least'),
  [
    ('slowfast_test', {}, (2, 17)),
    ('slowfast_test', {'key_pool': (2, 2, 2)}, (4, 17)),
    ('slowfast_test', NONE, (2, 1)),
    ('i3d_test', {}, (2, 17)),
    ('i3d_test', NONE, (2, 1)),
    ('i3d_test', LONG, (7, 21)),
    ('i3d_test', LONG | NONE, (7, 5)),
    ('i3d_test', LONG | {'key_pool': (2, 3, 2)}, (15, 37)),
  ],
)
def test_every_layer_has_positions_from_the_least_clip_on(name, options, least):
  model = nnx.eval_shape(lambda: fj.create_model(name, 5, **options))
  graphdef, state = nnx.split(model)

  def run(frames, side):
    clip = jax.ShapeDtypeStruct((1, frames, side, side, 3), np.float32)
    call = lambda state, x: nnx.merge(graphdef, state).features(x)  # noqa: E731
    return jax.eval_shape(call, state, clip)

  frames, side = least
  assert min(run(*least).shape) > 0
  taken = functools.partial(models.takes_size, {'name': name, **options})
  assert taken(side, side) and (side == 1 or not taken(side - 1, side))
  fewer = frames - (2 if name == 'slowfast_test' else 1)
  message = f'{frames} frames or more, of {side} px or more'
  for smaller in ((fewer, side), (frames, side - 1)):
    if min(smaller) > 0:
      with pytest.raises(ValueError, match=message):
        run(*smaller)


@pytest.mark.parametrize('softmax', [True, False])
def test_many_weights_of_a_non_local_block_are_computed_in_parts(
  monkeypatch, softmax
):
  rng = np.random.default_rng(0)
  q, k, v = (rng.standard_normal((2, n, 8), np.float32) for n in (50, 20, 20))

  def loss(*args):
    return (non_local.attend(*args, softmax=softmax) ** 2).sum()

  results = []
  for size in (non_local._BLOCK_SIZE, 300):
    monkeypatch.setattr(non_local, '_BLOCK_SIZE', size)
    jax.clear_caches()
    program = jax.make_jaxpr(jax.grad(loss))(q, k, v)
    assert ('f32[2,50,20]' in str(program)) == (size > 300)
    results.append(jax.value_and_grad(loss, (0, 1, 2))(q, k, v))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    *results,
  )


def test_frames_that_groups_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='temporal_groups=3'):
    trace('i3d_test', (1, 4, 64, 64, 3), temporal_groups=3)


def test_temporal_groups_attend_within_themselves():
  model = fj.create_model('i3d_test', 5, temporal_groups=2)
  block = model.stages[1][1].non_local
  block.norm.scale.set_value(block.norm.scale + 1)
  rng = np.random.default_rng(0)
  x = rng.standard_normal((1, 4, 4, 4, block.norm.scale.shape[0]), np.float32)
  other = x.copy()
  other[:, 3] += 1
  moved = np.abs(block(x) - block(other)).max(axis=(0, 2, 3, 4)) > 0
  np.testing.assert_array_equal(moved, [False, False, True, True])


@pytest.mark.parametrize(
  'multi_label, activation',
  [(False, scipy.special.softmax), (True, scipy.special.expit)],
)
def test_windows_of_a_larger_frame_are_averaged_as_probabilities(
  multi_label, activation
):
  model = fj.create_model('slowfast_test', 4, clip_shape=(4, 64, 64))
  model.multi_label = multi_label
  model.head.bias.set_value(jnp.array([6.0, 5.0, -6.0, 3.0]))
  clips = official.images((1, 3, 4, 96, 96))
  windows = model.head(model.windows(model.features(clips))).reshape(-1, 4)
  assert len(windows) == 4
  options = {} if multi_label else {'axis': -1}
  expected = activation(np.asarray(windows), **options).mean(0)
  found = activation(np.asarray(model(clips)[0]), **options)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  one = clips[:, :, :64, :64]
  np.testing.assert_array_equal(
    model(one), model.head(model.windows(model.features(one)))[:, 0, 0, 0]
  )


def test_a_clip_shape_below_one_position_is_refused():
  for name in ('slowfast_test', 'i3d_test'):
    with pytest.raises(ValueError, match='clip_shape must be'):
      fj.create_model(name, 5, clip_shape=(4, 16, 64))


def test_averaged_is_the_mean_of_the_logits_of_frames():
  model = fj.create_model('resnet_test', 5)
  clips = official.images((2, 3, 3, 32, 32))
  frames = [model(clips[:, t]) for t in range(3)]
  found = fj.Averaged(model)(clips)
  np.testing.assert_allclose(found, np.mean(frames, axis=0), atol=1e-6)
  for bad in (clips[0], clips[:, :0]):
    with pytest.raises(ValueError, match='Averaged takes clips'):
      fj.Averaged(model)(bad)
  with pytest.raises(TypeError, match='callable model'):
    fj.Averaged('resnet50')


def test_tsn_is_averaged_with_names_of_its_own():
  image, video = (
    fj.create_model('resnet_test', 5),
    fj.create_model('tsn_test', 5),
  )
  weights = {
    f'base_model.{k}'.replace('base_model.fc', 'new_fc'): v
    for k, v in fj.export_torch(image).items()
  }
  fj.load_torch(video, weights)
  clips = official.images((2, 3, 3, 32, 32))
  found, expected = video(clips), fj.Averaged(image)(clips)
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
  ('name', 'shape', 'message'),
  [
    ('slowfast_test', (1, 5, 32, 32, 3), 'multiple of 2 frames'),
    ('slowfast_test', (1, 4, 16, 32, 3), '2 frames or more, of 17 px or more'),
    ('i3d_test', (1, 1, 32, 32, 3), '2 frames or more, of 17 px.*1 x 32 x 32'),
    ('i3d_test', (1, 4, 16, 16, 3), '17 px or more; got 4 x 16 x 16'),
    ('tdn_test', (1, 8, 64, 64, 3), '5 neighboring frames'),
    ('tdn_test', (1, 10, 32, 64, 3), '33 px or more'),
    ('motion_squeeze_test', (1, 1, 64, 64, 3), 'two frames or more'),
    ('bn_inception_test', (1, 64, 48, 3), 'multiples of 32 px'),
    ('two_stream_test', (1, 128, 64, 3), 'sides of 57 to 72 px'),
    ('tsn_bninception_flow', (1, 3, 64, 64, 3), r'clips \[B T H W 10\]'),
  ],
)
def test_inputs_that_do_not_fit_are_refused(name, shape, message):
  with pytest.raises(ValueError, match=message):
    trace(name, shape)


def test_a_two_stream_network_takes_sides_with_its_last_map():
  sides = [n for n in range(180, 260) if two_stream.map_side(n) == 6]
  assert sides == list(range(201, 233))


def test_correlation_multiplies_with_neighbors_by_row_then_column():
  rng = np.random.default_rng(0)
  x, other = rng.standard_normal((2, 1, 3, 4, 5)).astype(np.float32)
  found = np.asarray(correlation.correlation(x, other))
  assert found.shape == (1, 3, 4, 225)
  expected = np.zeros((3, 4, 15, 15))
  for y, z, i, j in np.ndindex(3, 4, 15, 15):
    row, column = y + i - 7, z + j - 7
    if 0 <= row < 3 and 0 <= column < 4:
      expected[y, z, i, j] = x[0, y, z] @ other[0, row, column]
  np.testing.assert_allclose(
    found[0].reshape(3, 4, 15, 15), expected, atol=1e-5
  )


def test_a_clip_that_moves_has_a_displacement():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((1, 20, 20, 32)).astype(np.float32)
  x = x / np.linalg.norm(x, axis=-1, keepdims=True)
  moved = np.roll(x, (2, -3), axis=(1, 2))  # Down 2, left 3.
  found = correlation.correlation(x, moved)
  flow = np.asarray(motion_squeeze.displacement(found))[0, 8:12, 8:12]
  np.testing.assert_allclose(flow[..., 0], -3 / 7, atol=0.02)
  np.testing.assert_allclose(flow[..., 1], 2 / 7, atol=0.02)
  np.testing.assert_allclose(flow[..., 2], 1, atol=1e-5)


def test_channels_are_shifted_by_one_frame_with_zeros_at_the_ends():
  x = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1, 1, 1).repeat(8, -1)
  found = np.asarray(motion_squeeze.shift_frames(x))[0, :, 0, 0]
  np.testing.assert_array_equal(found[:, 0], [2, 3, 0])
  np.testing.assert_array_equal(found[:, 1], [0, 1, 2])
  np.testing.assert_array_equal(found[:, 2:], x[0, :, 0, 0, 2:])
  learned = np.asarray(tdn.Shift(8, dtype=np.float32)(x))[0, :, 0, 0]
  np.testing.assert_array_equal(learned, found)


def test_first_kernels_are_of_their_authors():
  mixed = fj.create_model('i3d_inception_test', 5).stages[0][0]
  kernel = mixed.three1.conv.kernel[...] * np.sqrt(27 * 2)
  assert 0.7 < np.std(kernel) < 1.05 and np.abs(kernel).max() <= 2
  for options, std in (({}, 2 / 16), ({'non_local_std': 0.01}, 1e-4)):
    block = fj.create_model('i3d_test', 5, **options).stages[1][1].non_local
    np.testing.assert_allclose(np.var(block.theta.kernel), std, rtol=0.2)


def test_tdn_weighs_differences_by_the_segments_of_the_clip():
  clips = np.random.default_rng(0).random((1, 40, 33, 33, 3), np.float32)
  of_clip, of_8, of_2 = (
    fj.create_model('tdn_test', 5, segments=segments).features(clips)
    for segments in (0, 8, 2)
  )
  np.testing.assert_array_equal(of_clip, of_8)
  assert np.abs(of_clip - of_2).max() > 1e-3
