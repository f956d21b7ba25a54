# SPDX-License-Identifier: Apache-2.0
"""Parts of a network that are not trained, and for how long: `freeze`."""

from collections.abc import Collection
import dataclasses

import jax
import ml_collections

from flatten_jax.runtime import model_factory
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import optimizer


def epochs(config: ml_collections.ConfigDict) -> float:
  """Returns the epochs at the start that freeze a part; 0 if there are none.

  `freeze` without `freeze_epochs` is for all of the run.
  """
  return config.freeze_epochs or (config.epochs if config.freeze else 0.0)


def part(config: ml_collections.ConfigDict) -> str:
  """Returns what is frozen: 'backbone', which is the default, or 'stage2'."""
  return config.freeze or 'backbone'


def names(experiment: Experiment) -> frozenset[str]:
  """Returns the dotted names of the parameters that are frozen.

  'backbone' is all that does not depend on the classes. 'stage2' is the stem
  and the blocks of stages 1 and 2, with their embeddings.

  Raises:
    ValueError: the model does not have that stage.
  """
  config = experiment.config
  params, _ = jax.eval_shape(experiment.random_weights)
  name_of = optimizer.names(params)
  if part(config) == 'backbone':
    return frozenset(jax.tree.leaves(name_of)) - set(head_names(experiment))
  stage = int(config.freeze.removeprefix('stage'))
  stages = params.get('stages', {})
  if stage > len(stages):
    words = ['backbone', *(f'stage{i + 1}' for i in range(len(stages)))]
    raise ValueError(
      f'config.freeze must be {" or ".join(words)} for {config.model.name}, '
      f'which has {len(stages) or "no"} stages; got {config.freeze!r}.'
    )
  blocks = sum(len(stages[i]) for i in stages if int(i) < stage)
  layers = optimizer.layer_numbers(params)
  pairs = jax.tree.leaves(
    jax.tree.map(lambda name, layer: (name, layer), name_of, layers),
    is_leaf=lambda pair: isinstance(pair, tuple),
  )
  return frozenset(name for name, layer in pairs if layer <= blocks)


def names_for_all_epochs(experiment: Experiment) -> frozenset[str]:
  """Returns the names of the parameters that no epoch trains."""
  config = experiment.config
  whole_run = config.freeze and not config.freeze_epochs
  return names(experiment) if whole_run else frozenset()


def head_names(experiment: Experiment) -> tuple[str, ...]:
  """Returns the names of the parameters that depend on the classes."""
  classes = len(experiment.class_names)
  return tuple(model_factory.head_axes(experiment.config, classes))


def with_frozen_norms(
  experiment: Experiment, frozen: Collection[str]
) -> Experiment:
  """Returns an experiment whose batch norms keep their statistics.

  Args:
    experiment: of the run.
    frozen: names of parameters; norms with others are as before.
  """
  if not frozen:
    return experiment
  params, batch_stats = jax.eval_shape(experiment.random_weights)
  graphdef = batch_norm.frozen_within(
    experiment.graphdef, params, batch_stats, frozen
  )
  return dataclasses.replace(experiment, graphdef=graphdef)


def describe(experiment: Experiment) -> str:
  """Formats what is trained, as 'For 5 epochs only head.bias is trained'.

  Returns '' if nothing is frozen.
  """
  config = experiment.config
  if not epochs(config):
    return ''
  time = f'For {config.freeze_epochs:g} epochs'
  time = time if config.freeze_epochs else 'In all epochs'
  if part(config) == 'backbone':
    return f'{time} only {" and ".join(head_names(experiment))} are trained'
  count = len(names(experiment))
  of = len(jax.tree.leaves(jax.eval_shape(experiment.random_weights)[0]))
  return (
    f'{time} the stem and what follows up to {config.freeze} are not trained: '
    f'{count} of {of} arrays'
  )
