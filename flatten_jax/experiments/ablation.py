# SPDX-License-Identifier: Apache-2.0
"""The paper's ablation on any data set: layouts, the 3D baseline, one frame.

And a probe of what the paper calls the model's "error-correction ability": a
trained model is shown the test videos in another order than it was trained on.
"""

from collections.abc import Sequence
import json
import logging
import pathlib
import statistics
from typing import Any

import jax
import ml_collections

from flatten_jax.checkpoints import resume_check
from flatten_jax.evaluation import evaluate, results
from flatten_jax.experiments import ablation_table, ablation_variants
from flatten_jax.experiments.ablation_variants import VARIANTS
from flatten_jax.experiments.cross_validation import cross_validate
from flatten_jax.runtime import (
  config as configs,
  context,
  multihost,
  preprocess,
  run_log,
)
from flatten_jax.training import loop

log = logging.getLogger('flatten_jax')

# How a trained model is tested: as it was trained first.
PROBES = {
  'as trained': {},
  'laid out row_major': {'flatten': 'row_major'},
  'laid out nested': {'flatten': 'nested'},
  'laid out random': {'flatten': 'random'},
  'reversed': {'eval_frame_order': 'reversed'},
  'shuffled': {'eval_frame_order': 'shuffled'},
}


def ablate(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  variants: Sequence[str] = tuple(VARIANTS),
  seeds: int = 1,
  folds: bool = False,
) -> dict[str, Any]:
  """Trains every variant with every seed, tests and probes it, makes tables.

  The same command goes on where it was interrupted; runs that are finished are
  not repeated.

  Args:
    config: of the variant 'row_major'; the others differ as `VARIANTS` says.
    workdir: gets a folder for each variant, ablation.json, ablation.md and
      loss_curves.png.
    variants: which, of `VARIANTS`.
    seeds: runs of each, seeds counted from `config.seed`.
    folds: one run for every fold of the data and seed, see `cross_validate`.

  Returns:
    What ablation.json holds: for each variant 'top1' and 'mean_class' of every
    seed (over the folds) on the 'split' test, or val where there is no test;
    'gflops_per_view', 'params_m', 'clips_per_second' of its training, and
    'probes', the top-1 of every seed by test order.

  Raises:
    ValueError: an unknown variant, or the model has no counterpart for clips.
  """
  config = configs.fill_and_check(configs.complete(config))
  changed = {
    name: ablation_variants.of_variant(config, name) for name in variants
  }
  with context.open_run(config, workdir, exclusive=True) as run:
    found = {}
    for name, own in changed.items():
      log.info('Ablation: %s', name)
      runs = train(own, run.workdir / name, seeds, folds)
      run_log.start(run.workdir)
      found[name] = describe(runs) | {'probes': probe(own, runs)}
      if multihost.is_first():
        ablation_table.write(run.workdir, found, folds)
    return found


def train(
  config: ml_collections.ConfigDict,
  folder: pathlib.Path,
  seeds: int,
  folds: bool,
) -> dict[int, list[pathlib.Path]]:
  """Trains what is not trained yet. -> the workdirs of each seed's runs."""
  numbers = range(config.seed, config.seed + seeds)
  keep_config(config, folder)
  if folds:
    cross_validate(config, folder, seeds)
    return {
      seed: sorted(folder.glob(f'fold_*_seed_{seed}')) for seed in numbers
    }
  for seed in numbers:
    own = folder / f'seed_{seed}'
    if not (own / 'results.json').exists():
      loop.train_and_evaluate(with_seed(config, seed), own)
      jax.clear_caches()  # Each run compiles its own programs.
  return {seed: [folder / f'seed_{seed}'] for seed in numbers}


def keep_config(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> None:
  """Notes what a variant is trained by; another config is refused later.

  As it was asked for: runs fill in what it leaves open, by their data.
  """
  path = folder / 'config.json'
  asked = config.to_dict()
  if path.exists():
    before = configs.complete(json.loads(path.read_text())).to_dict()
    changed = resume_check.refused_changes(
      before | {'seed': config.seed}, asked
    )
    if changed:
      raise ValueError(
        f'{folder} was trained by another config:\n{changed}\n'
        'Use a new --workdir, or the values that it was started with.'
      )
  if multihost.is_first():
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asked, indent=2) + '\n')


def with_seed(
  config: ml_collections.ConfigDict, seed: int
) -> ml_collections.ConfigDict:
  """The config of one run."""
  config = config.copy_and_resolve_references()
  config.seed = seed
  return config


def describe(runs: dict[int, list[pathlib.Path]]) -> dict[str, Any]:
  """What the results of a variant's runs come to."""
  found = {
    seed: [results.tested(folder) for folder in folders]
    for seed, folders in runs.items()
  }
  scores = {seed: [own for _, own in pairs] for seed, pairs in found.items()}
  split, first = next(iter(found.values()))[0]
  speeds = [
    row['clips_per_second']
    for folders in runs.values()
    for folder in folders
    for row in run_log.read_metrics(folder)
    if 'clips_per_second' in row
  ]
  return {
    metric: [
      statistics.mean(score[metric] for score in own) for own in scores.values()
    ]
    for metric in ('top1', 'mean_class')
  } | {
    'split': split,
    'views': first['views'],
    'gflops_per_view': first['gflops_per_view'],
    'params_m': first['params_m'],
    'clips_per_second': statistics.median(speeds),
  }


def probe(
  config: ml_collections.ConfigDict, runs: dict[int, list[pathlib.Path]]
) -> dict[str, list[float]]:
  """Tests trained models in other orders. -> top-1 of every seed by order."""
  chosen = {
    name: changes
    for name, changes in PROBES.items()
    if 'flatten' not in changes
    or (
      not preprocess.takes_clips(config)
      and ablation_variants.can_be_laid_out(config, changes['flatten'])
    )
  }
  return {
    name: [
      statistics.mean(probed(folder, name, changes) for folder in folders)
      for folders in runs.values()
    ]
    for name, changes in chosen.items()
  }


def probed(folder: pathlib.Path, name: str, changes: dict[str, str]) -> float:
  """The test top-1 of one run under one order; kept in its probes.json."""
  path = folder / 'probes.json'
  known = json.loads(path.read_text()) if path.exists() else {}
  if name not in known:
    known[name] = evaluate.evaluate_with(folder, changes)['top1']
    log.info('%s, tested %s: %.2f', folder, name, known[name])
    if multihost.is_first():
      partial = path.with_suffix('.partial')
      partial.write_text(json.dumps(known, indent=2) + '\n')
      partial.replace(path)
    multihost.wait_for_all('a probe is written')
  return known[name]
