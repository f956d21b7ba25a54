# SPDX-License-Identifier: Apache-2.0
"""Files of a video's timeline: text, JSON, CSV and a figure."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
import numpy as np

from flatten_jax import paths
from flatten_jax.prediction import results
from flatten_jax.prediction.chosen_classes import top_classes
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.timelines import Timeline, clock
from flatten_jax.text import escape_mathtext, sanitize, save_figure, wrap

_MAX_CLASSES = 10  # In the figure.
_WIDTH = 10  # inches, of the time axis
_TICKS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # seconds


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """Writes <video>.txt, .json, .csv and .png into `folder`.

  Their names keep the suffix of the video, since a.mp4 and a.avi may be in one
  folder, and the folders that it is in.
  """
  timeline, path = prediction.timeline, folder / prediction.video
  path.parent.mkdir(parents=True, exist_ok=True)
  seconds, rows = [], []
  for number, (start, end) in enumerate(timeline.seconds.tolist()):
    window = timeline.probabilities[number]
    times, cells, several = {'start': start, 'end': end}, {}, None
    if np.isnan(window).any():
      seconds.append(times | {'error': results.NOT_FINITE})
      rows.append((times, []))
      continue
    top = top_classes(window, timeline.class_names, 5)
    if timeline.thresholds is not None:
      several = timeline.labels(number)
      cells = {'labels': results.to_cell(several)}
    seconds.append(times | results.to_json(top, several))
    rows.append((times | cells, top))
  keys = ('start', 'end', 'class', 'probability')
  content = prediction.to_json() | {
    'basis': prediction.basis(),
    'segments': [
      dict(zip(keys, segment, strict=True)) for segment in timeline.segments()
    ],
    'seconds': seconds,
  }
  results.write_files(path, content, rows)
  text = f'{prediction.timeline_text()}\n'
  paths.write_text(path.with_name(f'{path.name}.txt'), text)
  title = '\n'.join([sanitize(prediction.video), *prediction.basis()])
  draw(timeline, path.with_name(f'{path.name}.png'), title)


def draw(timeline: Timeline, path: pathlib.Path, title: str) -> None:
  """Draws frames, and class probabilities over time below them."""
  classes = shown_classes(timeline)
  frames = np.concatenate(list(timeline.frames), axis=1)
  edges = np.append(timeline.seconds[:, 0], timeline.seconds[-1, 1])
  heights = _WIDTH * frames.shape[0] / frames.shape[1], 0.34 * len(classes)
  figure = Figure((_WIDTH + 3, sum(heights) + 1.7), layout='constrained')
  strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=heights)
  strip.imshow(frames, extent=(0, edges[-1], 0, 1), aspect='auto')
  strip.set_axis_off()
  title = escape_mathtext(wrap(title, 110))
  strip.set_title(title, loc='left', fontsize=11)
  values = timeline.probabilities[:, classes].T
  lines = np.arange(len(classes) + 1)
  image = axes.pcolormesh(edges, lines, values, cmap='Blues', vmin=0, vmax=1)
  figure.colorbar(image, ax=axes, label='probability', aspect=12)
  mask = timeline.answer_mask
  for row, number in enumerate(classes):
    times = np.flatnonzero(mask[:, number])
    height = np.full(len(times), row + 0.94)
    axes.hlines(height, edges[times], edges[times + 1], color='C1', lw=3)
  names = [wrap(timeline.class_names[i], 30, max_lines=2) for i in classes]
  axes.set_yticks(lines[:-1] + 0.5, [escape_mathtext(n) for n in names])
  axes.tick_params(axis='y', length=0)
  axes.invert_yaxis()
  axes.spines[:].set_visible(False)
  step = next((step for step in _TICKS if edges[-1] <= 12 * step), _TICKS[-1])
  axes.xaxis.set_major_locator(MultipleLocator(step))
  axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: clock(time)))
  answer = 'the answer' if timeline.thresholds is None else 'the labels'
  axes.set_xlabel(f'minutes:seconds; underlined: {answer}')
  save_figure(figure, path, dpi=120)


def shown_classes(timeline: Timeline) -> np.ndarray:
  """Returns the classes to draw, in order of their first answer.

  These are the most frequent answers, and classes that come near; at least one.
  """
  best = np.nan_to_num(timeline.probabilities).max(0)
  mask = timeline.answer_mask
  counts = mask.sum(0)
  chosen = np.lexsort((-best, -counts))[:_MAX_CLASSES]
  near = (counts[chosen] > 0) | (best[chosen] > 0.2)
  near[0] = True
  chosen = chosen[near]
  shown = mask[:, chosen]
  first = np.where(shown.any(0), shown.argmax(0), len(shown))
  return chosen[np.argsort(first, kind='stable')]
