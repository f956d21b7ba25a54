# SPDX-License-Identifier: Apache-2.0
"""Picks a learning rate by short trainings, on videos held back from them."""

from collections.abc import Sequence
import dataclasses
import json
import logging
import pathlib
from typing import Any

import jax
import ml_collections

from flatten_jax.evaluation import certainty, results
from flatten_jax.experiments import runs
from flatten_jax.runtime import context
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import loop, run_summary

log = logging.getLogger('flatten_jax')

HELD_BACK = 0.2  # Of the training videos, where the data has no val split.
DIVERGED = 'diverged.txt'


def pick(
  config: ml_collections.ConfigDict,
  folder: pathlib.Path,
  rates: Sequence[float],
) -> dict[str, Any]:
  """Trains once with every rate; the best validation decides, never the test.

  Resumes where it was interrupted; finished runs are not repeated.

  Args:
    config: of the short trainings.
    folder: gets a workdir for each rate, and learning_rate.json.
    rates: to choose from; a single one is taken without a training.

  Returns:
    The content of learning_rate.json: the 'lr' picked, see `best_rate`; and
    'tried', by rate the 'top1', the 'loss' and the number of videos 'scored',
    the first two None where the training diverged. A pick of these rates that
    was made before is kept.

  Raises:
    ValueError: there are too few videos to hold some back, or every training
      diverged.
  """
  if len(rates) == 1:
    return {'lr': rates[0], 'tried': {}}
  runs.check_unchanged(config, folder)
  path, tried = folder / 'learning_rate.json', {}
  if path.exists():
    before = json.loads(path.read_text())
    if list(before['tried']) == [f'{rate:g}' for rate in rates]:
      return before
  for rate in rates:
    own = config.copy_and_resolve_references()
    own.lr = rate
    tried[f'{rate:g}'] = _try(own, folder / f'lr_{rate:g}')
  found = {'lr': best_rate(tried), 'tried': tried}
  if multihost.is_first():
    runs.write_json(path, found)
  return found


def best_rate(tried: dict[str, dict[str, float | None]]) -> float:
  """Returns the rate of the lowest loss among those of the highest top-1.

  These are the rates whose 95 % interval reaches the highest top-1: of a few
  validation videos, one more or less would decide by chance.

  Args:
    tried: see `pick`.

  Raises:
    ValueError: every training diverged.
  """
  ended = {rate: s for rate, s in tried.items() if s['loss'] is not None}
  if not ended:
    raise ValueError(
      f'Training diverged with every rate of {", ".join(tried)}. Add lower '
      'ones to config.compare.learning_rates.'
    )
  best = max(s['top1'] for s in ended.values())

  def reaches_best(scores: dict[str, float]) -> bool:
    return not scores['scored'] or certainty.interval_of(scores)[1] >= best

  able = [rate for rate, scores in ended.items() if reaches_best(scores)]
  return float(min(able, key=lambda rate: ended[rate]['loss']))


def _try(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> dict[str, float | None]:
  """Trains with one rate, if that is not done. -> its last validation."""
  if not run_summary.is_finished(folder):
    if not (folder / DIVERGED).exists():
      log.info('Trying a learning rate of %g', config.lr)
      _train(config, folder)
      jax.clear_caches()
    if (folder / DIVERGED).exists():
      return {'top1': None, 'loss': None, 'scored': 0}
  rows = [r for r in run_log.read_metrics(folder) if 'val/loss' in r]
  scores = {key: rows[-1][f'val/{key}'] for key in ('top1', 'loss')}
  return scores | {'scored': results.tested(folder)[1]['scored']}


def _train(config: ml_collections.ConfigDict, folder: pathlib.Path) -> None:
  """Trains without the test split, so that nothing is chosen by it."""
  config.refit = False
  config.data.val_holdout = config.data.val_holdout or HELD_BACK
  with context.open_run(config, folder, exclusive=True) as run:
    splits = {k: v for k, v in run.open_videos().items() if k != 'test'}
    if 'val' not in splits:
      raise ValueError(
        'The videos are too few to hold some back for learning rates: give '
        'one, --config.compare.learning_rates="(1e-3,)".'
      )
    try:
      loop.train_to_end(dataclasses.replace(run, splits=splits))
    except FloatingPointError as error:
      log.warning('%s', error)
      if multihost.is_first():
        (folder / DIVERGED).write_text(f'{error}\n')
      multihost.wait_for_all('a rate diverged')
