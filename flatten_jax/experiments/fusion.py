# SPDX-License-Identifier: Apache-2.0
"""Fuses the predictions of finished runs: two streams, seeds, systems."""

from collections.abc import Sequence
import logging
import math
import os
import pathlib
from typing import Any

import tabulate

from flatten_jax import paths
from flatten_jax.evaluation import cautions, fusion, metrics, report, results
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.experiments import cross_validation
from flatten_jax.experiments.fused_run import Part, train_file
from flatten_jax.runtime.workdir import run_log, workdirs
from flatten_jax.text import did_you_mean

log = logging.getLogger('flatten_jax')

METHODS = 'probs', 'logits', 'svm'


def fuse(
  runs: Sequence[str | os.PathLike[str]],
  workdir: str | pathlib.Path,
  *,
  method: str = 'probs',
  weights: Sequence[float] = (),
) -> dict[str, Any]:
  """Fuses the predictions of runs for the same videos; writes the results.

  Videos and classes are matched by name; the test views of the runs may differ,
  since each run's views are averaged first. Workdirs of `cross_validate` are
  fused fold by fold.

  Args:
    runs: workdirs of two or more evaluated runs, or their files
      predictions_*.npz.
    workdir: of its own. Gets results.json, report_test.md, predictions_test.npz
      and confusion_test.csv.
    method: the mean of 'probs' or of 'logits', raw scores; or 'svm', a linear
      SVM on predictions of the training videos, which `evaluate` writes with
      split='train'.
    weights: of the runs in the mean; all 1 by default. TSN's are 1 and 1.5 for
      RGB and flow. One of weight 0 takes no part.

  Returns:
    The entry of results.json: accuracies, 'method', and the 'runs' with their
    weights, accuracies and costs; or the content of cross_validation.json.

  Raises:
    FileNotFoundError: a run was not evaluated.
    ValueError: the runs, their videos, labels or classes do not fit each other.
  """
  runs = [paths.expand(run) for run in runs]
  workdir = workdirs.local_folder(workdir)
  weights = _check(runs, workdir, method, weights)
  left_out = [run for run, w in zip(runs, weights, strict=True) if not w]
  runs = [run for run in runs if run not in left_out]
  weights = [weight for weight in weights if weight]
  have_folds = [any(run.glob('fold_*_seed_*')) for run in runs]
  if any(have_folds) and not all(have_folds):
    first, other = (runs[have_folds.index(kind)] for kind in (True, False))
    raise ValueError(
      f'{first} is a cross-validation, and {other} is not. Fuse '
      'cross-validations with each other, or single runs, as '
      f'{min(first.glob("fold_*_seed_*"))}.'
    )
  workdirs.make_writable(workdir)
  run_log.start(workdir)
  for run in left_out:
    log.info('%s has weight 0 and takes no part', run)
  if all(have_folds):
    return _fuse_folds(runs, workdir, method, weights)
  return _fuse(runs, workdir, method, weights)


def _check(
  runs: Sequence[pathlib.Path],
  workdir: pathlib.Path,
  method: str,
  weights: Sequence[float],
) -> list[float]:
  """Refuses what cannot be fused; returns the weights."""
  if method not in METHODS:
    raise ValueError(
      f'method must be {" or ".join(METHODS)}; got {method!r}.'
      f'{did_you_mean(method, METHODS)}'
    )
  if len(runs) < 2:
    raise ValueError(
      f'Fusion takes two runs or more, as --runs=runs/rgb,runs/flow; got '
      f'{", ".join(map(str, runs)) or "none"}.'
    )
  real = [run.resolve() for run in runs]
  for i, run in enumerate(real):
    if not run.exists():
      raise FileNotFoundError(f'There is no run {runs[i]}.')
    if run in real[:i]:
      raise ValueError(f'{runs[i]} is given twice; a weight counts it more.')
  if workdir.resolve() in real or (workdir / 'checkpoints').exists():
    raise ValueError(
      f'{workdir} is a run. Write the fused results to a workdir of their own.'
    )
  if len(weights) and method == 'svm':
    raise ValueError('An SVM learns its weights: leave them out.')
  weights = _numbers(weights) or [1.0] * len(runs)
  good = all(0 <= weight < math.inf for weight in weights) and any(weights)
  if len(weights) != len(runs) or not good:
    raise ValueError(
      f'Expected a weight of 0 or more for each of {len(runs)} runs, not all '
      f'0; got {", ".join(f"{weight:g}" for weight in weights)}.'
    )
  return weights


def _numbers(weights: Sequence[float | str]) -> list[float]:
  try:
    return [float(weight) for weight in weights]
  except ValueError:
    listed = ', '.join(map(str, weights))
    raise ValueError(f'Weights are numbers, as 1,1.5; got {listed}.') from None


def _fuse(
  runs: Sequence[pathlib.Path],
  workdir: pathlib.Path,
  method: str,
  weights: Sequence[float],
) -> dict[str, Any]:
  """Fuses one result of each run."""
  parts, train = _read(runs, workdir, method, weights)
  split, predictions = parts[0].split, _aligned(runs, parts)
  if method == 'svm':
    fused = fusion.svm(predictions, _aligned(runs, train))
  else:
    fused = fusion.mean(predictions, weights, method)
    _warn_of_log_probs(runs, predictions, method)
  scores = metrics.compute_metrics(fused) | report.details(fused)
  entries = [
    {'run': str(run), 'weight': weight, 'views': part.predictions.views}
    | _accuracies(found)
    | part.cost()
    for run, weight, part, found in zip(
      runs, weights, parts, predictions, strict=True
    )
  ]
  scores |= {'method': method, 'runs': entries, 'name': split}
  scores['warnings'] = [text] if (text := cautions.few_videos(scores)) else []
  results.write_results(workdir, split, scores, fused)
  log.info('Fused by %s:\n%s', method, _table(scores))
  log.info('%s', metrics.summary(f'{split}, fused', scores))
  for text in scores['warnings']:
    log.warning('%s', text)
  log.info('Results are in %s', workdir / f'report_{split}.md')
  return scores


def _read(
  runs: Sequence[pathlib.Path],
  workdir: pathlib.Path,
  method: str,
  weights: Sequence[float],
) -> tuple[list[Part], list[Part]]:
  """Reads the parts of a fusion, and those that an SVM is trained on.

  Raises:
    FileNotFoundError: a run was not evaluated.
    ValueError: their splits differ, or `workdir` has another result.
  """
  parts, train = [Part.read(run) for run in runs], []
  split = parts[0].split
  for part in parts[1:]:
    if part.split != split:
      raise ValueError(
        f'{parts[0].run} was tested on its {split} split, and {part.run} on '
        f'its {part.split} split.'
      )
  _check_results(workdir, split, method, list(map(str, runs)), weights)
  if method == 'svm':
    train = [Part.read(train_file(run)) for run in runs]
  return parts, train


def _check_results(
  workdir: pathlib.Path,
  split: str,
  method: str,
  runs: list[str],
  weights: Sequence[float],
) -> None:
  """Refuses a workdir with another result, which would be lost."""
  before = results.read_all(workdir).get(split)
  if before is None:
    return
  if 'method' not in before:
    raise ValueError(
      f'{workdir} has the result of a run. Write the fused results to a '
      'workdir of their own.'
    )
  made = [(part['run'], part['weight']) for part in before['runs']]
  if (before['method'], made) != (
    method,
    list(zip(runs, weights, strict=True)),
  ):
    old = ', '.join(f'{weight:g} x {run}' for run, weight in made)
    raise ValueError(
      f'{workdir} has a fusion by {before["method"]} of {old}. Write this one '
      'to another workdir.'
    )


def _aligned(
  runs: Sequence[pathlib.Path], parts: Sequence[Part]
) -> list[Predictions]:
  """Matches videos and classes; the log tells of videos that do not count."""
  found = fusion.align([p.predictions for p in parts], list(map(str, runs)))
  for run, part, aligned in zip(runs, parts, found, strict=True):
    if lost := int(part.predictions.scored.sum() - aligned.scored.sum()):
      text = '%d videos that %s has scored were not read by another run'
      log.warning(text, lost, run)
  return found


def _warn_of_log_probs(
  runs: Sequence[pathlib.Path], predictions: Sequence[Predictions], method: str
) -> None:
  """Tells of runs that averaged probabilities, and have no raw scores."""
  for run, part in zip(runs, predictions, strict=True):
    if method == 'logits' and fusion.are_log_probs(part):
      log.warning(
        '%s averaged the probabilities of its views: their logarithms are its '
        'raw scores. --config.eval_average=logits keeps logits',
        run,
      )


def _accuracies(predictions: Predictions) -> dict[str, float]:
  """Returns the accuracies of a run, on the videos that all runs scored."""
  found = metrics.compute_metrics(predictions)
  return {metric: found[metric] for metric in metrics.TITLES}


def _table(scores: dict[str, Any]) -> str:
  """Returns the runs and what became of them, for a terminal."""
  return tabulate.tabulate(
    fusion.fused_rows(scores), 'keys', 'plain', disable_numparse=True
  )


def _fuse_folds(
  runs: Sequence[pathlib.Path],
  workdir: pathlib.Path,
  method: str,
  weights: Sequence[float],
) -> dict[str, Any]:
  """Fuses cross-validations fold by fold, and writes their mean."""
  numbers = [cross_validation.finished_runs(run) for run in runs]
  for run, found in zip(runs, numbers, strict=True):
    if found != numbers[0]:
      raise ValueError(
        f'{runs[0]} has {_folds(numbers[0])}, and {run} {_folds(found)}: fuse '
        'runs of the same folds and seeds.'
      )
  for fold, seed in numbers[0]:  # All fit before the first is written.
    name = f'fold_{fold}_seed_{seed}'
    own = [run / name for run in runs]
    for parts in _read(own, workdir / name, method, weights):
      if parts:  # For the training only of an SVM.
        fusion.align([p.predictions for p in parts], list(map(str, own)))

  def score(fold: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    workdirs.make_writable(folder)
    name = f'fold_{fold}_seed_{seed}'
    return _fuse([run / name for run in runs], folder, method, weights)

  folds = sorted({fold for fold, _ in numbers[0]})
  cross_validation.write_folds(workdir, folds)
  return cross_validation.over_runs(workdir, numbers[0], score)


def _folds(numbers: Sequence[tuple[int, int]]) -> str:
  """Returns folds and seeds in words, 'folds 0, 1 of seeds 0'."""
  folds, seeds = (sorted(set(values)) for values in zip(*numbers, strict=True))
  return (
    f'folds {", ".join(map(str, folds))} of seeds {", ".join(map(str, seeds))}'
  )
