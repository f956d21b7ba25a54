# SPDX-License-Identifier: Apache-2.0
"""One run for every fold, then the mean: HMDB51's protocol, and one's own."""

from collections.abc import Callable
import json
import logging
import pathlib
import statistics
from typing import Any

import jax
import ml_collections

from flatten_jax.evaluation import evaluate, results
from flatten_jax.inputs import views
from flatten_jax.inputs.sources import folds
from flatten_jax.runtime import context, multihost, run_log, workdirs
from flatten_jax.training import loop

log = logging.getLogger('flatten_jax')

METRICS = ('top1', 'top5', 'mean_class')


def cross_validate(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  seeds: int = 1,
) -> dict[str, Any]:
  """Trains and evaluates one run for each fold of the data, and each seed.

  Folds are what `inputs.folds.fold_numbers` says. The same command goes on
  where it was interrupted; runs that are finished are only scored again.

  Args:
    config: of any one of the runs; its `data.fold` does not matter.
    workdir: gets a folder for each run, `fold_0_seed_0` and so on, and
      cross_validation.json and .md, with mean and standard deviation.
    seeds: how many runs there are of each fold, seeds counted from
      `config.seed`.

  Returns:
    What cross_validation.json holds, see `summarize`.
  """
  with context.open_run(config, workdir, exclusive=True) as run:
    config = run.config
    runs = [
      (fold, seed)
      for seed in range(config.seed, config.seed + seeds)
      for fold in folds.fold_numbers(config.data)
    ]
    return over_runs(
      run.workdir,
      runs,
      lambda fold, seed, folder: train(config, fold, seed, folder),
    )


def evaluate_folds(
  config: ml_collections.ConfigDict | None,
  workdir: str | pathlib.Path,
  test_views: str = '',
) -> dict[str, Any]:
  """Scores the runs of `cross_validate` again, perhaps on other views.

  Args:
    config: views and the like; None for what each run was trained with. Fold
      and seed are each run's own.
    workdir: of `cross_validate`.
    test_views: in place of `config.data.views`, like '3x10'.

  Raises:
    FileNotFoundError: `workdir` holds no such runs.
  """
  runs = sorted(
    tuple(int(part) for part in folder.name.split('_')[1::2])
    for folder in pathlib.Path(workdir).glob('fold_*_seed_*')
  )
  if not runs:
    raise FileNotFoundError(
      f'No fold_*_seed_* in {workdir}; --mode=cross_validate makes them.'
    )
  if config is not None:
    multihost.initialize(config)
  workdirs.make_writable(workdir)
  run_log.start(workdir)
  return over_runs(
    pathlib.Path(workdir),
    runs,
    lambda fold, seed, folder: evaluate.evaluate(
      with_fold(config, fold, seed) if config is not None else None,
      folder,
      test_views,
    ),
  )


def train(
  config: ml_collections.ConfigDict, fold: int, seed: int, folder: pathlib.Path
) -> dict[str, Any]:
  """One run from beginning to end. -> its test scores."""
  loop.train_and_evaluate(with_fold(config, fold, seed), folder)
  return results.tested(folder)[1]


def with_fold(
  config: ml_collections.ConfigDict, fold: int, seed: int
) -> ml_collections.ConfigDict:
  """The config of one of the runs."""
  config = config.copy_and_resolve_references()
  config.data.fold, config.seed = fold, seed
  return config


def folder_of(
  workdir: str | pathlib.Path, fold: int, seed: int
) -> pathlib.Path:
  """Returns the workdir of one of the runs."""
  return pathlib.Path(workdir) / f'fold_{fold}_seed_{seed}'


def over_runs(
  workdir: str | pathlib.Path,
  runs: list[tuple[int, int]],
  score: Callable[[int, int, pathlib.Path], dict[str, Any]],
) -> dict[str, Any]:
  """Scores each (fold, seed), and writes down what comes of all."""
  workdir, scores = pathlib.Path(workdir), {}
  for number, (fold, seed) in enumerate(runs, 1):
    log.info('Run %d of %d: fold %d, seed %d', number, len(runs), fold, seed)
    folder = folder_of(workdir, fold, seed)
    scores[fold, seed] = score(fold, seed, folder)
    run_log.start(workdir)  # The run had its own log.
    jax.clear_caches()  # Each run compiles its own programs.
  summary = summarize(scores)
  if jax.process_index() == 0:
    text = json.dumps(summary, indent=2) + '\n'
    (workdir / 'cross_validation.json').write_text(text)
    page = markdown(summary)
    (workdir / 'cross_validation.md').write_text(page)
    log.info('\n%s', page)
    log.info('It is in %s', workdir / 'cross_validation.md')
  return summary


def summarize(scores: dict[tuple[int, int], dict[str, Any]]) -> dict[str, Any]:
  """Scores of all runs by (fold, seed) -> mean and standard deviation.

  Returns:
    For each metric, in percent: 'mean', over folds and seeds; 'std_folds', of
    the folds' means over seeds, and 'std_seeds', of the seeds' means over folds
    (of a sample, n - 1; None where there is only one). Also the 'runs', the
    'views', and how many 'videos' there are to test in all folds, and how many
    of them were 'scored', of one seed.
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
    by_fold = [
      statistics.mean(scores[fold, seed][metric] for seed in all_seeds)
      for fold in all_folds
    ]
    by_seed = [
      statistics.mean(scores[fold, seed][metric] for fold in all_folds)
      for seed in all_seeds
    ]
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
  """A table with a line for each run, then mean and deviation."""
  seen = views.parse(summary['views']).describe()
  lines = [
    f'Views {summary["views"]} ({seen}); {summary["scored"]} of '
    f'{summary["videos"]} videos scored.',
    '',
    '| fold | seed | videos scored | top-1 % | top-5 % | mean class % |',
    '|--:|--:|--:|--:|--:|--:|',
  ]
  for run in summary['runs']:
    cells = ' | '.join(f'{run[metric]:.2f}' for metric in METRICS)
    lines.append(
      f'| {run["fold"]} | {run["seed"]} | {run["scored"]} of {run["videos"]} '
      f'| {cells} |'
    )
  for key, title in (
    ('mean', 'mean'),
    ('std_folds', 'standard deviation of folds'),
    ('std_seeds', 'standard deviation of seeds'),
  ):
    values = [summary[metric][key] for metric in METRICS]
    if None not in values:
      cells = ' | '.join(f'{value:.2f}' for value in values)
      lines.append(f'| {title} | | | {cells} |')
  return '\n'.join([*lines, ''])
