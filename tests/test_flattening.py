# SPDX-License-Identifier: Apache-2.0
"""Tests of flatten and its inverse against the equations of the paper."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

import flatten_jax as fj

NESTED_16 = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def numbered(num_frames):
  """A clip whose frame t is a single pixel of value t."""
  return np.arange(num_frames).reshape(num_frames, 1, 1, 1)


def test_row_major_reads_like_a_comic_strip():
  image = fj.flatten(numbered(9))[:, :, 0]
  np.testing.assert_array_equal(image, [[0, 1, 2], [3, 4, 5], [6, 7, 8]])


@pytest.mark.parametrize('num_frames', [1, 4, 9, 16, 25])
def test_row_major_follows_equations_2_to_4(num_frames):
  clip = np.random.default_rng(0).random((num_frames, 3, 5, 2), np.float32)
  image = np.asarray(fj.flatten(clip))
  side = round(num_frames**0.5)
  for k in range(num_frames):
    row, column = k // side, k % side
    cell = image[row * 3 : (row + 1) * 3, column * 5 : (column + 1) * 5]
    np.testing.assert_array_equal(cell, clip[k])


def test_nested_16_is_the_papers_table():
  image = fj.flatten(numbered(16), 'nested')[:, :, 0]
  np.testing.assert_array_equal(image, NESTED_16)


@pytest.mark.parametrize(
  ('num_frames', 'a', 'b'), [(16, 2, 2), (36, 3, 2), (64, 4, 2), (81, 3, 3)]
)
def test_nested_follows_equations_5_to_10(num_frames, a, b):
  image = np.asarray(fj.flatten(numbered(num_frames), 'nested'))[:, :, 0]
  for k in range(num_frames):
    n, i = divmod(k, b * b)
    row, column = (n // a) * b + i // b, (n % a) * b + i % b
    assert image[row, column] == k


def test_random_gives_every_clip_its_own_order():
  clips = np.broadcast_to(numbered(16), (64, 16, 1, 1, 1))
  rng = jax.random.key(0)
  orders = np.asarray(fj.flatten(clips, 'random', rng=rng)).reshape(64, 16)
  for order in orders:
    assert sorted(order) == list(range(16))
  assert len({tuple(order) for order in orders}) == 64


def test_the_same_key_gives_the_same_random_order():
  draw = functools.partial(fj.frame_order, 'random', 16, batch=(3,))
  first, again = draw(rng=jax.random.key(1)), draw(rng=jax.random.key(1))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, draw(rng=jax.random.key(2)))


def test_random_uses_the_orders_of_frame_order():
  clips = np.random.default_rng(0).random((2, 9, 2, 3, 1), np.float32)
  rng = jax.random.key(3)
  order = np.asarray(fj.frame_order('random', 9, batch=(2,), rng=rng))
  frames = fj.unflatten(fj.flatten(clips, 'random', rng=rng), 9)
  for clip, reordered, clip_order in zip(clips, frames, order, strict=True):
    np.testing.assert_array_equal(reordered, clip[clip_order])


@pytest.mark.parametrize(
  ('mode', 'num_frames', 'grid'),
  [
    ('row_major', 16, None),
    ('row_major', 8, (2, 4)),
    ('row_major', 7, (1, 7)),
    ('nested', 16, None),
    ('nested', 81, None),
  ],
)
def test_unflatten_undoes_flatten(mode, num_frames, grid):
  shape = (2, 3, num_frames, 4, 6, 3)
  clips = np.random.default_rng(0).random(shape, np.float32)
  images = fj.flatten(clips, mode, grid=grid)
  again = fj.unflatten(images, num_frames, mode, grid=grid)
  np.testing.assert_array_equal(again, clips)


@pytest.mark.parametrize('mode', ['row_major', 'nested'])
def test_frame_order_reads_the_cells_row_by_row(mode):
  image = fj.flatten(numbered(16), mode)
  np.testing.assert_array_equal(fj.frame_order(mode, 16), np.ravel(image))


def test_a_grid_takes_a_number_that_is_not_a_square():
  image = fj.flatten(numbered(8), grid=(2, 4))[:, :, 0]
  np.testing.assert_array_equal(image, [[0, 1, 2, 3], [4, 5, 6, 7]])


@pytest.mark.parametrize('dtype', ['uint8', 'float32', 'bfloat16', 'bool'])
def test_the_dtype_stays(dtype):
  assert fj.flatten(jnp.ones((4, 2, 2, 3), dtype)).dtype == dtype


@pytest.mark.parametrize(
  ('value', 'dtype'),
  [(2**40, 'int64'), (-(2**31) - 1, 'int64'), (2**32, 'uint64')],
)
def test_integers_that_jax_would_change_are_refused(value, dtype):
  clips = np.full((4, 2, 2, 3), value, dtype)
  for call in (fj.flatten, lambda x: fj.unflatten(x[0], 1)):
    with pytest.raises(ValueError, match='do not fit into the 32 bits'):
      call(clips)
    with jax.enable_x64():
      assert (np.asarray(call(clips)) == clips.flat[0]).all()


def test_a_grid_tells_feature_maps_of_three_frames():
  maps = np.zeros((3, 7, 16, 16), np.uint8)
  with pytest.raises(ValueError, match=r'looks like \[\.\.\. C T H W\]'):
    fj.flatten(maps)
  assert fj.flatten(maps, grid=(1, 3)).shape == (7, 48, 16)
  assert fj.flatten(maps, grid=[3, 1]).shape == (21, 16, 16)


@pytest.mark.parametrize(
  ('call', 'words'),
  [
    (lambda: fj.flatten(numbered(15)), ['15', '(3, 5)', '(5, 3)']),
    (lambda: fj.flatten(numbered(9), 'nested'), ['9', '16', '(3, 3)']),
    (lambda: fj.flatten(numbered(8), grid=(3, 3)), ['9 cells', '8', '(2, 4)']),
    (lambda: fj.flatten(numbered(9), 'spiral'), ['spiral', 'row_major']),
    (lambda: fj.flatten(numbered(9), grid=9), ['(rows, columns)', '9']),
    (lambda: fj.flatten(np.zeros((9, 9))), ['T H W C', '[9, 9]']),
    (lambda: fj.flatten(numbered(16), 'nested', grid=(2, 8)), ['(4, 4)']),
    (lambda: fj.unflatten(np.zeros((7, 7, 3)), 9), ['7, 7, 3', '3 x 3']),
    (lambda: fj.unflatten(np.zeros((6, 6, 3)), 9, 'random'), ['argsort']),
  ],
)
def test_errors_name_the_input_and_the_choices(call, words):
  with pytest.raises(ValueError) as error:
    call()
  for word in words:
    assert word in str(error.value)


def test_random_needs_a_key():
  with pytest.raises(TypeError, match='rng'):
    fj.flatten(numbered(9), 'random')


@pytest.mark.parametrize('mode', ['row_major', 'nested', 'random'])
def test_a_sharded_batch_keeps_its_sharding(mode):
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  sharding = NamedSharding(mesh, PartitionSpec('data'))
  clips = np.random.default_rng(0).random((8, 16, 6, 6, 3), np.float32)
  flatten = functools.partial(fj.flatten, mode=mode, rng=jax.random.key(0))
  images = jax.jit(flatten)(jax.device_put(clips, sharding))
  assert images.sharding.is_equivalent_to(sharding, images.ndim)
  np.testing.assert_array_equal(images, flatten(clips))


@pytest.mark.parametrize('mode', ['row_major', 'nested'])
def test_flattening_fuses_with_normalization(mode):
  def normalize_and_flatten(clips):
    return fj.flatten(clips.astype(jnp.float32) / 255 - 0.5, mode)

  clips = jax.ShapeDtypeStruct((2, 16, 8, 8, 3), jnp.uint8)
  program = jax.jit(normalize_and_flatten).lower(clips).compile().as_text()
  entry = program[program.index('\nENTRY') :]
  assert entry.count(' = ') == 2  # The parameter and one fused loop.
  assert entry.count(' fusion(') == 1


def snake(num_frames, grid):
  """Boustrophedon: every other row from right to left."""
  cells = np.arange(num_frames).reshape(grid)
  cells[1::2] = cells[1::2, ::-1]
  return cells.ravel()


def test_a_custom_layout_orders_the_frames():
  image = fj.flatten(numbered(9), snake)[:, :, 0]
  np.testing.assert_array_equal(image, [[0, 1, 2], [5, 4, 3], [6, 7, 8]])
  image = fj.flatten(numbered(8), snake, grid=(2, 4))[:, :, 0]
  np.testing.assert_array_equal(image, [[0, 1, 2, 3], [7, 6, 5, 4]])


def test_a_custom_layout_by_path_is_undone_by_unflatten():
  clips = np.random.default_rng(0).random((2, 3, 9, 2, 4, 1), np.float32)
  name = f'{__name__}:snake'
  images = fj.flatten(clips, name)
  np.testing.assert_array_equal(images, fj.flatten(clips, snake))
  np.testing.assert_array_equal(fj.unflatten(images, 9, name), clips)
  model = fj.Flattened(lambda images: images, name)
  np.testing.assert_array_equal(jax.jit(model)(clips), images)


@pytest.mark.parametrize(
  ('layout', 'words'),
  [
    (lambda num_frames, grid: [0] * num_frames, 'each of the frames 0 to 8'),
    ('no_such_module:snake', "'no_such_module' cannot be imported"),
    ('math:snake', "math has no function 'snake'"),
  ],
)
def test_a_wrong_custom_layout_is_refused(layout, words):
  with pytest.raises(ValueError, match=words):
    fj.flatten(numbered(9), layout)


def test_a_model_of_clips_is_not_flattened():
  model = nnx.eval_shape(lambda: fj.create_model('vivit_test'))
  with pytest.raises(TypeError, match='ViViT takes clips as they are'):
    fj.Flattened(model)
