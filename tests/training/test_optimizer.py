# SPDX-License-Identifier: Apache-2.0
"""The learning rate and the decay mask of the recipes."""

import json

from flax import nnx, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flatten_jax.models import create_model, list_models
from flatten_jax.runtime import default_config, state
from flatten_jax.training import optimizer

# Epoch -> learning rate, from UniFormer's own schedule functions.
XXS_K400 = {
  0: 1e-06,
  0.5: 2.595e-05,
  1: 5.09e-05,
  9.99: 0.000499501,
  10: 0.0005,
  10.5: 0.0004999692198041743,
  60.0: 0.0002505,
  109: 1.1231131887499658e-06,
  109.99: 1.0000123123313787e-06,
}
S_HMDB51 = {
  0: 1e-06,
  3.5: 5.05e-05,
  6.99: 9.985857142857143e-05,
  7: 0.0001,
  38.5: 5.05e-05,
  69.99: 1.000006154515089e-06,
}


def schedule_of(lr, warmup, epochs, steps_per_epoch=1000, **changes):
  config = default_config.base()
  config.update({'lr': lr, **changes})
  config.warmup_epochs, config.epochs = float(warmup), float(epochs)
  return optimizer.warmup_cosine(config, steps_per_epoch)


@pytest.mark.parametrize(
  ('base', 'warmup', 'epochs', 'curve'),
  [(5e-4, 10, 110, XXS_K400), (1e-4, 7, 70, S_HMDB51)],
)
@pytest.mark.parametrize('steps_per_epoch', [1000, 1877.02])
def test_the_schedule_is_uniformers(
  base, warmup, epochs, curve, steps_per_epoch
):
  schedule = schedule_of(base, warmup, epochs, steps_per_epoch)
  for epoch, lr in curve.items():
    # A float32 cosine has an error of 1e-7 of the base rate.
    np.testing.assert_allclose(
      schedule(epoch * steps_per_epoch), lr, rtol=1e-5, atol=2e-7 * base
    )


def test_all_published_schedules_are_reproduced(parity_folder):
  """The schedules of every config and of UniFormer's own runs."""
  facts = json.loads((parity_folder / 'data_facts.json').read_text())['lr']
  assert len(facts) == 11
  for name, fact in facts.items():
    schedule = schedule_of(
      fact['base_lr'],
      fact['warmup_epochs'],
      fact['max_epoch'],
      warmup_lr=fact['warmup_start_lr'],
      min_lr=fact['end_lr'],
    )
    ours = schedule(1000 * np.array(fact['epoch']))
    np.testing.assert_allclose(
      ours, fact['lr'], rtol=1e-5, atol=2e-7 * fact['base_lr'], err_msg=name
    )


def test_a_warmup_as_long_as_the_run_is_refused():
  with pytest.raises(ValueError, match='warmup_epochs'):
    schedule_of(1.0, warmup=10, epochs=10)


def test_a_run_without_warmup_starts_at_the_base_rate():
  schedule = schedule_of(0.5, warmup=0, epochs=10)
  assert schedule(0) == 0.5


def test_biases_and_norms_do_not_decay():
  params = {
    'conv': {'kernel': jnp.ones((3, 3, 1, 8)), 'bias': jnp.ones(8)},
    'norm': {'scale': jnp.ones(8)},
    'logit_scale': jnp.ones((4, 1, 1)),
  }
  assert optimizer.decays(params) == {
    'conv': {'kernel': True, 'bias': False},
    'norm': {'scale': False},
    'logit_scale': True,
  }


def test_gradients_are_clipped_by_their_global_norm(config):
  config.grad_clip_norm = 1.0
  config.warmup_epochs = 0.0
  config.weight_decay = 0.0
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(2)}
  tx, _ = optimizer.make(config, 10)
  state = tx.init(params)
  grads = {'a': jnp.array([30.0, 0.0]), 'b': jnp.array([0.0, 40.0])}
  _, state = tx.update(grads, state, params)
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
  'resnet_test': {  # 1, 2, 1 and 1 blocks.
    'conv.kernel': 0,
    'norm.scale': 0,
    'stages.0.0.shortcut.kernel': 1,
    'stages.1.1.norm3.bias': 3,
    'stages.3.0.conv1.kernel': 5,
    'head.kernel': 6,
  },
}


@pytest.mark.parametrize('name', LAYERS)
def test_layers_are_counted_from_the_stem_to_the_head(name):
  model = nnx.eval_shape(lambda: create_model(name, 3))
  _, params, _ = state.split(model)
  numbers = traverse_util.flatten_dict(optimizer.layer_numbers(params))
  numbers = {'.'.join(map(str, path)): i for path, i in numbers.items()}
  for path, layer in LAYERS[name].items():
    assert numbers[path] == layer, path
  assert set(numbers.values()) == set(range(1 + max(numbers.values())))


def test_every_parameter_of_every_model_has_a_layer():
  for name in list_models():
    if name.endswith('_test'):
      model = nnx.eval_shape(lambda name=name: create_model(name, 3))
      _, params, _ = state.split(model)
      assert min(jax.tree.leaves(optimizer.layer_numbers(params))) == 0


def test_the_error_names_a_parameter_of_unknown_depth():
  params = {'stages': {0: {0: jnp.ones(1)}}, 'tail': {'kernel': jnp.ones(1)}}
  with pytest.raises(ValueError, match="'tail'"):
    optimizer.layer_numbers(params)


def test_earlier_layers_take_smaller_steps(config):
  """Each layer below the head multiplies the step, weight decay included."""
  config.layer_decay, config.warmup_epochs = 0.5, 0.0
  params = {
    'embeds': {0: jnp.ones((2, 2))},
    'stages': {0: {0: jnp.ones((2, 2)), 1: jnp.ones((2, 2))}},
    'head': jnp.ones((2, 2)),
  }
  grads = jax.tree.map(lambda p: 0.3 * p, params)
  updates = {}
  for decay in (0.5, 1.0):
    config.layer_decay = decay
    tx, _ = optimizer.make(config, 10)
    updates[decay], _ = tx.update(grads, tx.init(params), params)
  shares = jax.tree.map(lambda a, b: (a / b).mean(), updates[0.5], updates[1.0])
  assert shares['head'] == 1
  assert (shares['stages'][0][1], shares['stages'][0][0]) == (0.5, 0.25)
  assert shares['embeds'][0] == 0.125
