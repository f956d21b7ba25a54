# SPDX-License-Identifier: Apache-2.0
"""Batch norms by groups of clips, frozen ones, and what refuses them."""

import functools

from flax import nnx
import jax
import numpy as np
import pytest

from flatten_jax.models import create_model
from flatten_jax.models.layers import norms
from flatten_jax.runtime import model_factory
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import split
from flatten_jax.training import optimizer

CLASSES = tuple('abcdefgh')
# Model -> its first batch norm in the order of use.
FIRST = {
  'bn_inception_test': ('embeds', 0, 'conv1', 'norm'),
  'efficientnet_lite_test': ('norm',),
  'i3d_test': ('embeds', 0, 'norm'),
  'i3d_inception_test': ('embeds', 0, 'conv1', 'norm'),
  'motion_squeeze_test': ('norm',),
  'resnet_test': ('norm',),
  'slowfast_test': ('embeds', 0, 'slow', 'norm'),
  'tdn_test': ('embeds', 0, 'norm'),
  'tsn_test': ('norm',),
  'uniformer_test': ('stages', 0, 0, 'norm1'),
}


def frozen_norms(model):
  """Returns {path: True or False} of the batch norms of a model."""
  return {
    path: module.frozen
    for path, module in nnx.iter_modules(model)
    if isinstance(module, norms.BatchNorm)
  }


@pytest.mark.parametrize('name', FIRST)
def test_all_norms_but_the_first_of_a_network_are_frozen(name):
  def build(which):
    model = create_model(name, num_classes=2)
    batch_norm.freeze(model, which)
    return model

  none, every, but_first = (
    frozen_norms(nnx.eval_shape(functools.partial(build, which)))
    for which in batch_norm.FROZEN
  )
  assert none.keys() == every.keys() == but_first.keys()
  assert not any(none.values()) and all(every.values())
  assert [path for path, frozen in but_first.items() if not frozen] == [
    FIRST[name]
  ]


def test_weights_of_frozen_norms_are_known_by_name():
  model = nnx.eval_shape(lambda: create_model('bn_inception_test', 2))
  batch_norm.freeze(model, 'all_but_first')
  graphdef, params, stats = split(model)
  model = nnx.merge(graphdef, params, stats)
  frozen = batch_norm.frozen_parameters(model, params)
  found = jax.tree_util.tree_leaves_with_path(frozen)
  names = [
    jax.tree_util.keystr(path, simple=True, separator='.') for path, _ in found
  ]
  wanted = ['norm' in name and 'embeds.0.conv1.' not in name for name in names]
  assert wanted == [value for _, value in found] and sum(wanted) == 52


def test_norms_are_frozen_with_their_weights():
  graphdef, *weights = split(
    nnx.eval_shape(lambda: create_model('tsn_test', 2))
  )
  names = set(jax.tree.leaves(optimizer.names(weights[0])))

  def frozen(names):
    structure = batch_norm.frozen_within(graphdef, *weights, names)
    return frozen_norms(nnx.merge(structure, *weights))

  assert all(frozen(names).values())
  some = frozen({name for name in names if name.startswith('stages.0')})
  assert 0 < sum(some.values()) < len(some)
  assert not any(frozen_norms(nnx.merge(graphdef, *weights)).values())


def test_frozen_norms_use_their_running_statistics_and_keep_them():
  x = jax.random.normal(jax.random.key(0), (8, 3, 3, 4)) * 3 + 1
  norm = norms.BatchNorm(4)
  norm(x, train=True)
  mean, var = norm.mean[...], norm.var[...]
  norm.frozen, norm.groups = True, 2
  np.testing.assert_array_equal(norm(x, train=True), norm(x))
  np.testing.assert_array_equal([norm.mean[...], norm.var[...]], [mean, var])


@pytest.mark.parametrize(
  ('key', 'value'), [('batch_norm_frozen', 'all'), ('precise_batch_norm', 2)]
)
def test_a_model_without_batch_norms_is_refused(config, key, value):
  config.model = {'name': 'timesformer_test', 'pretrained': ''}
  config[key] = value
  with pytest.raises(ValueError, match=f'{key}=.* timesformer_test has none'):
    model_factory.build_model(config, 2)
  others = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match='has those of another one'):
    batch_norm.prepare(others, config)


def test_a_head_is_not_trained_alone_below_batch_norms_that_cannot_freeze(
  config,
):
  config.freeze_epochs = 1.0
  batch_norm.prepare(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), config)
  with pytest.raises(ValueError, match=r'freeze_epochs=.*those of another one'):
    batch_norm.prepare(nnx.BatchNorm(4, rngs=nnx.Rngs(0)), config)


def test_the_description_of_a_run_names_frozen_and_precise_norms(config):
  config.batch_norm_frozen, config.precise_batch_norm = 'all_but_first', 200
  assert batch_norm.describe(config, {'norm': 1}) == (
    'global, of 8 clips, frozen: all_but_first, evaluated over 200 batches'
  )


def test_each_group_is_normalized_by_its_own_clips():
  x = jax.random.normal(jax.random.key(0), (8, 3, 3, 4)) * 3 + 1
  grouped, alone = norms.BatchNorm(4), norms.BatchNorm(4)
  grouped.groups = 2
  both = grouped(x, train=True)
  means, variances = [], []
  for part, ours in ((x[:4], both[:4]), (x[4:], both[4:])):
    alone = norms.BatchNorm(4)
    np.testing.assert_allclose(alone(part, train=True), ours, atol=1e-5)
    means.append(alone.mean[...])
    variances.append(alone.var[...])
  np.testing.assert_allclose(grouped.mean[...], sum(means) / 2, atol=1e-6)
  np.testing.assert_allclose(grouped.var[...], sum(variances) / 2, rtol=1e-5)
  plain = norms.BatchNorm(4)(x, train=True)
  assert np.abs(plain - both).max() > 0.01


def test_per_device_is_saved_as_a_number_of_groups(config):
  """So a run can be resumed on other devices with the same values."""
  assert batch_norm.choose_groups(config).batch_norm_groups == 1
  assert batch_norm.describe(config, {'norm': 1}) == 'global, of 8 clips'
  config.batch_norm, config.data.repeated_aug = 'per_device', 2
  chosen = batch_norm.choose_groups(config)
  assert chosen.batch_norm_groups == 8
  assert batch_norm.describe(chosen, {'norm': 1}) == 'per_device, of 2 clips'
  assert batch_norm.describe(chosen, {}) == 'none'
  run = Experiment.create(chosen, CLASSES)
  other = chosen.copy_and_resolve_references()
  other.sharding, other.mesh.model = 'tensor', 2
  assert Experiment.create(other, CLASSES).graphdef == run.graphdef
  assert batch_norm.choose_groups(other).batch_norm_groups == 8
  for changes, message in (
    ({'batch_norm_groups': 3}, 'do not divide'),
    ({'batch_norm': 'global', 'batch_norm_groups': 2}, 'needs batch_norm'),
  ):
    wrong = config.copy_and_resolve_references()
    wrong.update(changes)
    with pytest.raises(ValueError, match=message):
      batch_norm.choose_groups(wrong)


def test_batch_norms_of_another_package_support_global_only():
  model = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
  batch_norm.set_groups(model, 1)
  with pytest.raises(ValueError, match="support 'global' only"):
    batch_norm.set_groups(model, 8)
