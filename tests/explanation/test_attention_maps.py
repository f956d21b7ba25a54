# SPDX-License-Identifier: Apache-2.0
"""Attention between frames, and of class tokens, is that of the network."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.explanation import attention_maps
from flatten_jax.models.layers import attention, attention_weights
from flatten_jax.runtime import preprocess
from tests.support import official

CLIPS = official.images((1, 3, 4, 32, 48))
BY_FRAME = functools.partial(attention_maps.frame_shares, grid=(1, 1))
# Twin -> rows of attention between frames, and positions in time.
ROWS = {
  'timesformer_test': (4, 4),
  'vivit_test': (3, 2),  # A class token, and two tubelets of two frames.
  'vivit_fe_test': (3, 2),
  'vidtr_test': (5, 4),
  'vtn_test': (5, 4),
}


def draw(*shape):
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def twin(name):
  """Returns a model whose attention is far from uniform."""
  model = fj.create_model(name, num_classes=3)
  graphdef, state = nnx.split(model)
  grown = jax.tree_util.tree_map_with_path(
    lambda path, x: 5 * x if 'qkv' in str(path) else x, state
  )
  return nnx.merge(graphdef, grown)


def weights(qkv):
  """Returns attention by its definition. [B N 3 h D] -> [B h N N]."""
  q, k = qkv[:, :, 0], qkv[:, :, 1]
  logits = jnp.einsum('bqhd,bkhd->bhqk', q, k) * q.shape[-1] ** -0.5
  return np.asarray(jax.nn.softmax(logits))


@pytest.mark.parametrize('name', ROWS)
def test_frames_attend_to_frames_and_a_token_to_places(name):
  model, (rows, times) = twin(name), ROWS[name]
  blocks = model.frame_attention(CLIPS, BY_FRAME)
  assert list(blocks) == ['1', '2']
  for matrix in blocks.values():
    assert matrix.shape == (rows, rows)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
  heat = model.token_attention(CLIPS)
  assert heat.shape == (1, times, 2, 3)
  assert heat.min() > 0 and heat.sum() < (times if rows == times else 1)


def test_groups_attend_as_the_mean_of_their_positions():
  qkv = draw(2, 4, 3, 5, 8)
  shares = np.array([[1, 0], [1, 0], [0.5, 0.5], [0, 1]])
  exact = weights(qkv).mean(axis=(0, 1))
  expected = (shares / shares.sum(axis=0)).T @ exact @ shares
  found = attention_weights.between_groups(qkv, shares)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  first = attention_weights.of_first(qkv)
  np.testing.assert_allclose(first, weights(qkv)[:, :, 0, 1:].mean(1), 1e-5)


def test_positions_across_frames_are_shared():
  shares = attention_maps.frame_shares((3, 2), (2, 2))
  np.testing.assert_allclose(shares.sum(axis=1), 1)
  np.testing.assert_allclose(shares[2], [0.5, 0, 0.5, 0])  # The middle row.


def test_uniformers_frames_attend_to_the_positions_of_frames():
  model = twin('uniformer_test')
  block, x = model.stages[2][0], draw(1, 4, 4, 16)
  shares = attention_maps.frame_shares((4, 4), (2, 2))
  found = block.weights_between(x, shares)
  qkv = block.qkv_heads(block.norm1(x + block.pos(x)))
  # Values are one-hot frames; heads have 8 channels.
  values = np.pad(shares, ((0, 0), (0, 4)))[None, :, None]
  qkv = qkv.at[:, :, 2].set(jnp.broadcast_to(values, qkv[:, :, 2].shape))
  given = attention.attention(qkv)[0].mean(axis=1)[:, :4]  # [N F]
  expected = [given[shares[:, f] == 1].mean(axis=0) for f in range(4)]
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_vivits_joint_token_attends_to_tubelets_in_their_order():
  model = twin('vivit_test')
  block, x = model.inputs_of_blocks(CLIPS)[-1]
  exact = weights(block.qkv_heads(block.norm1(x))).mean(axis=1)[0]
  heat = np.asarray(model.token_attention(CLIPS))[0]
  np.testing.assert_allclose(heat, exact[0, 1:].reshape(2, 2, 3), rtol=1e-5)
  frames = model.frame_attention(CLIPS, BY_FRAME)['2']
  np.testing.assert_allclose(frames[0, 1:], heat.sum(axis=(1, 2)), rtol=1e-5)


def test_vidtrs_corner_attends_to_what_its_value_is_made_of():
  model = twin('vidtr_test')
  block, state = model.inputs_of_blocks(CLIPS)[-1]
  qkv = block.grid_heads(block.with_positions(*state))  # [1 5 7 3 h D]
  in_time = weights(qkv[0].swapaxes(0, 1))  # [7 h 5 5]
  in_space = weights(qkv[0])  # [5 h 7 7]
  exact = np.einsum('hc,chr->rc', in_space[0, :, 0], in_time[:, :, 0]) / 2
  heat = model.token_attention(CLIPS)[0].reshape(4, 6)
  np.testing.assert_allclose(heat, exact[1:, 1:], rtol=1e-5)
  np.testing.assert_allclose(exact.sum(), 1, rtol=1e-5)


def test_vtns_frames_attend_to_nine_on_each_side():
  clips = np.repeat(CLIPS, 6, axis=1)
  matrix = np.asarray(twin('vtn_test').frame_attention(clips, BY_FRAME)['1'])
  assert matrix.shape == (25, 25)
  distance = np.abs(np.arange(24)[:, None] - np.arange(24))
  np.testing.assert_array_equal(matrix[1:, 1:] > 0, distance <= 9)
  assert (matrix[0] > 0).all() and (matrix[:, 0] > 0).all()


def test_a_vits_token_attends_to_the_patches_of_a_flattened_image():
  model, image = twin('vit_test'), fj.flatten(CLIPS[..., :32, :])
  block, x = model.inputs_of_blocks(image)[-1]
  exact = weights(block.qkv_heads(block.norm1(x))).mean(axis=1)[0]
  heat = np.asarray(model.token_attention(image))[0]
  np.testing.assert_allclose(heat, exact[0, 1:].reshape(8, 8), rtol=1e-5)
  by_cell = functools.partial(attention_maps.frame_shares, grid=(2, 2))
  blocks = model.frame_attention(image, by_cell)
  assert list(blocks) == ['1', '2']
  of_cells = heat.reshape(2, 4, 2, 4).sum(axis=(1, 3)).ravel()
  np.testing.assert_allclose(blocks['2'][0, 1:], of_cells, rtol=1e-5)


def test_frames_of_a_layout_are_sorted_behind_the_token():
  cells = np.arange(9).reshape(3, 3)
  order = np.array([1, 0])
  sorted_ = [[0, 2, 1], [6, 8, 7], [3, 5, 4]]
  np.testing.assert_array_equal(attention_maps.in_order(cells, order), sorted_)
  frames = attention_maps.in_order(cells[1:, 1:], order)
  np.testing.assert_array_equal(frames, [[8, 7], [5, 4]])


@pytest.mark.parametrize('method', ['token_attention', 'frame_attention'])
def test_vtns_attention_depends_on_the_numbers_of_the_frames(method):
  model = twin('vtn_test')
  options = {'shares': BY_FRAME} if method == 'frame_attention' else {}
  first, same, other = (
    jax.tree.leaves(preprocess.call(model, inputs, method, **options))[0]
    for inputs in (
      {'images': CLIPS},
      {'images': CLIPS, 'positions': np.arange(4)[None]},
      {'images': CLIPS, 'positions': np.array([[0, 8, 16, 25]])},
    )
  )
  np.testing.assert_array_equal(first, same)
  assert (first != other).any()


@pytest.mark.parametrize(
  'name', ['resnet', 'swinv2', 'convnext', 'uniformer_light', 'video_swin']
)
def test_not_all_models_have_attention_between_frames(name):
  model = nnx.eval_shape(lambda: fj.create_model(f'{name}_test'))
  assert not model.frame_attention and not model.token_attention
