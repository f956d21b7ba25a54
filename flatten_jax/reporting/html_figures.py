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


def training_charts(rows: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
  """Draws loss and accuracy of a training log.

  Returns:
    'title', 'lines' (name -> colour) and 'svg' of each chart; the last two are
    empty if nothing was logged.
  """
  charts = []
  for title, (limits, lines) in _CHARTS.items():
    chart = {'title': title, 'lines': {}, 'svg': ''}
    with rc_context(_STYLE | {'svg.hashsalt': title}):
      figure = Figure(figsize=(5.6, 3), layout='constrained')
      axes = figure.subplots()
      for name, key, scale, color in lines:
        points = [(row['step'], scale * row[key]) for row in rows if key in row]
        if points:
          chart['lines'][name] = color
          axes.plot(
            *np.transpose(points),
            marker='o' if len(points) <= _MARKERS else '',
            ms=4,
            color=_COLORS[color],
            clip_on=False,
          )
      axes.set(xlabel='step', xlim=(0, None), ylim=limits)
      axes.grid(axis='y')
      axes.spines[:].set_visible(False)
      axes.tick_params(length=0)
      if chart['lines']:
        chart['svg'] = _svg(figure)
    charts.append(chart)
  return charts


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
