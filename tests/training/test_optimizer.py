# SPDX-License-Identifier: Apache-2.0
"""AdamW and SGD, groups of parameters, weight decay and layers."""

import collections

from flax import nnx, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import k400_video_swin_t
from flatten_jax.models import create_model, list_models
from flatten_jax.runtime import state
from flatten_jax.training import optimizer

GRADIENTS = (
  {'a': [0.5, -1.0, 0.25], 'b': [2.0]},
  {'a': [-0.125, 0.5, 1.0], 'b': [-1.0]},
  {'a': [0.75, 0.25, -0.5], 'b': [0.5]},
  {'a': [0.0, -0.25, 0.5], 'b': [1.5]},
)
SGD = {'optimizer': 'sgd'}
GROUPS = {'param_groups': (('', 1.0, 1.0), ('a', 0.1, 0.0))}
# Keys -> a and b after the four gradients, from torch.optim in float64.
TORCH = {
  'momentum': (SGD, [0.7108685509, -1.7967171267, 0.1840629192, 2.3125694301]),
  'nesterov': (
    SGD | {'nesterov': True},
    [0.624033943, -1.7599038575, 0.0895257802, 2.071278531],
  ),
  'no momentum': (
    SGD | {'momentum': 0.0},
    [0.8837058586, -1.9421867421, 0.373227823, 2.6884674882],
  ),
  'clipped': (
    SGD | {'nesterov': True, 'grad_clip_norm': 1.0},
    [0.736600366, -1.9470070401, 0.290191981, 2.5322709408],
  ),
  'groups': (
    SGD | GROUPS,
    [0.9719425, -1.98141, 0.4688025, 2.3125694301],
  ),
  'adamw': ({}, [0.7163568647, -1.8422800351, 0.2279732086, 2.7725468949]),
  'adamw groups': (
    GROUPS,
    [0.9719884118, -1.9849908963, 0.4729460114, 2.7725468949],
  ),
}


@pytest.mark.parametrize('name', TORCH)
def test_the_optimizers_are_pytorchs(config, name):
  keys, wanted = TORCH[name]
  keys = {'weight_decay': 0.01, 'decay_all': True, 'grad_clip_norm': 0.0} | keys
  config.update(keys)
  tx = optimizer.make(config)
  with jax.enable_x64(True):  # Adam's 1 - beta2 has few digits in float32.
    params = {'a': jnp.array([1.0, -2.0, 0.5]), 'b': jnp.array([3.0])}
    state = tx.init(params)
    for grads in GRADIENTS:
      grads = {name: jnp.array(values) for name, values in grads.items()}
      updates, state = tx.update(grads, state, params, learning_rate=0.1)
      params = optax.apply_updates(params, updates)
    found = [*params['a'], *params['b']]
  np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_biases_and_norms_do_not_decay_unless_all_do(config):
  params = {
    'conv': {'kernel': jnp.ones((3, 3, 1, 8)), 'bias': jnp.ones(8)},
    'norm': {'scale': jnp.ones(8)},
    'logit_scale': jnp.ones((4, 1, 1)),
  }
  assert optimizer.decay_factors(params, config) == {
    'conv': {'kernel': 1, 'bias': 0},
    'norm': {'scale': 0},
    'logit_scale': 1,
  }
  config.decay_all = True
  factors = optimizer.decay_factors(params, config)
  assert set(jax.tree.leaves(factors)) == {1}


def abstract_params(name, **options):
  model = nnx.eval_shape(lambda: create_model(name, 400, **options))
  return state.split(model)[1]


def test_the_longest_text_decides_alone_as_in_video_swins_runs():
  """12 tables, 159 tensors of the backbone with its norms, 2 of the head."""
  config = k400_video_swin_t.get_config()
  params = abstract_params('video_swin_t')
  rates = optimizer.group_factors(params, config, 1)
  decay = optimizer.decay_factors(params, config)
  pairs = zip(jax.tree.leaves(rates), jax.tree.leaves(decay), strict=True)
  assert collections.Counter(pairs) == {(0.1, 1): 159, (1, 0): 12, (1, 1): 2}
  assert rates['head'] == {'kernel': 1, 'bias': 1}
  assert decay['stages'][0][0]['attn']['bias_table'] == 0


PYSLOWFAST = (
  {'decay_all': True, 'param_groups': (('norm', 1.0, 0.0),)},
  {'norm': (1, 0)},
)
# Recipe -> twin, its keys, and factors of the learning rate and of weight decay
# for each kind of parameter where they are not 1 and 1.
RECIPES = {
  'slowfast': ('slowfast_test', *PYSLOWFAST),
  'i3d': ('i3d_test', *PYSLOWFAST),
  'tsn of temporal-shift-module': (
    'tsn_test',
    {'param_groups': (('head.kernel', 5.0, 1.0), ('head.bias', 10.0, 0.0))},
    {'norm': (1, 0), 'head.kernel': (5, 1), 'head.bias': (10, 0)},
  ),
  'tsn in caffe': (
    'bn_inception_test',
    {'param_groups': (('conv.bias', 2.0, 0.0), ('head.bias', 2.0, 0.0))},
    {'norm': (1, 0), 'bias': (2, 0), 'head.bias': (2, 0)},
  ),
  'tdn': ('tdn_test', {'decay_all': True}, {}),
  'motion squeeze': (
    'motion_squeeze_test',
    {'param_groups': (('head.bias', 2.0, 0.0),)},
    {'norm': (1, 0), 'head.bias': (2, 0)},
  ),
  'two-stream, its last layer': (
    'two_stream_test',
    {'param_groups': (('', 0.0, 0.0), ('head', 1.0, 1.0))},
    {'kernel': (0, 0), 'bias': (0, 0), 'head.bias': (1, 0)},
  ),
}


def kind(path, stats):
  """Returns 'norm', 'bias', 'kernel', 'head.bias' or 'head.kernel'."""
  if (*path[:-1], 'mean') in stats:
    return 'norm'
  return '.'.join(path[-2:]) if 'head' in path else path[-1]


@pytest.mark.parametrize('recipe', RECIPES)
def test_groups_give_every_parameter_the_factors_of_its_recipe(config, recipe):
  """Norms are known by their statistics; each kind is in the model."""
  name, keys, wanted = RECIPES[recipe]
  config.update(keys)
  _, params, stats = state.split(nnx.eval_shape(lambda: create_model(name, 5)))
  stats = traverse_util.flatten_dict(stats)
  rates, decays = map(
    traverse_util.flatten_dict,
    (
      optimizer.group_factors(params, config, 1),
      optimizer.decay_factors(params, config),
    ),
  )
  kinds = {path: kind(path, stats) for path in rates}
  assert wanted.keys() <= set(kinds.values())
  found = {path: (rates[path], decays[path]) for path in kinds}
  assert found == {p: wanted.get(kinds[p], (1, 1)) for p in kinds}


def test_factors_scale_the_steps_of_their_groups(config):
  """Together with layers, weight decay of all parameters and clipping."""
  config.param_groups = (('norm', 0.5, 3.0), ('head', 4.0, 0.0))
  config.layer_decay, config.decay_all = 0.5, True
  params = {
    'norm': {'scale': jnp.ones(2)},
    'stages': {0: {0: {'norm': jnp.ones(2), 'fc': jnp.ones((2, 2))}}},
    'head': {'kernel': jnp.ones((2, 2))},
    'embeds': {0: jnp.ones((2, 2))},
  }
  grads = jax.tree.map(jnp.zeros_like, params)  # Weight decay remains.
  tx = optimizer.make(config)
  updates, _ = tx.update(grads, tx.init(params), params, learning_rate=0.1)
  decay = 0.1 * config.weight_decay
  found = jax.tree.map(lambda x: -float(x.mean()) / decay, updates)
  wanted = {
    'norm': {'scale': 1.5},
    'stages': {0: {0: {'norm': 0.75, 'fc': 0.5}}},
    'head': {'kernel': 0.0},
    'embeds': {0: 0.25},
  }
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b), found, wanted)


def test_a_group_without_parameters_is_refused_with_a_close_name(config):
  config.param_groups = (('heads', 10.0, 1.0),)
  tx = optimizer.make(config)
  with pytest.raises(ValueError, match=r"'heads'.*Did you mean 'head'\?"):
    tx.init(abstract_params('uniformer_test'))


def test_gradients_are_clipped_by_their_global_norm(config):
  config.grad_clip_norm = 1.0
  config.weight_decay = 0.0
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(2)}
  tx = optimizer.make(config)
  state = tx.init(params)
  grads = {'a': jnp.array([30.0, 0.0]), 'b': jnp.array([0.0, 40.0])}
  _, state = tx.update(grads, state, params, learning_rate=0.1)
  first_moment = state[1][0].mu
  norm = np.sqrt(sum((m**2).sum() for m in jax.tree.leaves(first_moment)))
  np.testing.assert_allclose(norm, 0.1, rtol=1e-6)  # (1 - beta1) * 1


# Model -> layers of some of its parameters, counted by hand.
LAYERS = {
  'uniformer_test': {  # One block in each stage.
    'embeds.0.proj.kernel': 0,
    'stages.0.0.pos.kernel': 1,
    'embeds.1.proj.kernel': 2,
    'stages.3.0.qkv.kernel': 4,
    'norm.scale': 5,
    'head.bias': 5,
  },
  'swinv2_test': {  # 1, 2, 1 and 1 blocks.
    'embeds.0.norm.scale': 0,
    'embeds.1.reduction.kernel': 2,
    'stages.1.0.attn.logit_scale': 2,
    'stages.1.1.fc1.kernel': 3,
    'norm.bias': 6,
    'head.kernel': 6,
  },
  'efficientnet_lite_test': {  # 1, 2, 1, 1, 1 and 1 blocks.
    'conv.kernel': 0,
    'norm.scale': 0,
    'stages.0.0.mix.kernel': 1,
    'stages.1.1.norm0.bias': 3,
    'stages.5.0.conv_out.kernel': 7,
    'neck.kernel': 8,
    'neck_norm.scale': 8,
    'head.kernel': 8,
  },
  'resnet_test': {  # 1, 2, 1 and 1 blocks.
    'conv.kernel': 0,
    'norm.scale': 0,
    'stages.0.0.shortcut.kernel': 1,
    'stages.1.1.norm3.bias': 3,
    'stages.3.0.conv1.kernel': 5,
    'head.kernel': 6,
  },
  'video_swin_test': {  # 1, 2, 2 and 1 blocks.
    'embeds.0.proj.kernel': 0,
    'stages.0.0.attn.bias_table': 1,
    'embeds.1.reduction.kernel': 2,
    'stages.2.1.fc1.kernel': 5,
    'norm.bias': 7,
    'head.kernel': 7,
  },
  'convnext_test': {  # 1, 2, 1 and 1 blocks.
    'embeds.0.norm.scale': 0,
    'stages.0.0.layer_scale': 1,
    'embeds.1.proj.kernel': 2,
    'stages.1.1.depthwise.kernel': 3,
    'norm.scale': 6,
    'head.kernel': 6,
  },
  'vit_test': {  # Two blocks.
    'embeds.0.kernel': 0,
    'cls_token': 0,
    'pos_embed': 0,
    'stages.0.1.qkv.kernel': 2,
    'norm.scale': 3,
  },
  'timesformer_test': {  # Two blocks.
    'time_embed': 0,
    'stages.0.1.temporal_fc.kernel': 2,
    'norm.scale': 3,
  },
  'vivit_fe_test': {  # Two blocks over space, two over time.
    'pos_embeds.0': 0,
    'norms.0.scale': 3,
    'cls_tokens.1': 3,
    'stages.1.1.qkv.kernel': 4,
    'norms.1.scale': 5,
  },
  'vtn_test': {  # One block over space, two over time.
    'cls_tokens.0': 0,
    'frame_embed': 2,
    'embed_norm.scale': 2,
    'stages.1.1.qkv_global.kernel': 3,
    'neck.kernel': 4,
  },
  'vidtr_test': {'cls_t': 0, 'pos_embeds.0': 0, 'norms.0.bias': 3},
}


@pytest.mark.parametrize('name', LAYERS)
def test_layers_are_counted_from_the_stem_to_the_head(name):
  numbers = optimizer.layer_numbers(abstract_params(name))
  numbers = traverse_util.flatten_dict(numbers)
  numbers = {'.'.join(map(str, path)): i for path, i in numbers.items()}
  for path, layer in LAYERS[name].items():
    assert numbers[path] == layer, path


def test_a_stage_without_blocks_is_no_layer():
  params = abstract_params('uniformer_test', depth=(1, 0, 2, 0))
  numbers = optimizer.layer_numbers(params)
  embeds = [{*jax.tree.leaves(numbers['embeds'][i])} for i in range(4)]
  assert embeds == [{0}, {2}, {2}, {4}]
  blocks = [{*jax.tree.leaves(numbers['stages'][2][i])} for i in range(2)]
  assert blocks == [{2}, {3}]
  assert {*jax.tree.leaves(numbers['head'])} == {4}


@pytest.mark.parametrize(
  'name', [name for name in list_models() if name.endswith('_test')]
)
def test_layers_of_every_model_ascend_from_the_stem_to_the_head(name):
  layers = optimizer.layer_numbers(abstract_params(name))
  stages = layers['stages']
  blocks = [
    set(jax.tree.leaves(stages[i][j]))
    for i in sorted(stages)
    for j in sorted(stages[i])
  ]
  assert blocks == [{i + 1} for i in range(len(blocks))]
  assert set(jax.tree.leaves(layers['head'])) == {len(blocks) + 1}
  assert set(jax.tree.leaves(layers)) == set(range(len(blocks) + 2))


def test_the_error_names_a_parameter_of_unknown_depth():
  params = {'stages': {0: {0: jnp.ones(1)}}, 'tail': {'kernel': jnp.ones(1)}}
  with pytest.raises(ValueError, match="'tail'"):
    optimizer.layer_numbers(params)


def test_earlier_layers_take_smaller_steps(config):
  """Each layer below the head multiplies the step, weight decay included."""
  params = {
    'embeds': {0: jnp.ones((2, 2))},
    'stages': {0: {0: jnp.ones((2, 2)), 1: jnp.ones((2, 2))}},
    'head': jnp.ones((2, 2)),
  }
  grads = jax.tree.map(lambda p: 0.3 * p, params)
  updates = {}
  for decay in (0.5, 1.0):
    config.layer_decay = decay
    tx = optimizer.make(config)
    updates[decay], _ = tx.update(
      grads, tx.init(params), params, learning_rate=0.1
    )
  shares = jax.tree.map(lambda a, b: (a / b).mean(), updates[0.5], updates[1.0])
  assert shares['head'] == 1
  assert (shares['stages'][0][1], shares['stages'][0][0]) == (0.5, 0.25)
  assert shares['embeds'][0] == 0.125
