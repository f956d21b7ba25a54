# SPDX-License-Identifier: Apache-2.0
"""Cross-validation: one run per fold and seed, and their mean."""

from collections.abc import Callable
import json
import logging
import pathlib
import statistics
from typing import Any

import jax
import ml_collections
import numpy as np
import tabulate

from flatten_jax.evaluation import evaluate, results
from flatten_jax.inputs import views
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime import context
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log, workdirs
from flatten_jax.training import loop

log = logging.getLogger('flatten_jax')

METRICS = ('top1', 'top5', 'mean_class')
TITLES = ('top-1 %', 'top-5 %', 'mean class %')


def cross_validate(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  seeds: int = 1,
) -> dict[str, Any]:
  """Trains and evaluates one run for each fold of the data and each seed.

  Resumes where it was interrupted; finished runs are only evaluated again.

  Args:
    config: of the runs; `data.fold` and `seed` are set for each.
    workdir: gets a folder for each run, `fold_0_seed_0` and so on, and
      cross_validation.json and .md, with mean and standard deviation.
    seeds: runs of each fold, with seeds from `config.seed` on.

  Returns:
    The content of cross_validation.json, see `summarize`.
  """
  with context.open_run(config, workdir, exclusive=True) as run:
    config = run.config

    def train(fold: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
      loop.train_and_evaluate(_with_fold(config, fold, seed), folder)
      return results.tested(folder)[1]

    runs = [
      (fold, seed)
      for seed in range(config.seed, config.seed + seeds)
      for fold in dataset.fold_numbers(config.data)
    ]
    return _over_runs(run.workdir, runs, train)


def evaluate_folds(
  config: ml_collections.ConfigDict | None,
  workdir: str | pathlib.Path,
  test_views: str = '',
) -> dict[str, Any]:
  """Evaluates the runs of `cross_validate` again, perhaps on other views.

  Args:
    config: data and views; None for the config of each run. Fold and seed are
      those of the run.
    workdir: of `cross_validate`.
    test_views: replaces `config.data.views`, e.g. '3x10'.

  Raises:
    FileNotFoundError: `workdir` contains no such runs.
  """
  workdir = workdirs.local_folder(workdir)
  runs = sorted(
    tuple(int(part) for part in folder.name.split('_')[1::2])
    for folder in workdir.glob('fold_*_seed_*')
  )
  if not runs:
    raise FileNotFoundError(
      f'No fold_*_seed_* in {workdir}; --mode=cross_validate makes them.'
    )
  if config is not None:
    multihost.initialize(config)
  workdirs.make_writable(workdir)
  run_log.start(workdir)

  def score(fold: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    own = config and _with_fold(config, fold, seed)
    return evaluate.evaluate(own, folder, test_views)

  return _over_runs(workdir, runs, score)


def _with_fold(
  config: ml_collections.ConfigDict, fold: int, seed: int
) -> ml_collections.ConfigDict:
  """Returns the config of one of the runs."""
  config = config.copy_and_resolve_references()
  config.data.fold, config.seed = fold, seed
  return config


def _over_runs(
  workdir: pathlib.Path,
  runs: list[tuple[int, int]],
  score: Callable[[int, int, pathlib.Path], dict[str, Any]],
) -> dict[str, Any]:
  """Scores each (fold, seed) in its workdir, and writes the summary."""
  scores = {}
  for number, (fold, seed) in enumerate(runs, 1):
    log.info('Run %d of %d: fold %d, seed %d', number, len(runs), fold, seed)
    folder = workdir / f'fold_{fold}_seed_{seed}'
    scores[fold, seed] = score(fold, seed, folder)
    run_log.start(workdir)  # The run had its own log.
    jax.clear_caches()  # Each run compiles its own programs.
  summary = summarize(scores)
  if jax.process_index() == 0:
    text = json.dumps(summary, indent=2) + '\n'
    (workdir / 'cross_validation.json').write_text(text)
    path = workdir / 'cross_validation.md'
    path.write_text(markdown(summary))
    log.info('\n%s\nIt is in %s', path.read_text(), path)
  return summary


def summarize(scores: dict[tuple[int, int], dict[str, Any]]) -> dict[str, Any]:
  """Summarizes the scores of all runs by (fold, seed).

  Returns:
    For each metric, in percent: 'mean' over folds and seeds; 'std_folds' of the
    folds' means over seeds, and 'std_seeds' of the seeds' means over folds (of
    a sample; None if there is only one). Also the 'runs', the 'views', and for
    one seed the number of test 'videos' in all folds and of those 'scored'.
  """
  all_folds = sorted({fold for fold, _ in scores})
  all_seeds = sorted({seed for _, seed in scores})
  first = [scores[fold, all_seeds[0]] for fold in all_folds]
  summary = {
    'views': first[0]['views'],
    'videos': sum(score['videos'] for score in first),
    'scored': sum(score['scored'] for score in first),
  }
  for metric in METRICS:
    table = np.array(
      [[scores[f, s][metric] for s in all_seeds] for f in all_folds]
    )
    by_fold, by_seed = table.mean(axis=1).tolist(), table.mean(axis=0).tolist()
    summary[metric] = {
      'mean': statistics.mean(by_fold),
      'std_folds': statistics.stdev(by_fold) if len(by_fold) > 1 else None,
      'std_seeds': statistics.stdev(by_seed) if len(by_seed) > 1 else None,
    }
  summary['runs'] = [
    {'fold': fold, 'seed': seed}
    | {key: scores[fold, seed][key] for key in (*METRICS, 'videos', 'scored')}
    for fold, seed in sorted(scores)
  ]
  return summary


def markdown(summary: dict[str, Any]) -> str:
  """Returns a table with a line for each run, then means and deviations."""
  views_text = views.parse(summary['views']).describe()
  rows = [
    [
      run['fold'],
      run['seed'],
      f'{run["scored"]} of {run["videos"]}',
      *(f'{run[metric]:.2f}' for metric in METRICS),
    ]
    for run in summary['runs']
  ]
  titles = {
    'mean': 'mean',
    'std_folds': 'standard deviation of folds',
    'std_seeds': 'standard deviation of seeds',
  }
  for key, title in titles.items():
    values = [summary[metric][key] for metric in METRICS]
    if None not in values:
      rows.append([title, '', '', *(f'{value:.2f}' for value in values)])
  headers = ['fold', 'seed', 'videos scored', *TITLES]
  table = tabulate.tabulate(rows, headers, 'pipe', disable_numparse=True)
  return (
    f'Views {summary["views"]} ({views_text}); {summary["scored"]} of '
    f'{summary["videos"]} videos scored.\n\n{table}\n'
  )
