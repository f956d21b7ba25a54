# SPDX-License-Identifier: Apache-2.0
"""The parts of a run's page: figures, curves, bars, mistakes. Text to HTML."""

from collections.abc import Sequence
import statistics
from typing import Any

import numpy as np

from flatten_jax.evaluation import report as tables
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.inputs.augment import transforms
from flatten_jax.reporting import svg
from flatten_jax.reporting.mistakes import Mistake
from flatten_jax.reporting.svg import Series, escape

_FEW = 24  # Classes up to which all are listed.
_FRAME = 96  # px, the side of a frame on the page, at most.


def tiles(scores: dict[str, Any], rows: Sequence[dict[str, float]]) -> str:
  """The figures that one looks for first."""
  seen = views.parse(scores['views'])
  figures = [
    ('top-1', f'{scores["top1"]:.1f}', '%'),
    ('top-5', f'{scores["top5"]:.1f}', '%'),
    ('mean class', f'{scores["mean_class"]:.1f}', '%'),
    ('videos scored', f'{scores["scored"]} of {scores["videos"]}', ''),
    (
      f'GFLOPs x views; {scores["views"]}',
      f'{scores["gflops_per_view"]:.3g} x {seen.count}',
      '',
    ),
    ('parameters', f'{scores["params_m"]:.3g}', 'M'),
  ]
  logged = [row for row in rows if 'clips_per_second' in row]
  if logged:
    speed, wait = (
      statistics.median(row[key] for row in logged)
      for key in ('clips_per_second', 'input_wait')
    )
    figures += [
      ('training, median', f'{speed:.3g}', 'clips/s'),
      ('of that, waiting for videos', f'{wait:.0f}', '%'),
    ]
  return ''.join(
    f'<div class="tile"><b>{escape(value)}<small> {unit}</small></b>'
    f'<span>{escape(name)}</span></div>'
    for name, value, unit in figures
  )


def curves(rows: Sequence[dict[str, float]]) -> str:
  """Loss, and accuracy in training and validation."""

  def series(name, key, style, scale=1.0):
    own = [row for row in rows if key in row]
    x = np.array([row['step'] for row in own])
    return Series(name, x, scale * np.array([row[key] for row in own]), style)

  loss = [series('training', 'train/loss', 'a')]
  accuracy = [
    series('training clips', 'train/accuracy', 'a', 100.0),
    series('validation', 'val/top1', 'b'),
  ]
  return svg.line_chart(loss, 'step', 'Loss') + svg.line_chart(
    accuracy, 'step', 'Top-1, %', (0.0, 100.0)
  )


def confused(scores: dict[str, Any]) -> str:
  """The pairs that are taken for each other most often."""
  if not scores['confused']:
    return '<p class="quiet">No video got a wrong answer.</p>'
  rows = ''.join(
    f'<tr><td>{escape(pair["label"])}</td><td>{escape(pair["answer"])}</td>'
    f'<td class="number">{pair["videos"]} of {pair["of"]}</td></tr>'
    for pair in scores['confused']
  )
  return (
    '<table><tr><th>is</th><th>was taken for</th><th class="number">videos</th>'
    f'</tr>{rows}</table>'
  )


def classes(scores: dict[str, Any], predictions: Predictions) -> str:
  """Every class with a bar; of many, the best and the worst."""
  names = predictions.class_names
  if len(names) > _FEW:
    lists = [
      ('Found best', scores['best_classes']),
      ('Found worst', scores['worst_classes']),
    ]
  else:
    # Both ends together are all of them.
    rows = tables.per_class(predictions)
    middle = -(-len(rows) // 2)
    lists = [
      ('Share of its videos that is found', rows[:middle]),
      ('&nbsp;', rows[middle:]),
    ]
  return ''.join(
    f'<div><h3>{title}</h3>{bars(rows)}</div>' for title, rows in lists if rows
  )


def bars(rows: Sequence[dict[str, Any]]) -> str:
  """A bar for each class, as long as its top-1."""
  return (
    '<table class="bars">'
    + ''.join(
      f'<tr><td>{escape(row["name"])}</td><td class="bar"><i style="width:'
      f'{row["top1"]:.1f}%"></i></td><td class="number">{row["top1"]:.1f} %'
      f'</td><td class="number quiet">{row["videos"]} videos</td></tr>'
      for row in rows
    )
    + '</table>'
  )


def cards(wrong: Sequence[Mistake]) -> str:
  """A card for each mistake, surest first."""
  if not wrong:
    return '<p class="quiet">There are none: every answer was right.</p>'
  words = 'Probabilities are those of the mean over all views.'
  if any(mistake.looked is not None for mistake in wrong):
    words += (
      ' Frames are those that the model saw; below them, what spoke for its '
      'answer (Grad-CAM).'
    )
  elif all(mistake.clip is None for mistake in wrong):
    words += ' Their videos were not found, so there are no frames.'
  note = f'<p class="quiet">{words}</p>'
  return note + ''.join(card(mistake) for mistake in wrong)


def card(mistake: Mistake) -> str:
  """What it is, what it was taken for, and its frames, still and moving."""
  (answer, _), *_ = mistake.top
  rows = ''.join(
    f'<tr><td>{escape(name)}</td><td class="bar"><i class='
    f'"{"right" if name == mistake.label else "wrong"}" style="width:'
    f'{100 * share:.1f}%"></i></td><td class="number">{100 * share:.1f} %</td>'
    '</tr>'
    for name, share in mistake.top
  )
  style, pictures = frames(mistake)
  return (
    f'<article class="card" style="{style}"><header><h3>'
    f'{escape(mistake.label)} <span>taken for</span> {escape(answer)}</h3>'
    f'<code>{escape(mistake.video)}</code></header>{pictures}'
    f'<table class="bars">{rows}</table></article>'
  )


def frames(mistake: Mistake) -> tuple[str, str]:
  """Variables for the style of a card, and what shows them.

  The moving picture is the strip, seen through a window of one frame.
  """
  if mistake.clip is None:
    return '', ''
  count = len(mistake.clip)
  style = f'--count:{count};--strip:url({strip(mistake.clip)})'
  rows = f'<div class="strip" role="img" aria-label="{count} frames"></div>'
  if mistake.looked is not None:
    style += f';--heat:url({strip(mistake.looked)})'
    rows += (
      '<div class="strip heat" role="img" aria-label="where it looked"></div>'
    )
  return style, (
    f'<div class="seen"><div class="player"></div><div class="strips">{rows}'
    '</div></div>'
  )


def strip(clip: np.ndarray) -> str:
  """Frames side by side as one picture; uint8 [T H W 3]."""
  if clip.shape[1] > _FRAME:
    clip = transforms.resize(clip, (_FRAME, _FRAME))
  return svg.data_uri(np.concatenate(list(clip), axis=1)[..., ::-1], '.jpg')


def table(rows: Sequence[tuple[str, Any]]) -> str:
  """Names and values."""
  return (
    '<table class="values">'
    + ''.join(
      f'<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>'
      for name, value in rows
    )
    + '</table>'
  )
