# SPDX-License-Identifier: Apache-2.0
"""Predictions of videos, and their files: JSON, CSV and timelines."""

from collections.abc import Iterator, Sequence
import contextlib
import csv
import dataclasses
import errno
import io
import json
import logging
import pathlib
from typing import Any

import numpy as np

from flatten_jax import paths
from flatten_jax.prediction.chosen_classes import (
  Thresholds,
  TopClasses,
  answers,
  probabilities_of,
  thresholds_of,
  top_classes,
)
from flatten_jax.prediction.timelines import Timeline
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.text import sanitize

log = logging.getLogger('flatten_jax')

NOT_FINITE = 'the model gives no finite scores'


def to_json(
  top: TopClasses, several: TopClasses | None = None
) -> dict[str, Any]:
  """Returns classes as 'top' in a JSON file, and 'labels' if there are any."""
  groups = {'top': top} if several is None else {'labels': several, 'top': top}
  return {
    key: [{'class': name, 'probability': p} for name, p in classes]
    for key, classes in groups.items()
  }


def to_cell(classes: TopClasses) -> str:
  """Returns several labels as they are in the cell of a table: 'a;b'."""
  return ';'.join(name for name, _ in classes)


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction:
  """Class probabilities of one video.

  Attributes:
    video: its path, relative to the folder of all classified videos.
    class_names: K names.
    probabilities: float32 [K]; None without an answer.
    error: why there is no answer: the video cannot be read, or the scores are
      not finite; empty if there is one.
    timeline: class by second, if requested and possible.
    thresholds: of a multi-label model, the probability from which each class is
      one of the `labels`; None for one label per video.
  """

  video: str
  class_names: tuple[str, ...]
  probabilities: np.ndarray | None = None
  error: str = ''
  timeline: Timeline | None = None
  thresholds: Thresholds = None

  @classmethod
  def of_logits(
    cls, model: LoadedModel, video: str, logits: np.ndarray
  ) -> 'Prediction':
    """Returns the prediction of mean logits, float32 [K]."""
    names, limits = model.class_names, thresholds_of(model)
    probabilities = probabilities_of(model, logits)
    if np.isnan(probabilities).any():
      return cls(video, names, error=NOT_FINITE, thresholds=limits)
    return cls(video, names, probabilities, thresholds=limits)

  @property
  def labels(self) -> TopClasses:
    """The classes from their thresholds on, with probabilities, best first.

    The most probable one of a model that gives a video one label.
    """
    if self.probabilities is None:
      return []
    return answers(self.probabilities, self.class_names, self.thresholds)

  @property
  def label(self) -> str:
    """The most probable class; '' without an answer."""
    return self.top(1)[0][0] if not self.error else ''

  def top(self, count: int = 5) -> TopClasses:
    """Returns the most probable classes with probabilities, best first."""
    if self.probabilities is None:
      return []
    return top_classes(self.probabilities, self.class_names, count)

  @property
  def failure(self) -> str:
    """The error in words that follow the name of the video."""
    verb = 'has no answer' if self.error == NOT_FINITE else 'cannot be read'
    return f'{verb}: {self.error}'

  def line(self, width: int = 0) -> str:
    """Returns one line for people, the name padded to `width` characters."""
    name = sanitize(self.video)
    if self.error:
      return f'{name:<{width}}  {self.failure}'
    return f'{name:<{width}}  {self.classes_line()}'

  def classes_line(self) -> str:
    """Returns the answer, and the classes that come next, for people."""
    if self.thresholds is not None:
      return self._several()
    (answer, share), *rest = self.top()
    others = ', '.join(f'{other} {100 * share:.1f}' for other, share in rest)
    column = min(max(map(len, self.class_names)), 24)
    return f'{answer:<{column}} {100 * share:5.1f} %  ({others})'

  def _several(self) -> str:
    """Returns the labels, and the classes that come next, for people."""
    found = self.labels
    names = {name for name, _ in found}
    every = self.top(len(self.class_names))
    rest = [(name, p) for name, p in every if name not in names][:3]
    answer, others = (
      ', '.join(f'{name} {100 * p:.1f}' for name, p in part)
      for part in (found, rest)
    )
    others = f'  (below: {others})' if others else ''
    return (f'{answer} %' if answer else 'no class') + others

  def basis(self) -> list[str]:
    """Returns lines about how answer and timeline were made."""
    timeline = self.timeline
    whole = ', '.join(f'{name} {share:.0%}' for name, share in self.labels)
    lines = [
      f'whole video: {whole or "no class"} ({timeline.whole})',
      f'timeline: {timeline.window}',
    ]
    if difference := self._difference():
      lines += [f'They show different frames and differ: {difference}']
    return lines

  def _difference(self) -> str:
    """Returns in words how the timeline differs from the answer; '' if not."""
    if self.thresholds is None:
      mostly = self.timeline.answer()
      if mostly == self.label:
        return ''
      return f'mostly {mostly or "no class"} below'
    whole = {name for name, _ in self.labels}
    parts = {name for _, _, name, _ in self.timeline.segments()}
    texts = {'below': parts - whole, 'in the whole video': whole - parts}
    return '; '.join(
      f'{", ".join(sorted(names))} only {where}'
      for where, names in texts.items()
      if names
    )

  def timeline_text(self) -> str:
    """Returns the timeline below its `basis`."""
    basis = ''.join(f'  {line}\n' for line in self.basis())
    return f'{basis}{self.timeline}'

  def to_json(self) -> dict[str, Any]:
    """Returns the video with its top classes or its error."""
    content = {'error': self.error}
    if not self.error:
      several = None if self.thresholds is None else self.labels
      content = to_json(self.top(), several)
    return {'video': sanitize(self.video)} | content

  def __repr__(self) -> str:
    return self.line()


def write(
  folder: pathlib.Path, predictions: Sequence[Prediction], model: LoadedModel
) -> None:
  """Writes predictions.json and predictions.csv."""
  folder.mkdir(parents=True, exist_ok=True)
  content = {
    'model': model.source,
    'views': str(model.views),
    'class_names': model.class_names,
    'videos': [prediction.to_json() for prediction in predictions],
  }
  if model.config.data.multi_label:
    content['thresholds'] = list(predictions[0].thresholds)
  rows = [
    ({'video': sanitize(p.video), 'error': p.error} | _labels(p), p.top())
    for p in predictions
  ]
  write_files(folder / 'predictions', content, rows)
  log.info('Predictions are in %s', folder)


def _labels(prediction: Prediction) -> dict[str, str]:
  """Returns the cell of several labels of a table, if it has one."""
  if prediction.thresholds is None:
    return {}
  return {'labels': to_cell(prediction.labels)}


def write_files(
  path: pathlib.Path,
  content: dict[str, Any],
  rows: Sequence[tuple[dict[str, Any], TopClasses]],
) -> None:
  """Writes `path`.json and `path`.csv.

  The columns of the rows are their cells, then class_1, probability_1, ...
  """
  text = json.dumps(content, indent=2, allow_nan=False) + '\n'
  paths.write_text(path.with_name(f'{path.name}.json'), text)
  table = []
  for cells, top in rows:
    for i, (name, p) in enumerate(top, start=1):
      cells = cells | {f'class_{i}': name, f'probability_{i}': f'{p:.6f}'}
    table.append(cells)
  file = io.StringIO()
  writer = csv.DictWriter(file, max(table, key=len))
  writer.writeheader()
  writer.writerows(table)
  paths.write_text(path.with_name(f'{path.name}.csv'), file.getvalue())


@contextlib.contextmanager
def names_may_be_too_long(video: str) -> Iterator[None]:
  """Logs that a video's files are left out, if their names are too long."""
  try:
    yield
  except OSError as error:
    if error.errno != errno.ENAMETOOLONG:
      raise
    log.warning('The name of %s is too long for files that add to it', video)
