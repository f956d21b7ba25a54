# SPDX-License-Identifier: Apache-2.0
"""Result files of a workdir: results.json, predictions, confusion matrix.

Each result has a name: that of its split for the run's own test, and for other
protocols also what is different, as 'test_3x4'.
"""

import csv
import io
import itertools
import json
import logging
import pathlib
import shutil
from typing import Any

from flatten_jax import paths
from flatten_jax.evaluation import protocols, report
from flatten_jax.evaluation.metrics import Predictions, compute_metrics
from flatten_jax.evaluation.protocols import Protocol

log = logging.getLogger('flatten_jax')

ABSENT = '{} has no complete results.json; --mode=evaluate writes it.'
FILES = 'predictions_{}.npz', 'confusion_{}.csv', 'report_{}.md'


def write_results(
  workdir: str | pathlib.Path,
  name: str,
  scores: dict[str, Any],
  predictions: Predictions,
) -> None:
  """Writes results.json and the `FILES` of one result, each in one piece.

  Args:
    workdir: of the run.
    name: of the result, see `place`.
    scores: accuracies and `report.details`.
    predictions: that they were computed from.
  """
  workdir = pathlib.Path(workdir)
  before = _read(workdir).get(name, {})
  if 'order' in before and before.get('protocol') == scores.get('protocol'):
    scores = {'order': before['order']} | scores
  predictions.save(workdir / f'predictions_{name}.npz')
  if not predictions.multi_label:
    paths.write_text(workdir / f'confusion_{name}.csv', _confusion(predictions))
  paths.write_text(workdir / f'report_{name}.md', report.markdown(name, scores))
  _write(workdir, _read(workdir) | {name: scores})


def _confusion(predictions: Predictions) -> str:
  table = io.StringIO()
  writer = csv.writer(table)
  writer.writerow(['label \\ answer', *predictions.class_names])
  rows = zip(predictions.class_names, predictions.confusion(), strict=True)
  writer.writerows([label, *counts] for label, counts in rows)
  return table.getvalue()


def place(
  workdir: str | pathlib.Path, split: str, protocol: Protocol, own: Protocol
) -> str:
  """Returns the name for a new result; keeps the one that it would replace.

  The result of the same protocol is replaced. The run's own result of another
  protocol, for example of an earlier step, gets a name of its own first.

  Args:
    workdir: of the run.
    split: that was tested.
    protocol: of the new result.
    own: the run's own protocol, on the same videos.
  """
  workdir = pathlib.Path(workdir)
  results = _read(workdir)
  if protocol != own:
    return _free_name(results, split, protocol, own)
  if split not in results:
    return split
  before = results[split]
  # Results of earlier versions have no protocol.
  known = {key: before[key] for key in ('views', 'step', 'videos')}
  known = before.get('protocol') or protocol | known
  if known != protocol:
    name = _free_name(results, split, known, protocol)
    for file in FILES:
      if (workdir / file.format(split)).exists():
        shutil.copy2(workdir / file.format(split), workdir / file.format(name))
    kept = before | {'protocol': known, 'name': name}
    _write(workdir, results | {name: kept})
  return split


def _free_name(
  results: dict[str, Any], split: str, protocol: Protocol, own: Protocol
) -> str:
  """Returns the name of a protocol's result; others' names are numbered on."""
  first = name = f'{split}_{protocols.short_name(protocol, own)}'
  for number in itertools.count(2):
    if results.get(name, {}).get('protocol', protocol) == protocol:
      return name
    name = f'{first}_{number}'


def read_all(workdir: str | pathlib.Path) -> dict[str, dict[str, Any]]:
  """Returns all results by name, the run's own first."""
  results = _read(workdir)
  own = {name: results[name] for name in ('test', 'val') if name in results}
  return own | results


def tested(workdir: str | pathlib.Path) -> tuple[str, dict[str, Any]]:
  """Reads results.json: the split that the run tests, and its scores.

  The split is 'test', or 'val' if there is no test split with labels.

  Raises:
    FileNotFoundError: nothing was evaluated.
  """
  name, scores = next(iter(read_all(workdir).items()), ('', {}))
  if name not in ('test', 'val'):
    raise FileNotFoundError(ABSENT.format(workdir))
  return name, scores


def score_workdir(workdir: str | pathlib.Path) -> dict[str, Any]:
  """Computes accuracies from the prediction files of a workdir.

  Returns:
    By name of the result, what `compute_metrics` and `report.details_of_all`
    return.

  Raises:
    FileNotFoundError: nothing was evaluated there.
    ValueError: a file is damaged.
  """
  files = sorted(paths.expand(workdir).glob('predictions_*.npz'))
  if not files:
    raise FileNotFoundError(
      f'No predictions_*.npz in {workdir}; --mode=evaluate writes one.'
    )
  loaded = [Predictions.load(file) for file in files]
  scores = [compute_metrics(p) | report.details_of_all(p) for p in loaded]
  names = [file.stem.removeprefix('predictions_') for file in files]
  return dict(zip(names, scores, strict=True))


def _read(workdir: str | pathlib.Path) -> dict[str, Any]:
  """Returns results.json; empty if there is none, or if it is damaged."""
  path = pathlib.Path(workdir) / 'results.json'
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
      raise ValueError(f'expected results by name, got {found!r:.40}')
    return found
  except ValueError as error:  # A training must not end for it.
    log.warning('%s is damaged and counts as empty: %s', path, error)
    return {}


def _write(workdir: pathlib.Path, results: dict[str, Any]) -> None:
  paths.write_text(
    workdir / 'results.json', json.dumps(results, indent=2) + '\n'
  )
