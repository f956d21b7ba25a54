# SPDX-License-Identifier: Apache-2.0
"""The runs of one config, with every seed and on every fold, and their means.

What the ablation and the comparison do for each of their configs.
"""

from collections.abc import Mapping, Sequence
import itertools
import json
import logging
import pathlib
import statistics
from typing import Any

import jax
import ml_collections

from flatten_jax import paths
from flatten_jax.checkpoints import resume_check, training_data
from flatten_jax.evaluation import certainty, evaluate, results
from flatten_jax.evaluation.metrics import percent
from flatten_jax.experiments.cross_validation import cross_validate
from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.sources.videos import Videos
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import loop, run_summary

log = logging.getLogger('flatten_jax')

Runs = dict[int, list[pathlib.Path]]  # Workdirs by seed: one, or one per fold.


def train(
  config: ml_collections.ConfigDict,
  folder: pathlib.Path,
  seeds: int,
  folds: bool,
) -> Runs:
  """Trains the runs of a config that are not finished yet.

  Args:
    config: of the runs; `seed`, and `data.fold` with `folds`, are set for each.
    folder: gets a workdir for each run, and config.json.
    seeds: runs, with seeds from `config.seed` on.
    folds: trains on every fold with each seed, see `cross_validate`.

  Raises:
    ValueError: `folder` has runs of another config.
  """
  check_unchanged(config, folder)
  numbers = range(config.seed, config.seed + seeds)
  if folds:
    cross_validate(config, folder, seeds, test_again=False)
    # [0-9]: earlier versions also trained fold -1.
    return {
      seed: sorted(folder.glob(f'fold_[0-9]*_seed_{seed}')) for seed in numbers
    }
  for seed in numbers:
    if not run_summary.is_finished(folder / f'seed_{seed}'):
      own = config.copy_and_resolve_references()
      own.seed = seed
      loop.train_and_evaluate(own, folder / f'seed_{seed}')
      jax.clear_caches()  # Each run compiles its own programs.
  return {seed: [folder / f'seed_{seed}'] for seed in numbers}


def check_one_label(config: ml_collections.ConfigDict, name: str) -> None:
  """Refuses several labels a video, for what compares accuracies."""
  if config.data.multi_label:
    raise ValueError(
      f'--mode={name} compares top-1 accuracies, which config.data.multi_label='
      'True does not have. Train the runs one by one, or use '
      '--mode=cross_validate.'
    )


def check_unchanged(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> None:
  """Writes the config of runs, or refuses one that differs from an earlier.

  Other than on resuming a run, also what changes the score of a trained model:
  finished runs are not tested again.
  """
  path, asked = folder / 'config.json', config.to_dict()
  if path.exists():
    before = configs.complete(json.loads(path.read_text())).to_dict()
    before['seed'] = config.seed
    if changed := resume_check.refused_changes(
      before, asked, resume_check.SCORE_KEYS
    ):
      raise ValueError(
        f'{folder} was trained with another config:\n{changed}\n'
        'Use a new --workdir, or the values that it was started with.'
      )
  if multihost.is_first():
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


def open_videos(
  config: ml_collections.ConfigDict, folds: bool
) -> dict[str, Videos]:
  """Opens the videos of an experiment: with `folds`, those of the first."""
  if folds:
    config = config.copy_and_resolve_references()
    config.data.fold = dataset.fold_numbers(config.data)[0]
  return context.open_videos(config)


def check_same_videos(
  videos: Mapping[str, Videos], folder: pathlib.Path
) -> None:
  """Writes checksums of videos, or refuses others than of earlier runs.

  Args:
    videos: by split.
    folder: of the experiment; gets videos.json.

  Raises:
    ValueError: the videos of a split differ; it is named.
  """
  path = folder / 'videos.json'
  found = {name: training_data.describe(videos[name]) for name in videos}
  if path.exists():
    before = json.loads(path.read_text())
    for split in sorted(before.keys() | found.keys()):
      if split not in before or split not in found:
        changes = 'it was not there' if split in found else 'it is missing'
      else:
        changes = training_data.changes(before[split], found[split])
      if changes:
        raise ValueError(
          f'{folder} was begun with other videos ({split}: {changes}), so that '
          'its runs cannot be compared. Use a new --workdir.'
        )
  elif multihost.is_first():
    write_json(path, found)


def summarize(runs: Runs) -> dict[str, Any]:
  """Returns the scores by seed, their cost and their speed.

  Of every seed 'top1', of the videos of all folds together, and 'mean_class',
  the mean over the folds, on the 'split'; of all videos together the
  'top1_interval', 'chance' and 'chance_class', see `certainty.pooled`, and the
  number 'scored'; 'views', 'gflops_per_view', 'params_m', and
  'clips_per_second' in training.
  """
  folders = itertools.chain.from_iterable(runs.values())
  rows = itertools.chain.from_iterable(map(run_log.read_metrics, folders))
  key = 'clips_per_second'
  speeds = [row[key] for row in rows if key in row]
  speed = statistics.median(speeds) if speeds else None  # Of a short run.
  found = [list(map(results.tested, folders)) for folders in runs.values()]
  split, first = found[0][0]
  top1, mean_class = [], []
  for pairs in found:
    tests = [scores for _, scores in pairs]
    top1.append(together([(t['top1'], t['scored']) for t in tests]))
    mean_class.append(statistics.mean(t['mean_class'] for t in tests))
  cost = {k: first[k] for k in ('views', 'gflops_per_view', 'params_m')}
  count = sum(scores['scored'] for _, scores in found[0])
  every = [scores for pairs in found for _, scores in pairs]
  summary = {'top1': top1, 'mean_class': mean_class}
  pooled = certainty.pooled(every, count) | summary
  return pooled | {'scored': count, 'split': split} | cost | {key: speed}


def probe(
  runs: Runs, tests: Mapping[str, Mapping[str, str]]
) -> dict[str, list[float]]:
  """Tests trained models under changed configs.

  Args:
    runs: finished.
    tests: changes to the config of a run, by the name of the test.

  Returns:
    The top-1 of every seed, of the videos of all folds together, by test.
  """
  found = {}
  for name, changes in tests.items():
    found[name] = []
    for folders in runs.values():
      scores = [_probe_run(folder, name, changes) for folder in folders]
      counts = [results.tested(folder)[1]['scored'] for folder in folders]
      found[name].append(together([*zip(scores, counts, strict=True)]))
  return found


def together(parts: Sequence[tuple[float, int]]) -> float:
  """Returns the mean of the scores of parts, by their numbers of videos."""
  count = sum(number for _, number in parts)
  return sum(score * number for score, number in parts) / max(count, 1)


def _probe_run(
  folder: pathlib.Path, name: str, changes: Mapping[str, str]
) -> float:
  """Returns the top-1 of one run in one test; kept in its probes.json.

  Not if videos could not be read that the run's own test has read: it is
  repeated next time.
  """
  path = folder / 'probes.json'
  known = json.loads(path.read_text()) if path.exists() else {}
  if name not in known:
    scores = evaluate.evaluate_with(folder, dict(changes))
    known[name], scored = scores['top1'], scores['scored']
    log.info('%s, tested %s: %.2f', folder, name, known[name])
    if scored < (count := results.tested(folder)[1]['scored']):
      log.warning('Only %d of %d videos were read', scored, count)
    elif multihost.is_first():
      write_json(path, known)
    multihost.wait_for_all('a test is written')
  return known[name]


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes a file of JSON in one piece."""
  paths.write_text(path, json.dumps(content, indent=2) + '\n')


def mean_and_deviation(values: Sequence[float]) -> str:
  """Formats a mean with the sample's standard deviation, 95.2 ± 0.4."""
  deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
  return f'{percent(statistics.mean(values), 1)}{deviation}'
