# SPDX-License-Identifier: Apache-2.0
"""Tests of what every model of the list promises.

Each tiny twin is compiled once to evaluate, and once to train.
"""

import copy
import functools

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models
from flatten_jax.models import MODELS
from tests.support import convnets

PARAMETERS = {  # With 400 classes.
  'bn_inception': 10_680_240,
  'convnext_small': 49_762_288,
  'convnext_tiny': 28_127_728,
  'efficientnet_lite0': 3_883_408,
  'efficientnet_lite1': 4_648_080,
  'efficientnet_lite2': 5_323_472,
  'i3d_inception': 12_697_264,
  'i3d_r101_nl': 59_112_656,
  'i3d_r101_nl_long359': 54_394_064,
  'i3d_r50': 28_043_472,
  'i3d_r50_nl': 35_401_936,
  'motion_squeeze_r50': 24_398_537,
  'resnet50': 24_327_632,
  'resnet101': 43_319_760,
  'slowfast_r50': 34_566_488,
  'slowfast_r101': 53_774_808,
  'slowfast_r101_nl': 60_080_088,
  'swinv2_t': 27_885_754,
  'tdn_r50': 24_873_648,  # Without the stem that the file has and nothing uses.
  'timesformer_b': 121_566_352,
  'timesformer_hr': 122_024_080,
  'timesformer_l': 121_633_936,
  'uniformer3d_s': 21_400_400,
  'uniformer3d_xxs': 9_833_896,
  'uniformer_s': 21_237_456,
  'uniformer_xxs': 9_382_696,
  'uniformer_xxs_light': 9_676_480,
  'video_swin_b': 88_048_984,
  'video_swin_t': 28_158_070,
  'vidtr_l': 91122832,
  'vit_base_patch16_224': 86_106_256,
  'vit_small_patch16_224': 21_819_664,
  'vivit_b': 88_954_000,
  'vivit_l': 307_508_624,
}

TWINS = [name for name in fj.list_models() if name.endswith('_test')]
# Gradients and statistics of the others are held by their goldens.
TRAINED = [name for name in TWINS if name not in convnets.TWINS] + ['tsn_test']
WITH_BATCH_NORM = ('efficientnet', 'resnet', 'tsn', 'uniformer')

# Depth and width change no shape; channels, windows and clips of the paper do.
OF_EACH_SHAPE = (
  *TWINS,
  'slowfast_r50',
  'swinv2_t',
  'tsn_bninception_flow',
  'two_stream_spatial',
  'two_stream_temporal',
  'uniformer_nano',
  'uniformer3d_nano',
)


def inputs(name, side=64, batch=2):
  """Images, or clips for the models that take them."""
  time = (10 if 'tdn' in name else 2,) if models.takes_clips(name) else ()
  shape = (batch, *time, side, side, 3)
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def batch(name):
  """Returns a training batch; others have one window, or key."""
  large = ('swin', 'tdn', 'two_stream', 'i3d_test')
  side = 64 if any(part in name for part in large) else 32
  return inputs(name, side=side, batch=8)


def of_two_maps(name):
  """Returns frames of a clip that lead to feature maps of two moments."""
  for start, frames in (
    ('tdn', 10),
    (('tsn', 'motion_squeeze'), 2),
    ('slowfast_r', 8),
    (('i3d_r101_nl_long', 'i3d_inception'), 16),
  ):
    if name.startswith(start):
      return frames
  return 4


@functools.cache
def evaluate(name, dtype='float32'):
  """Returns features, their logits, and those of the model: one program."""
  graphdef, state = nnx.split(fj.create_model(name, 5, dtype=dtype))

  @jax.jit
  def run(state, x):
    model = nnx.merge(graphdef, state)
    features = model.features(x)
    return features, model.classify(features), model(x)

  return run(state, inputs(name))


@functools.cache
def training(name, remat=False):
  """Returns parameters, running statistics, and a program to train with them.

  The program takes parameters, images and a seed; it returns the gradient,
  logits of all heads [n B K] and the updated statistics.
  """
  model = fj.create_model(name, 5, drop_path_rate=0.5, remat=remat)
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  # Away from the zeros of SwinV2, which stop gradients.
  params = jax.tree.map(lambda x: x + 0.01, params)

  @jax.jit
  def run(params, x, seed):
    def loss(params):
      model = nnx.merge(graphdef, params, stats, copy=True)
      rngs = nnx.Rngs(dropout=jax.random.key(seed))
      logits = jnp.stack(jax.tree.leaves(model(x, train=True, rngs=rngs)))
      losses = jnp.square(jax.nn.log_softmax(logits)[..., 0])
      return losses.sum(), (logits, nnx.state(model, nnx.BatchStat))

    return jax.grad(loss, has_aux=True)(params)

  return params, stats, run


@functools.cache
def trained(name, seed=1, remat=False):
  """Returns the gradient, logits and statistics of one training batch."""
  params, _, run = training(name, remat)
  return run(params, batch(name), seed)


def test_the_list_names_every_model():
  assert fj.list_models() == sorted(models.MODELS)
  assert {'uniformer_s', 'uniformer_xxs', 'uniformer_nano'} <= set(
    models.MODELS
  )


@pytest.mark.parametrize('name', PARAMETERS)
def test_published_sizes(name):
  model = nnx.eval_shape(lambda: fj.create_model(name))
  params = jax.tree.leaves(nnx.state(model, nnx.Param))
  assert sum(x.size for x in params) == PARAMETERS[name]


@pytest.mark.parametrize('name', OF_EACH_SHAPE)
def test_shapes_of_logits_and_features(name):
  model = nnx.eval_shape(lambda: fj.create_model(name, num_classes=7))
  graphdef, state = nnx.split(model)

  def run(state, x):
    model = nnx.merge(graphdef, state)
    features = model.features(x)
    return features, model.classify(features), model(x)

  clips, image, places = models.takes_clips(name), (256, 128), (8, 4)
  if name.startswith('two_stream'):  # Of one size only.
    test = name.endswith('_test')
    image, places = ((64, 64), (1, 1)) if test else ((224, 210), (6, 6))
  given, left = ((of_two_maps(name),), (2,)) if clips else ((), ())
  (batch,) = jax.export.symbolic_shape('b')  # As in an exported program.
  shape = (batch, *given, *image, model.in_channels)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  features, classified, logits = jax.eval_shape(run, state, x)
  token = not MODELS[name].module.has_feature_map
  assert features.shape[:-1] == (batch, *(() if token else (*left, *places)))
  assert classified.shape == logits.shape == (batch, 7)
  assert logits.dtype == jnp.float32


@pytest.mark.parametrize('name', TWINS)
def test_the_model_is_features_then_classify(name):
  _, classified, logits = evaluate(name)
  np.testing.assert_allclose(classified, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', TRAINED)
def test_every_parameter_gets_a_gradient(name):
  gradient, _ = trained(name)
  dead = {
    jax.tree_util.keystr(path)
    for path, grad in jax.tree_util.tree_leaves_with_path(gradient)
    if not np.any(grad)
  }
  if name == 'vtn_test':  # Its class token, the only output, has its own.
    dead -= {
      f"['stages'][1][1]['qkv']['{k}'].value" for k in ('bias', 'kernel')
    }
  assert not dead


@pytest.mark.parametrize('name', TRAINED)
def test_training_updates_every_running_statistic(name):
  before = jax.tree.leaves(training(name)[1])
  assert bool(before) == name.startswith(WITH_BATCH_NORM)
  _, (_, after) = trained(name)
  for a, b in zip(before, jax.tree.leaves(after), strict=True):
    assert (np.asarray(a) != np.asarray(b)).all()


def test_a_batch_on_eight_devices_gives_the_gradient_of_one():
  params, _, run = training('uniformer_test')
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  x = batch('uniformer_test')
  spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec('data')))
  copied = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
  one, eight = trained('uniformer_test'), run(copied, spread, 1)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', TRAINED)
def test_drop_path_follows_its_seed(name):
  params, _, run = training(name)
  again = run(params, batch(name), 1)
  first, again, other = (
    np.asarray(logits)
    for _, (logits, _) in (trained(name), again, trained(name, seed=2))
  )
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0


@pytest.mark.parametrize('name', TWINS)
def test_drop_path_needs_random_numbers(name):
  model = nnx.eval_shape(lambda: fj.create_model(name, 5, drop_path_rate=0.5))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x, train=True)  # noqa: E731
  with pytest.raises(ValueError, match='rngs'):
    jax.eval_shape(run, state, inputs(name))


def test_stochastic_depth_grows_linearly_to_its_rate():
  model = fj.create_model('uniformer_test', drop_path_rate=0.3)
  rates = [block.drop_path.rate for stage in model.stages for block in stage]
  np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize('name', TWINS)
def test_bfloat16_computes_in_it_and_keeps_parameters_in_float32(name):
  model = nnx.eval_shape(lambda: fj.create_model(name, 5, dtype='bfloat16'))
  dtypes = {x.dtype for x in jax.tree.leaves(nnx.state(model))}
  assert dtypes == {jnp.float32.dtype}
  features, _, logits = evaluate(name, 'bfloat16')
  assert features.dtype == jnp.bfloat16
  np.testing.assert_allclose(logits, evaluate(name)[2], 0.02, 0.02)


def test_unknown_names_and_options_are_refused_with_the_choices():
  with pytest.raises(ValueError, match=r"'uniformer_xl'.*uniformer_s"):
    fj.create_model('uniformer_xl')
  with pytest.raises(ValueError, match=r'no option window.*drop_path_rate'):
    fj.create_model('uniformer_test', window=8)


@pytest.mark.parametrize(
  ('name', 'options', 'words'),
  [
    ('vit_test', {'heads': 3}, 'heads=3 must .* divide the width of 16'),
    ('vit_test', {'heads': 6}, 'heads=6 must .* divide the width of 16'),
    ('vivit_test', {'heads': 3}, 'heads=3 must'),
    ('vidtr_test', {'heads': 3}, 'heads=3 must'),
    ('vtn_test', {'heads': 3}, 'heads=3 must'),
    ('timesformer_test', {'heads': 3}, 'heads=3 must .* width of 8'),
    ('swinv2_test', {'heads': (1, 3, 2, 4)}, 'heads=3 must .* width of 8'),
    ('video_swin_test', {'heads': (1, 3, 2, 4)}, 'heads=3 must'),
    ('uniformer_test', {'head_dim': 5}, 'head_dim=5 must .* width of 16'),
    ('vit_test', {'heads': 0}, 'heads of vit_test must be a whole number, 1'),
    ('vit_test', {'heads': 2.0}, 'must be a whole number, 1 or more'),
    ('vit_test', {'depth': (1, 1)}, r'must be a whole number, 0 .*\(1, 1\)'),
    ('uniformer_test', {'depth': (1,) * 5}, 'must be 4 whole numbers'),
    ('uniformer_test', {'depth': (1,) * 3}, 'must be 4 whole numbers'),
    ('uniformer_test', {'dim': 16}, 'must be 4 whole numbers'),
    ('swinv2_test', {'depth': (1,) * 3}, 'must be 4 whole numbers'),
    ('efficientnet_lite_test', {'dim': (4,) * 9}, 'must be 6 whole numbers'),
    ('i3d_test', {'depth': (1,) * 5}, 'must be up to 4 whole numbers'),
  ],
)
def test_sizes_of_stages_that_do_not_fit_are_refused(name, options, words):
  with pytest.raises(ValueError, match=words):
    nnx.eval_shape(lambda: fj.create_model(name, **options))


def test_the_configurations_are_values():
  for entry in models.MODELS.values():
    again = copy.deepcopy(entry.config)
    assert again is not entry.config
    assert (again, hash(again)) == (entry.config, hash(entry.config))


@pytest.mark.parametrize(
  'name', ['resnet_test', 'uniformer_light_test', 'timesformer_test']
)
def test_remat_computes_the_same_with_the_same_random_numbers(name):
  x = batch(name)
  for remat in (False, True):
    params, _, run = training(name, remat)
    assert ('remat' in str(jax.make_jaxpr(run)(params, x, 1))) == remat
  plain, recomputed = trained(name), trained(name, remat=True)
  for a, b in zip(
    jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['uniformer_test', 'uniformer_light_test'])
def test_sizes_that_do_not_fit_are_refused_with_some_that_do(name):
  model = nnx.eval_shape(lambda: fj.create_model(name))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  for shape, message in (
    ((1, 100, 64, 3), r'got 100 x 64\. Frames of 32, 64, \.\.\. px fit'),
    ((1, 4, 64, 64, 3), r'images \[B H W 3\]; got \[1, 4, 64, 64, 3\]'),
    ((1, 3, 64, 64), r'with the channels last; got \[1, 3, 64, 64\]'),
  ):
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(run, state, jax.ShapeDtypeStruct(shape, jnp.float32))
