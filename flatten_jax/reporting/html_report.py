# SPDX-License-Identifier: Apache-2.0
"""Writes report.html: a run on one page, in one file that needs no network.

`report.html` next to this module is the jinja2 template.
"""

import datetime
import os
import pathlib
import statistics
from typing import Any

from flax import traverse_util
import ml_collections

from flatten_jax import paths
from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.load import load_config
from flatten_jax.evaluation import (
  calibration,
  metrics,
  protocols,
  report as class_metrics,
  results,
)
from flatten_jax.evaluation.failed_videos import PATH_ENCODING
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.reporting import (
  comparison_page,
  examples,
  html_classes,
  html_figures,
  html_template,
  repeat_command,
)
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import run_summary, step_log

_MISTAKES = 12  # Cards with clips.
_SUCCESSES = 6  # The same, of right answers.
_UNREADABLE = 200  # Listed; the file has all.
_ALL_CLASSES = 24  # Up to this number, every class is listed.


def report(workdir: str | os.PathLike) -> pathlib.Path:
  """Writes workdir/report.html, which any browser opens from disk.

  It says in words how good the run is, and shows its score next to chance,
  training curves, the results of all protocols, and of the run's own the
  confusion matrix, the scores of classes, how sure the network is, the most
  confident mistakes and some right answers with their frames; then cost, speed,
  the command that repeats the run, config, versions and unreadable videos. For
  a comparison it shows the table and the pictures.

  Args:
    workdir: of a run that was trained or evaluated; the page shows frames if
      the videos are still in their place. Or of `--mode=compare`.

  Returns:
    The path of the page.

  Raises:
    FileNotFoundError: there is no checkpoint, or neither a training log nor a
      result.
    ValueError: the predictions of a result are damaged or missing.
  """
  workdir = paths.expand(workdir)
  if comparison_page.is_comparison(workdir):
    return comparison_page.write(workdir)
  config = load_config(workdir)
  name = workdir.resolve().name
  run = run_summary.read(workdir)
  found = results.read_all(workdir)  # None without test videos.
  if not found and not (workdir / 'metrics.jsonl').exists():
    raise FileNotFoundError(results.ABSENT.format(workdir))
  text = html_template.load('report.html').render(
    title=title_of(workdir.resolve()),
    several=config.data.multi_label,
    config=config,
    arranged=preprocess.describe(config),
    flat_config=traverse_util.flatten_dict(config.to_dict(), sep='.'),
    **_results(workdir, config, found, run),
    **_training(workdir, config),
    machine=run.get('machine'),
    command=repeat_command.lines(
      config, run.get('config_file', ''), name, run.get('overrides')
    ),
    training=_trained(workdir, config, found),
    **_unreadable(workdir),
  )
  page = workdir / 'report.html'
  # Names may contain bytes that are not UTF-8.
  page.write_text(text, encoding='utf-8', errors='backslashreplace')
  return page


def title_of(workdir: pathlib.Path) -> str:
  """Returns the name of a run, with its folder if it is only a number."""
  name = workdir.name
  return f'{workdir.parent.name}/{name}' if name.isdecimal() else name


def _results(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  found: dict[str, dict[str, Any]],
  run: dict[str, Any],
) -> dict[str, Any]:
  """Returns what the page shows of the first result and tells of the others."""
  if not found:
    return {'scores': None, 'successes': (), 'warnings': ()}
  name, scores = next(iter(found.items()))
  path = workdir / f'predictions_{name}.npz'
  predictions = Predictions.load(path)
  details, several = class_metrics.details(predictions), predictions.multi_label
  # Earlier versions wrote neither an interval nor the level of chance.
  scores = metrics.compute_metrics(predictions) | details | scores
  wrong = examples.mistakes(predictions, _MISTAKES)
  right = examples.successes(predictions, _SUCCESSES)
  split = name.partition('_')[0]
  shown = examples.with_clips([*wrong, *right], split, config, workdir)
  return {
    'all_results': found,
    'other': {key: _other(entry, scores) for key, entry in found.items()},
    'name': name,
    'date': datetime.datetime.fromtimestamp(path.stat().st_mtime),
    'scores': scores,
    'warnings': scores.get('warnings', ()),
    'num_views': views.parse(scores['views']).count,
    'class_names': predictions.class_names,
    'split': split,
    'classes': class_metrics.per_class(predictions),
    'class_table': html_classes.table(predictions, split, run),
    'details': details,
    'all_classes': _ALL_CLASSES,
    'reliability': html_figures.reliability_diagram(details['calibration']),
    'bins': calibration.BINS,
    'thresholds': metrics.thresholds_text(scores) if several else '',
    'mistakes': [example for example in shown if not example.right],
    'successes': [example for example in shown if example.right],
    'strip': html_figures.strip,
  } | html_classes.of_labels(scores, predictions)


def _other(scores: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
  """Returns views, step and what else is other than in the run's own test."""
  other = {'views': scores['views'], 'step': scores['step']}
  if 'protocol' in own and 'protocol' in scores:  # Not in earlier versions.
    other |= protocols.differences(scores['protocol'], own['protocol'])
  return {k: v for k, v in other.items() if not k.startswith('videos')}


def _training(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> dict[str, Any]:
  """Returns 'charts', 'time', and medians of speed and waiting."""
  found: dict[str, Any] = {}
  try:
    rows = run_log.read_metrics(workdir)
  except FileNotFoundError:
    rows = []
  for key in ('clips_per_second', 'input_wait'):
    values = [row[key] for row in rows if key in row]
    found[key] = statistics.median(values) if values else None
  clips = config.batch_size * config.data.repeated_aug
  seconds, before = 0.0, 0.0
  for row in rows:
    if speed := row.get('clips_per_second'):
      seconds += (row['step'] - before) * clips / speed
      before = row['step']
  found['time'] = step_log.duration(seconds) if seconds else ''
  charts = html_figures.training_charts(rows, config.data.multi_label)
  return found | {'charts': charts}


def _trained(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  found: dict[str, dict[str, Any]],
) -> dict[str, Any]:
  """Returns what the checkpoints tell of the training.

  Returns:
    The number of training 'videos', 0 if it is unknown, in a sentence which
    checkpoint was 'tested' and the reason, '' if it is gone, and in another the
    'best' validation, '' if there is none or it was tested.
  """
  with model_folder.open_to_read(workdir) as checkpoints:
    last = checkpoints.choose()
    trained = {'videos': checkpoints.info(last).videos}
    trained |= {'tested': '', 'best': ''}
    reasons = {last: 'the last one'}
    step = next(iter(found.values()))['step'] if found else None
    epoch = lambda step: f'epoch {checkpoints.info(step).epoch:.1f}'  # noqa: E731
    if (best := checkpoints.best_step()) is not None:
      key = 'map' if config.data.multi_label else 'top1'
      value = f'{metrics.percent(checkpoints.scores(best)[key])} %'
      if config.test_checkpoint == 'best':
        reasons[best] = f'the best of the validations, with {value}'
      if config.test_checkpoint != 'best' or step != best:
        trained['best'] = f'Best validation: after {epoch(best)}, with {value}.'
    if checkpoints.info(last).refit_from is not None:
      reasons[last] += ', of a training on the validation videos too'
    if step in reasons:
      text = f'the checkpoint after {epoch(step)}, {reasons[step]}'
      trained['tested'] = f'Tested: {text}.'
  return trained


def _unreadable(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns (video, cause) of 'unreadable' videos, and how many are 'more'."""
  path = workdir / 'unreadable.txt'
  lines = path.read_text(**PATH_ENCODING).splitlines() if path.exists() else []
  rows = [line.split('\t', 1) for line in lines[:_UNREADABLE] if '\t' in line]
  return {'unreadable': rows, 'more': max(0, len(lines) - _UNREADABLE)}
