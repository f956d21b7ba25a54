# SPDX-License-Identifier: Apache-2.0
"""Weights of image networks in the names of timm, and of their authors."""

from flax import nnx, traverse_util
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models.weights import conversion

# Model, names -> some of them, in the files that were published.
NAMES = {
  ('vit_test', 'timm'): {
    'blocks.1.attn.qkv.bias': (48,),
    'blocks.0.mlp.fc2.weight': (16, 64),
    'patch_embed.proj.weight': (16, 3, 8, 8),
    'pos_embed': (1, 17, 16),
    'head.weight': (5, 16),
  },
  ('vit_test', 'google'): {
    'cls': (1, 1, 16),
    'embedding.kernel': (8, 8, 3, 16),
    'Transformer.encoderblock_1.LayerNorm_2.scale': (16,),
    'Transformer.encoderblock_0.MlpBlock_3.Dense_1.kernel': (64, 16),
    'Transformer.encoderblock_0.MultiHeadDotProductAttention_1.key.kernel': (
      (16, 2, 8)
    ),
    'Transformer.posembed_input.pos_embedding': (1, 17, 16),
  },
  ('vit_test', 'hugging_face'): {
    'vit.encoder.layer.1.attention.attention.query.weight': (16, 16),
    'vit.layernorm.bias': (16,),
    'classifier.bias': (5,),
  },
  ('convnext_test', 'timm'): {
    'stem.0.weight': (4, 3, 4, 4),
    'stages.1.downsample.0.bias': (4,),
    'stages.1.blocks.1.conv_dw.weight': (8, 1, 7, 7),
    'stages.3.blocks.0.mlp.fc1.weight': (128, 32),
    'stages.3.blocks.0.gamma': (32,),
    'head.norm.weight': (32,),
    'head.fc.bias': (5,),
  },
  ('convnext_test', 'facebook'): {
    'downsample_layers.0.0.weight': (4, 3, 4, 4),
    'downsample_layers.1.1.weight': (8, 4, 2, 2),
    'stages.1.1.dwconv.weight': (8, 1, 7, 7),
    'stages.3.0.pwconv2.weight': (32, 128),
    'norm.weight': (32,),
    'head.bias': (5,),
  },
  ('efficientnet_lite_test', 'timm'): {
    'conv_stem.weight': (4, 3, 3, 3),
    'blocks.0.0.conv_dw.weight': (4, 1, 3, 3),
    'blocks.0.0.conv_pw.weight': (4, 4, 1, 1),
    'blocks.1.0.conv_pwl.weight': (4, 24, 1, 1),
    'blocks.1.1.bn3.running_var': (4,),
    'bn2.weight': (16,),
    'classifier.weight': (5, 16),
  },
}


def noisy(name, classes=5, **options):
  """Returns a model with no two equal values."""
  model = fj.create_model(name, classes, **options)
  rng = np.random.default_rng(0)
  drawn = {
    path: rng.standard_normal(x.shape).astype(np.float32)
    for path, x in conversion._tensors(model).items()
  }
  nnx.update(model, traverse_util.unflatten_dict(drawn))
  return model


def same(a, b):
  a, b = conversion._tensors(a), conversion._tensors(b)
  assert a.keys() == b.keys()
  return all(np.array_equal(a[path], b[path]) for path in a)


@pytest.mark.parametrize(('name', 'naming'), NAMES)
def test_every_tensor_returns_by_the_names_of_its_publisher(name, naming):
  model, other = noisy(name), fj.create_model(name, 5)
  state = fj.export_torch(model, naming=naming)
  for key, shape in NAMES[name, naming].items():
    assert state[key].shape == shape, key
  report = fj.load_torch(other, state)
  assert same(model, other)
  assert not report.resized + report.left_at_init + report.dropped


def test_googles_file_of_arrays_loads(tmp_path):
  model, other = noisy('vit_test'), fj.create_model('vit_test', 5)
  state = fj.export_torch(model, naming='google')
  arrays = {key.replace('.', '/'): value for key, value in state.items()}
  np.savez(tmp_path / 'S_16.npz', **arrays)
  fj.load_torch(other, tmp_path / 'S_16.npz')
  assert same(model, other)


def test_a_table_of_another_size_computes_the_same_at_the_new_size():
  model = noisy('vit_test')
  state = fj.export_torch(model)
  larger = fj.create_model('vit_test', 5, size=48)
  with pytest.raises(ValueError, match=r"allow=\{'positions'\}"):
    fj.load_torch(larger, state)
  report = fj.load_torch(larger, state, allow={'positions'})
  assert report.resized == ('pos_embed',)
  assert larger.pos_embed.shape == (1, 37, 16)
  x = np.random.default_rng(1).standard_normal((1, 48, 48, 3), np.float32)
  np.testing.assert_allclose(larger(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_file_without_a_head_leaves_it_if_allowed():
  """As DINO's; and as old ones of ImageNet-21k, with a layer before it."""
  state = fj.export_torch(noisy('vit_test'))
  bare = {k: v for k, v in state.items() if not k.startswith('head')}
  model = fj.create_model('vit_test', 3)
  with pytest.raises(ValueError, match=r"allow=\{'new_head'\}"):
    fj.load_torch(model, bare)
  report = fj.load_torch(model, bare, allow={'new_head'})
  assert report.left_at_init == ('head.bias', 'head.kernel')
  hidden = {'pre_logits.fc.weight': np.ones((16, 16), np.float32)}
  report = fj.load_torch(model, state | hidden, allow={'new_head'})
  assert report.dropped == ('pre_logits.fc.weight',)
  with pytest.raises(ValueError, match=r'Only in the file: pre_logits'):
    fj.load_torch(noisy('vit_test'), state | hidden, allow={'new_head'})


def test_a_broken_file_is_not_one_without_a_head():
  state = fj.export_torch(noisy('vit_test'))
  broken = {k: v for k, v in state.items() if not k.startswith(('head', 'cls'))}
  with pytest.raises(ValueError, match='Only in the model: cls_token'):
    fj.load_torch(fj.create_model('vit_test', 5), broken, allow={'new_head'})
