# SPDX-License-Identifier: Apache-2.0
"""What every model of the list promises."""

import dataclasses
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models

PARAMETERS = {  # With 400 classes.
  'resnet50': 24_327_632,
  'resnet101': 43_319_760,
  'swinv2_t': 27_885_754,
  'uniformer3d_s': 21_400_400,
  'uniformer3d_xxs': 9_833_896,
  'uniformer_s': 21_237_456,
  'uniformer_xxs': 9_382_696,
  'uniformer_xxs_light': 9_676_480,
}

TWINS = [name for name in fj.list_models() if name.endswith('_test')]


def inputs(name, side=64, batch=2):
  """Images, or clips for the models that take them."""
  time = (2,) if models.takes_clips(name) else ()
  shape = (batch, *time, side, side, 3)
  return np.random.default_rng(0).standard_normal(shape, np.float32)


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


@pytest.mark.parametrize('name', fj.list_models())
def test_shapes_of_logits_and_features(name):
  model = nnx.eval_shape(lambda: fj.create_model(name, num_classes=7))
  graphdef, state = nnx.split(model)

  def run(state, x):
    model = nnx.merge(graphdef, state)
    features = model.features(x)
    return features, model.classify(features), model(x)

  # Time is halved.
  given, left = ((4,), (2,)) if models.takes_clips(name) else ((), ())
  x = jax.ShapeDtypeStruct((3, *given, 256, 128, 3), jnp.float32)
  features, classified, logits = jax.eval_shape(run, state, x)
  assert features.shape[:-1] == (3, *left, 8, 4)
  assert classified.shape == logits.shape == (3, 7)
  assert logits.dtype == jnp.float32


@pytest.mark.parametrize('name', TWINS)
def test_features_then_classify_is_the_model(name):
  model = fj.create_model(name, num_classes=5)
  x = inputs(name)
  np.testing.assert_allclose(
    model.classify(model.features(x)), model(x), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('name', TWINS)
def test_every_parameter_gets_a_gradient(name):
  model = fj.create_model(name, 5, drop_path_rate=0.1)
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  # Away from SwinV2's zeros, behind which nothing has a gradient.
  params = jax.tree.map(lambda x: x + 0.01, params)

  @jax.jit
  @jax.grad
  def gradients(params):
    model = nnx.merge(graphdef, params, stats, copy=True)
    x = inputs(name, batch=8)
    logits = model(x, train=True, rngs=nnx.Rngs(dropout=1))
    logits = jnp.concatenate(jax.tree.leaves(logits))  # Of one head or two.
    return jnp.square(jax.nn.log_softmax(logits)[:, 0]).sum()

  dead = {
    jax.tree_util.keystr(path)
    for path, grad in jax.tree_util.tree_leaves_with_path(gradients(params))
    if not np.any(grad)
  }
  assert not dead


@pytest.mark.parametrize(
  'name', ['resnet_test', 'uniformer_test', 'uniformer3d_light_test']
)
def test_train_mode_updates_every_running_statistic(name):
  model = fj.create_model(name, 5)
  before = jax.tree.map(
    np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
  )
  model(inputs(name), train=True)
  after = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
  moved = jax.tree.map(
    lambda a, b: bool((a != np.asarray(b)).all()), before, after
  )
  assert all(jax.tree.leaves(moved))


def test_a_batch_spread_over_devices_gives_the_same_gradients():
  model = fj.create_model('uniformer_test', 5)
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  x = inputs('uniformer_test', batch=8)

  @jax.jit
  def gradients(params, x):
    def loss(params):
      model = nnx.merge(graphdef, params, stats, copy=True)
      logits = model(x, train=True)
      return -jax.nn.log_softmax(logits)[:, 0].mean(), nnx.state(model)

    return jax.grad(loss, has_aux=True)(params)

  spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec('data')))
  copied = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
  one, eight = gradients(params, x), gradients(copied, spread)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', TWINS)
def test_drop_path_needs_and_follows_its_random_numbers(name):
  model = fj.create_model(name, 5, drop_path_rate=0.5)
  with pytest.raises(ValueError, match='rngs'):
    model(inputs(name), train=True)

  # Away from SwinV2's zeros: at first its blocks do nothing.
  params = jax.tree.map(lambda x: x + 0.01, nnx.state(model, nnx.Param))
  nnx.update(model, params)

  def logits(seed):
    rngs = nnx.Rngs(dropout=seed)
    return np.asarray(model(inputs(name), train=True, rngs=rngs))

  np.testing.assert_array_equal(logits(0), logits(0))
  assert np.abs(logits(0) - logits(1)).max() > 0


def test_stochastic_depth_grows_linearly_to_its_rate():
  model = fj.create_model('uniformer_test', drop_path_rate=0.3)
  rates = [block.drop_path.rate for stage in model.stages for block in stage]
  np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize('name', TWINS)
def test_bfloat16_computes_in_it_and_keeps_parameters_in_float32(name):
  model = fj.create_model(name, 5, dtype='bfloat16')
  assert {x.dtype for x in jax.tree.leaves(nnx.state(model))} == {
    jnp.float32.dtype
  }
  x = inputs(name)
  assert model.features(x).dtype == jnp.bfloat16
  exact = fj.create_model(name, 5)(x)
  np.testing.assert_allclose(model(x), exact, atol=0.02)


def test_unknown_names_and_options_are_refused_with_the_choices():
  with pytest.raises(ValueError, match=r"'uniformer_xl'.*uniformer_s"):
    fj.create_model('uniformer_xl')
  with pytest.raises(ValueError, match=r'no option window.*drop_path_rate'):
    fj.create_model('uniformer_test', window=8)


def test_the_configurations_are_values():
  for entry in models.MODELS.values():
    assert dataclasses.replace(entry.config) == entry.config


def test_models_know_nothing_of_clips():
  folder = pathlib.Path(models.__file__).parent
  for file in folder.rglob('*.py'):
    text = file.read_text()
    assert 'flatten_jax.flattening' not in text
    assert 'flatten_jax.inputs' not in text


@pytest.mark.parametrize('name', ['resnet_test', 'uniformer_light_test'])
def test_remat_computes_the_same_with_the_same_random_numbers(name):
  x = jnp.asarray(inputs(name, side=32))
  results = []
  for remat in (False, True):
    model = fj.create_model(name, 5, drop_path_rate=0.5, remat=remat)
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

    @jax.jit
    def gradients(params, graphdef=graphdef, stats=stats):
      def loss(params):
        model = nnx.merge(graphdef, params, stats, copy=True)
        rngs = nnx.Rngs(dropout=jax.random.key(1))
        logits = jnp.concatenate(
          jax.tree.leaves(model(x, train=True, rngs=rngs))
        )
        return jnp.square(logits).sum(), nnx.state(model, nnx.BatchStat)

      return jax.value_and_grad(loss, has_aux=True)(params)

    program = str(jax.make_jaxpr(gradients)(params))
    assert ('remat' in program) == remat
    results.append(jax.tree.leaves(gradients(params)))
  for a, b in zip(*results, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize('name', ['uniformer_test', 'uniformer_light_test'])
def test_sizes_that_cannot_be_are_refused_with_the_nearest_that_can(name):
  model = nnx.eval_shape(lambda: fj.create_model(name))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  for shape, message in (
    ((1, 100, 64, 3), r'are 100 x 64; resize or crop to 96 x 64'),
    ((1, 4, 64, 64, 3), r'images \[B H W 3\], not \[1, 4, 64, 64, 3\]'),
  ):
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(run, state, jax.ShapeDtypeStruct(shape, jnp.float32))
