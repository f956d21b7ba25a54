# SPDX-License-Identifier: Apache-2.0
"""Cross-validation: one run per fold and seed, and their mean."""

from collections.abc import Callable
import json
import logging
import pathlib
import re
from typing import Any

import jax
import ml_collections

from flatten_jax import paths
from flatten_jax.evaluation import evaluate, results
from flatten_jax.experiments.fold_summary import markdown, summarize
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log, workdirs
from flatten_jax.training import loop, run_summary

log = logging.getLogger('flatten_jax')

FOLDS = 'folds.json'


def cross_validate(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  seeds: int = 1,
  *,
  test_again: bool = True,
) -> dict[str, Any]:
  """Trains and evaluates one run for each fold of the data and each seed.

  Resumes where it was interrupted; finished runs are only evaluated again.

  Args:
    config: of the runs; `data.fold` and `seed` are set for each.
    workdir: gets a folder for each run, `fold_0_seed_0` and so on, folds.json,
      a list of all folds, and cross_validation.json and .md, with mean and
      standard deviation.
    seeds: runs of each fold, with seeds from `config.seed` on.
    test_again: False takes the scores of finished runs from their files.

  Returns:
    The content of cross_validation.json, see `summarize`.
  """
  check_seeds(seeds)
  config, workdir = configs.complete(config), workdirs.local_folder(workdir)
  chosen = config.data.fold
  folds = dataset.fold_numbers(config.data)
  # Values that a recipe chooses are the same in all runs: the first one's.
  first = _with_fold(config, folds[0], config.seed)
  like = _folder(workdir, folds[0], config.seed)
  with context.open_run(first, workdir, exclusive=True, like=like) as run:
    config = run.config

    def train(fold: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
      if test_again or not run_summary.is_finished(folder):
        loop.train_and_evaluate(_with_fold(config, fold, seed), folder)
      return results.tested(folder)[1]

    if chosen >= 0:
      log.warning('data.fold=%d is not used: each is tested', chosen)
    _check_folds(run, folds)
    write_folds(run.workdir, folds)
    runs = [
      (fold, seed)
      for seed in range(config.seed, config.seed + seeds)
      for fold in folds
    ]
    return over_runs(run.workdir, runs, train)


def write_folds(workdir: pathlib.Path, folds: list[int]) -> None:
  """Writes the folds that a seed needs to be whole, see `finished_runs`."""
  if jax.process_index() == 0:
    paths.write_text(workdir / FOLDS, json.dumps(folds) + '\n')


def _check_folds(run: context.RunContext, folds: list[int]) -> None:
  """Opens every fold before the first is trained, and logs what is tested.

  Raises:
    ValueError: a fold cannot be trained and tested; it is named.
  """
  known, tested = set(), []
  for fold in folds:
    try:
      if fold == run.config.data.fold:  # Of which the run is open.
        splits = run.open_videos()
      else:
        config = _with_fold(run.config, fold, run.config.seed)
        splits = context.open_videos(config)
    except ValueError as error:
      raise ValueError(f'Fold {fold}: {error}') from error
    for split, videos in splits.items():
      found = [(video.path, video.start) for video in videos.records]
      known.update(found)
      if split == evaluate.tested_split(splits):
        tested += found
        count = videos.num_classes
        if lacking := count - len(
          {c for v in videos.records for c in v.classes}
        ):
          log.warning(
            'Fold %d: %d of %d classes have no %s video',
            *(fold, lacking, count, split),
          )
  count = len(set(tested))
  log.info(
    '%d folds test %d of %d videos, %s; the others are for training only',
    *(len(folds), count, len(known)),
    'each once' if count == len(tested) else 'some more than once',
  )
  if len(folds) == 1:
    log.warning('There is only fold %d: its score is all of the mean', *folds)


def check_seeds(seeds: int) -> None:
  """Refuses a number of runs that is not 1 or more."""
  if not isinstance(seeds, int) or seeds < 1:
    raise ValueError(f'seeds must be a whole number, 1 or more; got {seeds!r}.')


def evaluate_folds(
  config: ml_collections.ConfigDict | None,
  workdir: str | pathlib.Path,
  test_views: str = '',
  split: str = '',
) -> dict[str, Any]:
  """Evaluates the runs of `cross_validate` again, perhaps on other views.

  Args:
    config: data and views; None for the config of each run. Fold and seed are
      those of the run.
    workdir: of `cross_validate`. A protocol other than the runs' own gets its
      own summary, as cross_validation_3x4.md.
    test_views: replaces `config.data.views`, e.g. '3x10'.
    split: to evaluate, as for `evaluate`.

  Raises:
    FileNotFoundError: `workdir` contains no such runs.
  """
  workdir = workdirs.local_folder(workdir)
  runs = finished_runs(workdir)
  if config is not None:
    multihost.initialize(config)
  workdirs.make_writable(workdir)
  run_log.start(workdir)

  def score(fold: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    own = config and _with_fold(config, fold, seed)
    return evaluate.evaluate(own, folder, test_views, split)

  return over_runs(workdir, runs, score)


def finished_runs(workdir: pathlib.Path) -> list[tuple[int, int]]:
  """Returns (fold, seed) of finished runs, whose seed has every fold.

  The others are named in the log.

  Raises:
    FileNotFoundError: there are none.
  """
  listed, done = workdir / FOLDS, {}
  # Earlier versions wrote none: there, the folds are those with a folder.
  known = json.loads(listed.read_text()) if listed.exists() else None
  for folder in sorted(workdir.glob('fold_*_seed_*')):
    match = re.fullmatch(r'fold_(\d+)_seed_(\d+)', folder.name)
    if match and (known is None or int(match[1]) in known):
      numbers = int(match[1]), int(match[2])
      done[numbers] = run_summary.is_finished(folder)
    else:  # Earlier versions took -1, "for training only", for a fold.
      log.warning('%s is left out: it is not a fold', folder.name)
  if not done:
    raise FileNotFoundError(
      f'No fold_*_seed_* in {workdir}; --mode=cross_validate makes them.'
    )
  found, seeds = (sorted(set(numbers)) for numbers in zip(*done, strict=True))
  folds = found if known is None else known
  lacking = {}
  for seed in seeds:
    if rest := [str(f) for f in folds if not done.get((f, seed))]:
      lacking[seed] = ', '.join(rest)
  whole = [seed for seed in seeds if seed not in lacking]
  if not whole:
    text = '; '.join(f'seed {s} lacks fold {f}' for s, f in lacking.items())
    raise FileNotFoundError(
      f'No seed in {workdir} has results of all {len(folds)} folds: {text}. '
      'The same --mode=cross_validate command continues.'
    )
  for seed, missing in lacking.items():
    text = 'Seed %d is left out: its fold %s is missing or not finished'
    log.warning(text, seed, missing)
  return [(fold, seed) for fold in folds for seed in whole]


def _with_fold(
  config: ml_collections.ConfigDict, fold: int, seed: int
) -> ml_collections.ConfigDict:
  """Returns the config of one of the runs."""
  config = config.copy_and_resolve_references()
  config.data.fold, config.seed = fold, seed
  return config


def _folder(workdir: pathlib.Path, fold: int, seed: int) -> pathlib.Path:
  """Returns the workdir of one of the runs."""
  return workdir / f'fold_{fold}_seed_{seed}'


def over_runs(
  workdir: pathlib.Path,
  runs: list[tuple[int, int]],
  score: Callable[[int, int, pathlib.Path], dict[str, Any]],
) -> dict[str, Any]:
  """Scores each (fold, seed) in its workdir, and writes the summary."""
  scores = {}
  for number, (fold, seed) in enumerate(runs, 1):
    log.info('Run %d of %d: fold %d, seed %d', number, len(runs), fold, seed)
    folder = _folder(workdir, fold, seed)
    scores[fold, seed] = score(fold, seed, folder)
    run_log.start(workdir)  # The run had its own log.
    jax.clear_caches()  # Each run compiles its own programs.
  summary = summarize(scores)
  if jax.process_index() == 0:
    text = json.dumps(summary, indent=2) + '\n'
    # As in the names of the results: '_3x4', '_train', '' for the runs' test.
    name, (own, _) = scores[runs[0]]['name'], results.tested(folder)
    suffix = name.removeprefix(own) if name.startswith(own) else f'_{name}'
    path = workdir / f'cross_validation{suffix}.md'
    paths.write_text(path.with_suffix('.json'), text)
    paths.write_text(path, markdown(summary))
    log.info('\n%s\nIt is in %s', path.read_text(), path)
  return summary
