# SPDX-License-Identifier: Apache-2.0
"""A run on one page: how it learned, what it confuses, what it cost.

The page is a single file that needs no network. Its frame, styles and words are
in report.html; here is what goes into its places.
"""

import datetime
import importlib.resources
import json
import logging
import os
import pathlib
import string
from typing import Any

from flax import traverse_util
import ml_collections

from flatten_jax.evaluation import results
from flatten_jax.evaluation.failed_videos import PATHS
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.reporting import html_parts, mistakes, svg
from flatten_jax.reporting.svg import escape
from flatten_jax.runtime import run_log
from flatten_jax.runtime.trained import as_trained

log = logging.getLogger('flatten_jax')

MISTAKES = 12  # Shown with their clips.
UNREADABLE = 200  # Named; the file has all.


def report(workdir: str | os.PathLike) -> pathlib.Path:
  """Writes workdir/report.html, which any browser opens from disk.

  Curves, confusion matrix, best and worst classes, the wrong answers that the
  model was surest of with their frames, cost, speed, config, versions and what
  could not be read.

  Args:
    workdir: of a run that was evaluated; frames are on the page if its videos
      are still where they were.

  Returns:
    The page.

  Raises:
    FileNotFoundError: there is no checkpoint, or nothing was evaluated.
  """
  workdir = pathlib.Path(workdir)
  config = as_trained(None, workdir)
  split, scores = read_scores(workdir)
  predictions = Predictions.load(workdir / f'predictions_{split}.npz')
  rows = _metrics(workdir)
  wrong = mistakes.most_confident(
    predictions, views.parse(scores['views']).count, MISTAKES
  )
  wrong = mistakes.with_clips(wrong, split, config, workdir)
  places = {
    'title': escape(workdir.resolve().name),
    'subtitle': subtitle(config, split, scores, workdir),
    'tiles': html_parts.tiles(scores, rows),
    'curves': html_parts.curves(rows),
    'confusion': svg.confusion_matrix(
      predictions.confusion(), predictions.class_names
    ),
    'confused': html_parts.confused(scores),
    'classes': html_parts.classes(scores, predictions),
    'mistakes': html_parts.cards(wrong),
    'machine': machine(workdir),
    'config': html_parts.table(sorted(_flat(config).items())),
    'unreadable': unreadable(workdir),
  }
  template = importlib.resources.files('flatten_jax.analysis')
  text = template.joinpath('report.html').read_text()
  page = workdir / 'report.html'
  page.write_text(string.Template(text).substitute(places), encoding='utf-8')
  log.info('%s: %.1f MB', page, page.stat().st_size / 1e6)
  return page


def read_scores(workdir: pathlib.Path) -> tuple[str, dict[str, Any]]:
  """The split that was tested, and what results.json says of it."""
  split, scores = results.tested(workdir)
  if 'confused' not in scores:  # Of an old version.
    raise FileNotFoundError(results.ABSENT.format(workdir))
  return split, scores


def _metrics(workdir: pathlib.Path) -> list[dict[str, float]]:
  """What was logged while it trained; nothing where the log is not there."""
  try:
    return run_log.read_metrics(workdir)
  except FileNotFoundError:
    return []


def _flat(config: ml_collections.ConfigDict) -> dict[str, Any]:
  return traverse_util.flatten_dict(config.to_dict(), sep='.')


def subtitle(
  config: ml_collections.ConfigDict,
  split: str,
  scores: dict[str, Any],
  workdir: pathlib.Path,
) -> str:
  """Which model on which videos, and when."""
  data = config.data
  place = 'the embedded motion_clips' if data.motion_clips else data.root
  tested = (workdir / 'results.json').stat().st_mtime
  date = datetime.datetime.fromtimestamp(tested)
  return escape(
    f'{config.model.name} on {data.num_frames} frames of {data.crop} px, '
    f'{config.flatten}; {place or data.train}, {split} split; '
    f'step {scores["step"]}; {date:%Y-%m-%d %H:%M}'
  )


def machine(workdir: pathlib.Path) -> str:
  """Devices, versions and commit of the training, as run.json has them."""
  path = workdir / 'run.json'
  if not path.exists():
    return '<p class="quiet">There is no run.json.</p>'
  found = json.loads(path.read_text())['machine']
  libraries, devices = found.pop('libraries'), found.pop('devices')
  devices = f'{len(devices)}: {", ".join(devices[:8])}'
  rows = {'devices': devices} | found | libraries
  return html_parts.table(
    [(name.replace('_', ' '), value) for name, value in rows.items()]
  )


def unreadable(workdir: pathlib.Path) -> str:
  """Which videos could not be read, and why."""
  path = workdir / 'unreadable.txt'
  text = path.read_text(**PATHS) if path.exists() else ''
  lines = text.splitlines()
  if not lines:
    return '<p class="quiet">All videos could be read.</p>'
  rows = [tuple(line.split('\t', 1)) for line in lines[:UNREADABLE]]
  more = len(lines) - len(rows)
  rest = f'<p class="quiet">And {more} more, in unreadable.txt.</p>'
  return html_parts.table([row for row in rows if len(row) == 2]) + (
    rest if more else ''
  )
