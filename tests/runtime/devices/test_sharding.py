# SPDX-License-Identifier: Apache-2.0
"""Shardings of arrays; they do not change any value."""

import math
import re

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from flatten_jax.checkpoints import initial_weights as weights
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.runtime.configuration import recipe_rules
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import optimizer, setup

CLASSES = tuple('abcdefgh')


def place(config, rule, model=1):
  config.sharding, config.mesh.model = rule, model
  config.fsdp_min_size = 64
  return config


def specs(tree):
  """Returns {path: spec} of the arrays that are divided."""
  found = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.sharding.spec
    for path, leaf in found
    if any(leaf.sharding.spec)
  }


def state_of(config, abstract=True):
  run = Experiment.create(config, CLASSES)
  tx = optimizer.make(config)
  make = setup.abstract_state if abstract else setup.initial_state
  return make(run, tx)


@pytest.mark.parametrize(
  ('data', 'model', 'rule', 'message'),
  [
    (-1, 3, 'tensor', 'Choose one of 1, 2, 4, 8'),
    (3, 2, 'tensor', 'here 4'),
    (-1, 2, 'fsdp', 'does not fit sharding'),
    (-1, 1, 'tensor', 'does not fit sharding'),
    (-1, 1, 'zero3', 'replicated, fsdp, tensor, fsdp.tensor'),
  ],
)
def test_the_error_of_an_impossible_mesh_lists_possible_ones(
  config, data, model, rule, message
):
  config.mesh.data = data
  with pytest.raises(ValueError, match=message):
    Experiment.create(place(config, rule, model), CLASSES)


def test_a_batch_is_divided_over_data_only(config):
  config.batch_size = 4
  with pytest.raises(ValueError, match='multiple of 8'):
    recipe_rules.check_batch_size(config)
  recipe_rules.check_batch_size(place(config, 'tensor', 2))
  run = Experiment.create(config, CLASSES)
  batch = run.to_devices({'label': np.arange(4)})
  assert {shard.data.size for shard in batch['label'].addressable_shards} == {1}


def test_attention_and_mlps_are_divided_by_columns_then_rows(config):
  config.model.depth = (1, 1, 1, 1)
  found = specs(state_of(place(config, 'tensor', 2)).params)
  block = {k.removeprefix('stages/2/0/'): v for k, v in found.items()}
  columns, rows = PartitionSpec(None, 'model'), PartitionSpec('model', None)
  assert block['qkv/kernel'] == block['fc1/kernel'] == columns
  assert block['qkv/bias'] == PartitionSpec('model')
  assert block['proj/kernel'] == block['fc2/kernel'] == rows
  assert not [k for k in found if k.startswith(('head', 'embeds', 'norm'))]
  config.model.name = 'swinv2_test'
  found = specs(state_of(config).params)
  assert found['stages/1/0/attn/qkv/kernel'] == columns
  assert found['stages/1/0/attn/q_bias'] == PartitionSpec('model')
  assert found['stages/1/0/fc2/kernel'] == rows


@pytest.mark.parametrize(
  ('rule', 'model'), [('fsdp', 1), ('tensor', 2), ('fsdp+tensor', 2)]
)
def test_moments_and_averages_are_divided_like_their_parameters(
  config, rule, model
):
  config.ema = 0.9
  state = state_of(place(config, rule, model))
  params = specs(state.params)
  assert params
  adam = state.opt_state[1][0]  # After the clipping.
  assert specs(adam.mu) == specs(adam.nu) == params
  assert specs(state.average['params']) == params
  config.optimizer = 'sgd'
  _, (_, momentum, _) = state_of(config).opt_state  # Between decay and rate.
  assert specs(momentum.trace) == params


def test_memory_per_device_follows_from_the_rules(config):
  config.model.depth = (1, 1, 1, 1)
  whole = state_of(config, abstract=False)
  total = sum(leaf.nbytes for leaf in jax.tree.leaves(whole.params))
  assert sharding.bytes_per_device(whole.params) == total
  # This tiny model has many small arrays, and embeddings match no rule.
  at_most = {'fsdp': 0.3, 'tensor': 0.55, 'fsdp+tensor': 0.4}
  for rule, model in (('fsdp', 1), ('tensor', 4), ('fsdp+tensor', 4)):
    state = state_of(place(config, rule, model), abstract=False)
    expected = 0
    for leaf in jax.tree.leaves(state.params):
      axes = [axis for axis in leaf.sharding.spec if axis]
      parts = {'data': 8 // model, 'model': model}
      expected += leaf.nbytes // int(np.prod([parts[axis] for axis in axes]))
    assert sharding.bytes_per_device(state.params) == expected
    assert expected < at_most[rule] * total
    # The values equal those of a single device.
    jax.tree.map(np.testing.assert_array_equal, state.params, whole.params)


def test_fsdp_divides_the_largest_divisible_dimension(config):
  place(config, 'fsdp')
  mesh = sharding.make_mesh(config)
  shapes = {'a': (16, 24), 'b': (24, 12), 'c': (9, 9), 'd': (32,), 'e': (2, 64)}
  tree = {k: jax.ShapeDtypeStruct(v, jnp.float32) for k, v in shapes.items()}
  found = {k: v.spec for k, v in sharding.of_tree(tree, config, mesh).items()}
  assert found == {
    'a': PartitionSpec(None, 'data'),
    'b': PartitionSpec('data', None),
    'c': PartitionSpec(None, None),
    'd': PartitionSpec(None),  # Too small.
    'e': PartitionSpec(None, 'data'),
  }


def test_pretrained_weights_are_divided_like_initial_ones(config, monkeypatch):
  monkeypatch.setattr(
    weights, '_load', lambda *args: jax.tree.map(np.ones_like, args[2:])
  )
  config.model.pretrained = 'somewhere'
  params, _ = initial_weights(Experiment.create(place(config, 'fsdp'), CLASSES))
  assert specs(params) == specs(state_of(config).params)
  assert all((leaf == 1).all() for leaf in jax.tree.leaves(params))


def test_groups_are_not_clipped_with_batch_norm(config):
  config.grad_clip_groups = 2
  run = Experiment.create(config, CLASSES)
  tx = optimizer.make(config)
  with pytest.raises(
    ValueError, match='a model without batch norm, which unif'
  ):
    setup.make_train_step(run, tx)


def test_devices_clip_their_gradients_before_they_exchange_them(config):
  """They exchange as much as without groups: each gradient once."""
  config.model.name = 'timesformer_test'
  del config.model.depth
  # With one clip a device, partners are on two.
  config.mixup = config.cutmix = 0.0
  sent = {}
  for groups in (1, 8):
    config.grad_clip_groups = groups
    run = Experiment.create(config, CLASSES)
    tx = optimizer.make(config)
    state = setup.abstract_state(run, tx)
    batch = {'clip': ((8, 4, 16, 16, 3), np.uint8), 'label': ((8,), np.int32)}
    batch = {
      key: jax.ShapeDtypeStruct(*value, sharding=run.over_data)
      for key, value in batch.items()
    }
    rate = jax.ShapeDtypeStruct((), np.float32, sharding=run.replicated)
    step = setup.make_train_step(run, tx).lower(state, batch, rate)
    text = step.compile().as_text()
    assert not re.search(r' (all-gather|all-to-all|collective-permute)', text)
    exchanges = re.findall(r'= (.*) all-reduce\(', text)
    shapes = re.findall(r'f32\[([\d,]*)\]', ' '.join(exchanges))
    sent[groups] = sum(
      math.prod(int(n) for n in shape.split(',') if n) for shape in shapes
    )
  assert sent[8] < 1.01 * sent[1]  # The mean of the norms, and parts of tables.
