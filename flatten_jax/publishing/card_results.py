# SPDX-License-Identifier: Apache-2.0
"""The results on a model card: those of the very weights that are pushed."""

import dataclasses
import pathlib
import re
from typing import Any

from flatten_jax.evaluation import (
  metrics,
  protocols,
  report,
  results as result_files,
)
from flatten_jax.evaluation.predictions import Predictions
from flatten_jax.inputs import views as views_notation
from flatten_jax.reporting import words
from flatten_jax.runtime.loaded_model import LoadedModel

# In which a test on the same videos may differ from the run's own.
_OF_VIEWS = {'views', 'short_side', 'test_short_side', 'resize'}


@dataclasses.dataclass(frozen=True)
class Results:
  """The known results of a model.

  Attributes:
    rows: scores, the run's own test first; of other views on the same videos.
    words: about the first, in sentences; '' without any.
    older: whether there are results, all of other weights of the run.
  """

  rows: tuple[dict[str, Any], ...] = ()
  words: str = ''
  older: bool = False

  @property
  def own(self) -> dict[str, Any] | None:
    """The run's own test, if it was made."""
    return self.rows[0] if self.rows else None

  @property
  def warnings(self) -> list[str]:
    """Sentences about a test that says little."""
    return self.rows[0].get('warnings', []) if self.rows else []


def of_model(folder: pathlib.Path, model: LoadedModel) -> Results:
  """Reads the results of the weights of a model.

  Args:
    folder: the workdir.
    model: loaded from it.
  """
  found = result_files.read_all(folder)
  name, own = next(iter(found.items()), ('', {}))
  if not own or own.get('step') != model.step or not own.get('scored'):
    return Results(older=bool(own))
  rows = [row for row in found.values() if _is_comparable(row, own)]
  described = tuple(_described(row) for row in rows)
  return Results(described, _in_words(folder, name, own))


def _is_comparable(row: dict[str, Any], own: dict[str, Any]) -> bool:
  """Returns whether a result is of the same weights and videos as another."""
  if row is own:
    return True
  if 'protocol' not in row or 'protocol' not in own or not row.get('scored'):
    return False
  changed = protocols.differences(row['protocol'], own['protocol'])
  return changed.keys() <= _OF_VIEWS


def _described(row: dict[str, Any]) -> dict[str, Any]:
  """Returns scores with the text of each cell of the table."""
  views = views_notation.parse(row['views'])
  # Results of before tests had names of other protocols.
  several = 'map' in row
  return row | {
    'split': 'val'
    if str(row.get('name', 'test')).startswith('val')
    else 'test',
    'views_in_words': views.describe(),
    'count': views.count,
    'score': row['map' if several else 'top1'],
    'interval': metrics.interval(row),
    'gflops': f'{row["gflops_per_view"]:.3g} x {views.count}',
  }


def _in_words(folder: pathlib.Path, name: str, own: dict[str, Any]) -> str:
  """Returns what report.html says about the run's own test."""
  path = folder / f'predictions_{name}.npz'
  if not path.exists():
    return '' if 'map' in own else words.score(own)
  predictions = Predictions.load(path)
  scores = metrics.compute_metrics(predictions) | report.details(predictions)
  if predictions.multi_label:
    return words.of_several_labels(scores)
  return words.paragraph(scores, predictions.confusion())


def index(results: Results, data: str) -> list[dict[str, Any]]:
  """Returns the entries of the card's model-index, as the Hub reads them.

  Args:
    results: from `of_model`.
    data: name of the data set; '' if it is the user's own.
  """
  return [
    {
      'task': {
        'type': 'video-classification',
        'name': 'Video classification',
      },
      'dataset': {
        'type': re.sub(r'\W+', '-', data.lower()).strip('-') or 'own-videos',
        'name': data or 'own videos',
        'split': row['split'],
      },
      'metrics': list(_metrics(row)),
    }
    for row in results.rows
  ]


def _metrics(row: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the metrics of one result, as shares of 1."""
  kinds = {
    'top1': 'accuracy',
    'top5': 'accuracy',
    'map': 'mean_average_precision',
  }
  titles = metrics.shown(row)
  return [
    {
      'type': kind,
      'name': f'{titles[key].removesuffix(" %")}, {row["views_in_words"]}',
      'value': round(float(row[key]) / 100, 4),
    }
    for key, kind in kinds.items()
    if key in titles
  ]
