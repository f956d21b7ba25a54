# SPDX-License-Identifier: Apache-2.0
"""Writes report.html: a run on one page, in one file that needs no network.

`report.html` next to this module is the jinja2 template.
"""

import datetime
import importlib.resources
import json
import logging
import os
import pathlib
import statistics
from typing import Any

from flax import traverse_util
import jinja2
import numpy as np

from flatten_jax import paths
from flatten_jax.checkpoints.load import load_config
from flatten_jax.evaluation import report as class_metrics, results
from flatten_jax.evaluation.failed_videos import PATH_ENCODING
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.reporting import html_figures, mistakes
from flatten_jax.runtime.workdir import run_log

log = logging.getLogger('flatten_jax')

_MISTAKES = 12  # Cards with clips.
_UNREADABLE = 200  # Listed; the file has all.
_ALL_CLASSES = 24  # Up to this number, every class is listed.
_MATRIX_CELLS = 30  # Classes up to which the confusion matrix is a table.


def report(workdir: str | os.PathLike) -> pathlib.Path:
  """Writes workdir/report.html, which any browser opens from disk.

  It shows training curves, the confusion matrix, best and worst classes, the
  most confident mistakes with their frames, cost, speed, config, versions and
  unreadable videos.

  Args:
    workdir: of a run that was evaluated; the page shows frames if the videos
      are still in their place.

  Returns:
    The path of the page.

  Raises:
    FileNotFoundError: there is no checkpoint, or nothing was evaluated.
  """
  workdir = paths.expand(workdir)
  config = load_config(workdir)
  split, scores = results.tested(workdir)
  if 'confused' not in scores:
    raise FileNotFoundError(results.ABSENT.format(workdir))
  predictions = Predictions.load(workdir / f'predictions_{split}.npz')
  num_views = views.parse(scores['views']).count
  wrong = mistakes.most_confident(predictions, _MISTAKES)
  results_time = (workdir / 'results.json').stat().st_mtime
  environment = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  template = importlib.resources.files(__package__).joinpath('report.html')
  text = environment.from_string(template.read_text()).render(
    title=workdir.resolve().name,
    config=config,
    flat_config=traverse_util.flatten_dict(config.to_dict(), sep='.'),
    split=split,
    scores=scores,
    num_views=num_views,
    date=datetime.datetime.fromtimestamp(results_time),
    class_names=predictions.class_names,
    classes=class_metrics.per_class(predictions),
    all_classes=_ALL_CLASSES,
    mistakes=mistakes.with_clips(wrong, split, config, workdir),
    strip=html_figures.strip,
    **_training(workdir),
    **_confusion(predictions),
    **_unreadable(workdir),
  )
  page = workdir / 'report.html'
  # Names may contain bytes that are not UTF-8.
  page.write_text(text, encoding='utf-8', errors='backslashreplace')
  log.info('%s: %.1f MB', page, page.stat().st_size / 1e6)
  return page


def _training(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns 'charts', medians of speed and waiting, and the 'machine'."""
  path = workdir / 'run.json'
  run = json.loads(path.read_text()) if path.exists() else {}
  found = {'machine': run.get('machine')}
  try:
    rows = run_log.read_metrics(workdir)
  except FileNotFoundError:
    rows = []
  for key in ('clips_per_second', 'input_wait'):
    values = [row[key] for row in rows if key in row]
    found[key] = statistics.median(values) if values else None
  return found | {'charts': html_figures.training_charts(rows)}


def _confusion(predictions: Predictions) -> dict[str, Any]:
  """Returns counts and shares of the label's videos [K K], or an image."""
  counts = predictions.confusion()
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  if len(counts) > _MATRIX_CELLS:
    return {'confusion_image': html_figures.confusion_image(shares)}
  return {
    'confusion_image': None,
    'counts': counts.tolist(),
    'shares': shares.tolist(),
  }


def _unreadable(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns (video, cause) of 'unreadable' videos, and how many are 'more'."""
  path = workdir / 'unreadable.txt'
  lines = path.read_text(**PATH_ENCODING).splitlines() if path.exists() else []
  rows = [line.split('\t', 1) for line in lines[:_UNREADABLE] if '\t' in line]
  return {'unreadable': rows, 'more': max(0, len(lines) - _UNREADABLE)}
