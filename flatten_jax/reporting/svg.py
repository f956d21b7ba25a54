# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG, for a page that is one file: they take its colours."""

import base64
from collections.abc import Sequence
import dataclasses
import html
import math

import cv2
import numpy as np

from flatten_jax.text import escape_surrogates

_WIDTH, _HEIGHT = 560, 300  # Of a chart, in its own units.
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 40
_FEW_POINTS = 60  # Up to which each of a line is marked.
_CELL = 26  # Of a confusion matrix.
_DRAWN = 30  # Classes up to which its cells are drawn one by one.


@dataclasses.dataclass(frozen=True)
class Series:
  """A line: points [N] and [N], and the style class that gives it a colour."""

  name: str
  x: np.ndarray
  y: np.ndarray
  style: str


def line_chart(
  series: Sequence[Series],
  x_label: str,
  y_label: str,
  y_range: tuple[float, float] | None = None,
) -> str:
  """An SVG of lines with axes, grid and legend; each point tells its value."""
  series = [line for line in series if len(line.x)]
  if not series:
    return '<p class="quiet">Nothing was recorded.</p>'
  y = np.concatenate([line.y for line in series])
  low, high = y_range or (float(min(y.min(), 0)), float(y.max()) * 1.05 or 1)
  last = max(float(line.x.max()) for line in series)

  def place(x: float, y: float) -> tuple[float, float]:
    across = _LEFT + x / last * (_WIDTH - _LEFT - _RIGHT)
    share = (y - low) / (high - low)
    return across, _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

  parts = [*_axes(low, high, last, place, x_label)]
  for line in series:
    parts += _line(line, place, x_label)
  legend = ''.join(
    f'<span class="key {line.style}">{escape(line.name)}</span>'
    for line in series
  )
  return (
    f'<figure><figcaption>{escape(y_label)}<span class="keys">{legend}</span>'
    f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    f'aria-label="{escape(y_label)}">{"".join(parts)}</svg></figure>'
  )


def _line(line: Series, place, x_label: str) -> list[str]:
  """A line, and its points where they are few."""
  points = [place(*point) for point in zip(line.x, line.y, strict=True)]
  path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
  parts = [f'<polyline class="line {line.style}" points="{path}"/>']
  if len(points) <= _FEW_POINTS:
    parts += [
      f'<circle class="{line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>'
      f'{escape(line.name)}, {x_label} {at:g}: {value:.4g}</title></circle>'
      for (x, y), at, value in zip(points, line.x, line.y, strict=True)
    ]
  return parts


def _axes(low, high, last, place, x_label) -> list[str]:
  """Grid lines with their values."""
  parts = []
  for value in ticks(low, high):
    x, y = place(0, value)
    parts.append(
      f'<line class="grid" x1="{x}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" '
      f'y2="{y:.1f}"/><text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end">'
      f'{value:g}</text>'
    )
  for value in ticks(0, last):
    x, y = place(value, low)
    parts.append(
      f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{value:g}'
      '</text>'
    )
  parts.append(
    f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">'
    f'{escape(x_label)}</text>'
  )
  return parts


def ticks(low: float, high: float, count: int = 5) -> list[float]:
  """About so many round values from `low` to `high`."""
  rough = (high - low) / count
  power = 10 ** math.floor(math.log10(rough))
  step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [round(i * step, 10) for i in range(first, last + 1)]


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> str:
  """[K K] counts, label by answer; many classes become an image without names.

  A cell is as strong as its share of the label's videos: what is right in one
  colour, what is wrong in another.
  """
  share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  if len(names) > _DRAWN:
    return _as_image(share)
  left = 8 + 7 * max(len(name) for name in names)
  size = _CELL * len(names)
  parts = []
  for i, name in enumerate(names):
    middle = i * _CELL + _CELL / 2
    parts += [
      f'<text x="-8" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
      f'<text transform="translate({middle + 4} -8) rotate(-60)">'
      f'{escape(name)}</text>',
    ]
    for j, other in enumerate(names):
      told = f'{name} taken for {other}: {counts[i, j]}'
      parts.append(_cell(i, j, int(counts[i, j]), share[i, j], told))
  width, height = left + size + 70, left + size
  return (
    f'<svg class="matrix" style="max-width:{1.3 * width:.0f}px" '
    f'viewBox="{-left} {-left} {width} {height}" role="img" '
    f'aria-label="Confusion matrix">{"".join(parts)}</svg>'
  )


def _cell(row: int, column: int, count: int, share: float, told: str) -> str:
  """One square, its number if it has one, and what it says when pointed at."""
  x, y, side = column * _CELL, row * _CELL, _CELL - 2
  box = f'x="{x}" y="{y}" width="{side}" height="{side}" rx="3"'
  parts = [f'<title>{escape(told)}</title><rect class="cell" {box}/>']
  if count:
    style = 'right' if row == column else 'wrong'
    strength = 0.12 + 0.88 * share
    text = ' class="on"' if strength > 0.6 else ''
    parts.append(
      f'<rect class="{style}" {box} fill-opacity="{strength:.2f}"/>'
      f'<text{text} x="{x + side / 2}" y="{y + side / 2 + 4}" '
      f'text-anchor="middle">{count}</text>'
    )
  return f'<g>{"".join(parts)}</g>'


def _as_image(share: np.ndarray) -> str:
  """[K K] in [0, 1] as a transparent picture, a pixel or more for each cell."""
  right = np.eye(len(share), dtype=bool)[..., None]
  color = np.where(right, (235, 120, 50), (60, 70, 220))  # BGR
  # What happened once is seen, too.
  alpha = np.where(share > 0, 60 + 195 * np.sqrt(share), 0)[..., None]
  pixels = np.concatenate([color, alpha], axis=-1).astype(np.uint8)
  return (
    f'<img class="matrix" alt="Confusion matrix" src="{data_uri(pixels)}">'
    '<p class="quiet">Rows are labels, columns answers, both in the order of '
    'the classes; blue is right, red wrong.</p>'
  )


def data_uri(pixels: np.ndarray, suffix: str = '.png') -> str:
  """A picture inside of the page; uint8 [H W 3 or 4] in BGR."""
  kind = 'png' if suffix == '.png' else 'jpeg'
  quality = [] if kind == 'png' else [cv2.IMWRITE_JPEG_QUALITY, 88]
  _, encoded = cv2.imencode(suffix, pixels, quality)
  text = base64.b64encode(encoded.tobytes()).decode()
  return f'data:image/{kind};base64,{text}'


def escape(text: object) -> str:
  """Any text as part of a page."""
  return html.escape(escape_surrogates(str(text)), quote=True)
