# SPDX-License-Identifier: Apache-2.0
"""Result files of a workdir: results.json, predictions, confusion matrix."""

import csv
import json
import os
import pathlib
from typing import Any

from flatten_jax import paths
from flatten_jax.evaluation.metrics import Predictions, compute_metrics

ABSENT = '{} has no complete results.json; --mode=evaluate writes it.'


def write_results(
  workdir: str | pathlib.Path,
  split: str,
  scores: dict[str, Any],
  predictions: Predictions,
) -> None:
  """Writes results.json, predictions_<split>.npz, confusion_<split>.csv."""
  workdir = pathlib.Path(workdir)
  predictions.save(workdir / f'predictions_{split}.npz')
  table = workdir / f'confusion_{split}.csv'
  with table.open('w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file)
    writer.writerow(['label \\ answer', *predictions.class_names])
    rows = zip(predictions.class_names, predictions.confusion(), strict=True)
    writer.writerows([name, *counts] for name, counts in rows)
  path = workdir / 'results.json'
  partial = path.with_suffix('.partial')
  results = _read(workdir) | {split: scores}
  partial.write_text(json.dumps(results, indent=2) + '\n')
  os.replace(partial, path)


def tested(workdir: str | pathlib.Path) -> tuple[str, dict[str, Any]]:
  """Reads results.json: the tested split and its scores.

  The split is 'test', or 'val' if there is no test split with labels.

  Raises:
    FileNotFoundError: nothing was evaluated.
  """
  results = _read(workdir)
  split = 'test' if 'test' in results else 'val'
  if split not in results:
    raise FileNotFoundError(ABSENT.format(workdir))
  return split, results[split]


def score_workdir(workdir: str | pathlib.Path) -> dict[str, Any]:
  """Computes accuracies from the prediction files of a workdir.

  Returns:
    {split: accuracies}, see `compute_metrics`.

  Raises:
    FileNotFoundError: nothing was evaluated there.
  """
  files = sorted(paths.expand(workdir).glob('predictions_*.npz'))
  if not files:
    raise FileNotFoundError(
      f'No predictions_*.npz in {workdir}; --mode=evaluate writes one.'
    )
  return {
    file.stem.removeprefix('predictions_'): compute_metrics(
      Predictions.load(file)
    )
    for file in files
  }


def _read(workdir: str | pathlib.Path) -> dict[str, Any]:
  path = pathlib.Path(workdir) / 'results.json'
  return json.loads(path.read_text()) if path.exists() else {}
