# SPDX-License-Identifier: Apache-2.0
"""What was found in each video, in memory and on disk."""

from collections.abc import Sequence
import csv
import dataclasses
import json
import logging
import os
import pathlib
from typing import Any

import numpy as np

from flatten_jax.prediction.classifier import Classifier, Top, top
from flatten_jax.prediction.timelines import Timeline
from flatten_jax.text import sanitize

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction:
  """What a model says of one video.

  Attributes:
    video: its path, from the folder that holds all that were classified.
    class_names: K names.
    probabilities: float32 [K]; None where the video cannot be read.
    error: why it cannot; empty if it can.
    timeline: class by second, where that was asked for and can be had.
  """

  video: str
  class_names: tuple[str, ...]
  probabilities: np.ndarray | None = None
  error: str = ''
  timeline: Timeline | None = None

  def top(self, count: int = 5) -> Top:
    """The most probable classes and their probabilities, best first."""
    if self.probabilities is None:
      return []
    return top(self.probabilities, self.class_names, count)

  def line(self, width: int = 0) -> str:
    """One line for people; the name is padded to so many characters."""
    name = sanitize(self.video)
    if self.error:
      return f'{name:<{width}}  cannot be read: {self.error}'
    (answer, share), *rest = self.top()
    others = ', '.join(f'{other} {100 * share:.1f}' for other, share in rest)
    column = min(max(map(len, self.class_names)), 24)
    return (
      f'{name:<{width}}  {answer:<{column}} {100 * share:5.1f} %  ({others})'
    )

  def __repr__(self) -> str:
    return self.line()


def write(
  folder: str | os.PathLike,
  predictions: Sequence[Prediction],
  classifier: Classifier,
) -> None:
  """Writes predictions.json and .csv, and timelines/ where there are any."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  content = {
    'model': classifier.source,
    'views': str(classifier.views),
    'class_names': classifier.class_names,
    'videos': [described(prediction) for prediction in predictions],
  }
  write_json(folder / 'predictions.json', content)
  write_table(
    folder / 'predictions.csv',
    ['video', 'error'],
    [([sanitize(p.video), p.error], p.top()) for p in predictions],
  )
  if any(prediction.timeline for prediction in predictions):
    from flatten_jax.prediction import timeline_files  # It takes matplotlib.

    for prediction in predictions:
      if prediction.timeline:
        timeline_files.write(folder / 'timelines', prediction)
  log.info('Predictions are in %s', folder)


def described(prediction: Prediction) -> dict[str, Any]:
  """One video as JSON."""
  found = {'video': sanitize(prediction.video)}
  if prediction.error:
    return found | {'error': prediction.error}
  return found | {'top': pairs(prediction.top())}


def pairs(found: Top) -> list[dict[str, Any]]:
  """Classes and probabilities as JSON."""
  return [{'class': name, 'probability': share} for name, share in found]


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  """Readable, with a line's end at its end."""
  path.write_text(json.dumps(content, indent=2) + '\n')


def write_table(
  path: pathlib.Path, columns: list[str], rows: Sequence[tuple[list, Top]]
) -> None:
  """A CSV: what is told, then class_1, probability_1, class_2, ..."""
  count = max((len(found) for _, found in rows), default=0)
  for place in range(1, count + 1):
    columns = [*columns, f'class_{place}', f'probability_{place}']
  with path.open('w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file)
    writer.writerow(columns)
    for told, found in rows:
      cells = [cell for name, p in found for cell in (name, f'{p:.6f}')]
      missing = [''] * (2 * (count - len(found)))
      writer.writerow([*told, *cells, *missing])
