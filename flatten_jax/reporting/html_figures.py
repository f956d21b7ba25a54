# SPDX-License-Identifier: Apache-2.0
"""Figures inside of report.html: curves as SVG, pictures as data URIs."""

import base64
from collections.abc import Sequence
import io
import re
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
import numpy as np
from PIL import Image

from flatten_jax.evaluation import certainty
from flatten_jax.inputs.augment import transforms

_FRAME = 96  # px, largest side of a frame on the page.
_MARKERS = 60  # Points up to which a curve has markers.
# Limits of the y axis, and lines: name, metric, its scale and colour.
_CHARTS = {
  'Loss': ((0, None), [('training', 'train/loss', 1, 'right')]),
  'Top-1, %': (
    (0, 100),
    [
      ('training clips', 'train/accuracy', 100, 'right'),
      ('validation', 'val/top1', 1, 'wrong'),
    ],
  ),
}
_SEVERAL = {  # Of several labels a video.
  'Loss': _CHARTS['Loss'],
  'mAP and hit@1, %': (
    (0, 100),
    [
      ('hit@1 of training clips', 'train/accuracy', 100, 'right'),
      ('mAP of the validation', 'val/map', 1, 'wrong'),
    ],
  ),
}
# matplotlib draws in these stand-ins for the page's CSS variables, so that
# figures follow the dark mode of the browser.
_COLORS = {
  'right': '#000001',
  'wrong': '#000002',
  'quiet': '#000003',
  'rule': '#000004',
}
_STYLE = {
  'svg.fonttype': 'none',  # Text, in the font of the page.
  'xtick.color': _COLORS['quiet'],
  'ytick.color': _COLORS['quiet'],
  'axes.labelcolor': _COLORS['quiet'],
  'grid.color': _COLORS['rule'],
}


def training_charts(
  rows: Sequence[dict[str, float]], multi_label: bool = False
) -> list[dict[str, Any]]:
  """Draws loss and accuracy, or mAP, of a training log.

  Returns:
    'title', 'lines' (name -> colour) and 'svg' of each chart. A chart has at
    least one line of two finite points; a line of one is a dot.
  """
  charts = []
  chosen = _SEVERAL if multi_label else _CHARTS
  for title, (limits, lines) in chosen.items():
    points = {
      (name, color): [
        (row['step'], scale * row[key]) for row in rows if key in row
      ]
      for name, key, scale, color in lines
    }
    points = {line: found for line, found in points.items() if found}
    if any(np.isfinite(found).all(1).sum() > 1 for found in points.values()):
      svg = _training_chart(title, points, limits)
      charts.append({'title': title, 'lines': dict(list(points)), 'svg': svg})
  return charts


def _training_chart(
  title: str, points: dict[tuple[str, str], list], limits: tuple
) -> Markup:
  with rc_context(_STYLE | {'svg.hashsalt': title}):
    figure = Figure(figsize=(5.6, 3), layout='constrained')
    axes = figure.subplots()
    for (_, color), found in points.items():
      axes.plot(
        *np.transpose(found),
        marker='o' if len(found) <= _MARKERS else '',
        ms=4,
        color=_COLORS[color],
        clip_on=False,
      )
    axes.set(xlabel='step', xlim=(0, None), ylim=limits)
    return _finish(figure)


def reliability_diagram(bins: Sequence[dict[str, Any]]) -> Markup:
  """Draws the top-1 of each bin of probability against that probability.

  Bars are 95 % intervals; the diagonal is a network that is right as often as
  its probabilities say.

  Args:
    bins: of `calibration.bins`.

  Returns:
    A figure; empty for fewer than two bins.
  """
  if len(bins) < 2:
    return Markup()
  x, y, count = (
    np.array([entry[key] for entry in bins])
    for key in ('confidence', 'top1', 'videos')
  )
  ends = [
    certainty.interval(top1 * videos / 100, videos)
    for top1, videos in zip(y, count, strict=True)
  ]
  low, high = np.transpose(ends)
  with rc_context(_STYLE | {'svg.hashsalt': 'reliability'}):
    figure = Figure(figsize=(4.4, 3.6), layout='constrained')
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=_COLORS['quiet'], lw=1, ls='--')
    axes.vlines(x, low, high, color=_COLORS['rule'], lw=3)
    area = 16 + 160 * count / count.max()
    axes.scatter(x, y, area, color=_COLORS['right'], zorder=3, clip_on=False)
    axes.set(xlabel='probability of the answer, %', ylabel='right, %')
    axes.set(xlim=(0, 100), ylim=(0, 100))
    return _finish(figure)


def _finish(figure: Figure) -> Markup:
  (axes,) = figure.axes
  axes.grid(axis='y')
  axes.spines[:].set_visible(False)
  axes.tick_params(length=0)
  return _svg(figure)


def _svg(figure: Figure) -> Markup:
  """Returns a figure in the colours of the page."""
  file = io.StringIO()
  metadata = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
  figure.savefig(file, format='svg', transparent=True, metadata=metadata)
  svg = file.getvalue()
  svg = re.sub(r' xmlns(:\w+)?="[^"]*"', '', svg[svg.index('<svg') :])
  for name, color in _COLORS.items():
    svg = svg.replace(color, f'var(--{name})')
  return Markup(svg)


def confusion_image(shares: np.ndarray) -> str:
  """Encodes [K K] shares in [0, 1] as a transparent image, a pixel per cell."""
  right = np.eye(len(shares), dtype=bool)[..., None]
  color = np.where(right, (50, 120, 235), (220, 70, 60))
  # Even a single video stays visible.
  alpha = np.where(shares > 0, 60 + 195 * np.sqrt(shares), 0)[..., None]
  return _data_uri(np.concatenate([color, alpha], axis=-1), 'png')


def strip(clip: np.ndarray) -> str:
  """Encodes frames side by side as one picture; uint8 [T H W 3]."""
  if clip.shape[1] > _FRAME:
    clip = transforms.resize(clip, (_FRAME, _FRAME))
  return _data_uri(np.concatenate(list(clip), axis=1), 'jpeg')


def _data_uri(pixels: np.ndarray, kind: str) -> str:
  file = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(file, kind, quality=88)
  encoded = base64.b64encode(file.getvalue()).decode()
  return f'data:image/{kind};base64,{encoded}'
