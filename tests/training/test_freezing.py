# SPDX-License-Identifier: Apache-2.0
"""Parts of a network that are not trained."""

import jax
import pytest

import flatten_jax as fj
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import freezing, loop, optimizer, trainer

CLASSES = tuple('abcdefghijkl')


def by_name(tree):
  """Returns {'0.head.bias': array} for a pair of parameters and statistics."""
  pairs = jax.tree.leaves(optimizer.names(tree)), jax.tree.leaves(tree)
  return dict(zip(*pairs, strict=True))


def frozen_names(config, **changes):
  config.update(changes)
  return freezing.names(Experiment.create(config, CLASSES))


def test_a_stage_is_frozen_with_what_comes_before_it(config):
  config.model.depth = (1, 2, 1, 1)
  names = frozen_names(config, freeze='stage2')
  parts = {'.'.join(name.split('.')[:2]) for name in names}
  assert parts == {'embeds.0', 'embeds.1', 'stages.0', 'stages.1'}
  assert {n.split('.')[2] for n in names if n.startswith('stages.1')} == set(
    '01'
  )
  every = optimizer.names(
    jax.eval_shape(Experiment.create(config, CLASSES).random_weights)[0]
  )
  rest = set(jax.tree.leaves(every)) - frozen_names(config, freeze='backbone')
  assert rest == {'head.kernel', 'head.bias'}


def test_a_stage_that_the_model_has_not_is_refused(config):
  config.model.depth = (1, 1, 1, 1)
  with pytest.raises(ValueError, match=r"or stage4 for .* 4 stages; got 'sta"):
    frozen_names(config, freeze='stage5')


def test_for_how_long(config):
  assert freezing.epochs(config) == 0
  config.freeze_epochs = 1.0
  assert (freezing.epochs(config), freezing.part(config)) == (1, 'backbone')
  config.freeze = 'stage1'
  assert (freezing.epochs(config), freezing.part(config)) == (1, 'stage1')
  config.freeze_epochs = 0.0
  assert freezing.epochs(config) == config.epochs == 3


@pytest.mark.parametrize('part', ['backbone', 'stage1'])
def test_what_is_frozen_stays_to_the_bit(config, tmp_path, monkeypatch, part):
  """Weights, in spite of weight decay, statistics and averages; all else moves.

  Also if statistics are measured before they are saved.
  """
  config.freeze, config.weight_decay, config.decay_all = part, 0.5, True
  if part == 'stage1':
    config.model.name, config.model.depth = 'resnet_test', (1, 1)
  config.precise_batch_norm, config.ema, config.epochs = 1, 0.9, 1.0
  config.warmup_epochs, config.eval_every = 0.0, 0.0
  scores = dict.fromkeys((*trainer.metrics.TITLES, 'loss'), 0.0)
  scores |= {'views': '', 'videos': 1, 'scored': 0}
  monkeypatch.setattr(loop.evaluate, 'validate', lambda *_: scores)
  monkeypatch.setattr(loop.evaluate, 'evaluate_splits', lambda *_: {})
  state = fj.train_and_evaluate(config, tmp_path)
  run = Experiment.create(config, CLASSES)
  names = freezing.names(run)
  norms = {name.rpartition('.')[0] for name in names}
  first = by_name(run.random_weights())
  for weights in ((state.params, state.batch_stats), state.weights):
    for name, value in by_name(weights).items():
      kind, _, name = name.partition('.')
      frozen = (
        name in names if kind == '0' else name.rpartition('.')[0] in norms
      )
      assert (value == first[f'{kind}.{name}']).all() == frozen, name
  text = (tmp_path / 'log.txt').read_text()
  line = {
    'backbone': 'In all epochs only head.bias and head.kernel are trained',
    'stage1': 'the stem and what follows up to stage1 are not trained',
  }
  assert line[part] in text and 'All parameters are trained' not in text
