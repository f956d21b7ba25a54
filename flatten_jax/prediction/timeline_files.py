# SPDX-License-Identifier: Apache-2.0
"""A video's timeline as text, JSON, CSV and a picture."""

import pathlib

from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from flatten_jax.prediction import results
from flatten_jax.prediction.classifier import top
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.timelines import Timeline, clock
from flatten_jax.text import escape_mathtext, sanitize

SHOWN = 10  # Classes on the picture.
WIDTH = 10  # Inches of its time axis.


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """<video>.txt, .json, .csv and .png in `folder`.

  The suffix of the video stays in their names: a.mp4 and a.avi may lie side by
  side. So do the folders that it is in.
  """
  timeline = prediction.timeline
  base = folder / prediction.video
  base.parent.mkdir(parents=True, exist_ok=True)

  def path(suffix: str) -> pathlib.Path:
    return base.with_name(base.name + suffix)

  rows = [
    ([float(start), float(end)], top(row, timeline.class_names, 5))
    for (start, end), row in zip(
      timeline.seconds, timeline.probabilities, strict=True
    )
  ]
  path('.txt').write_text(f'{timeline}\n')
  results.write_table(path('.csv'), ['start', 'end'], rows)
  content = results.described(prediction) | {
    'segments': [
      {'start': start, 'end': end, 'class': name, 'probability': share}
      for start, end, name, share in timeline.segments()
    ],
    'seconds': [
      {'start': start, 'end': end, 'top': results.pairs(found)}
      for (start, end), found in rows
    ],
  }
  results.write_json(path('.json'), content)
  draw(timeline, path('.png'), sanitize(prediction.video))


def draw(timeline: Timeline, path: pathlib.Path, title: str) -> None:
  """Frames above, and below them how probable which class is when."""
  chosen = shown_classes(timeline.probabilities)
  frames = np.concatenate(list(timeline.frames), axis=1)
  high, low = WIDTH * frames.shape[0] / frames.shape[1], 0.34 * len(chosen)
  figure = matplotlib.figure.Figure(
    figsize=(WIDTH + 3, high + low + 1.2), layout='constrained'
  )
  strip, heat = figure.subplots(2, 1, sharex=True, height_ratios=(high, low))
  edges = np.append(timeline.seconds[:, 0], timeline.seconds[-1, 1])
  strip.imshow(frames, extent=(0, edges[-1], 0, 1), aspect='auto')
  strip.set_axis_off()
  strip.set_title(escape_mathtext(title), loc='left', fontsize=11)
  image = draw_heat(heat, timeline, chosen, edges)
  figure.colorbar(image, ax=heat, label='probability', aspect=12)
  figure.savefig(path, dpi=120)


def draw_heat(axes: Axes, timeline: Timeline, chosen, edges) -> QuadMesh:
  """Probabilities of the `chosen` classes; what is the answer, underlined."""
  shares = timeline.probabilities[:, chosen].T
  rows = np.arange(len(chosen))
  image = axes.pcolormesh(
    edges, np.append(rows, len(rows)), shares, cmap='Blues', vmin=0, vmax=1
  )
  answer = timeline.probabilities.argmax(-1)
  for row, number in enumerate(chosen):
    there = answer == number
    height = np.full(there.sum(), row + 0.94)
    axes.hlines(height, edges[:-1][there], edges[1:][there], color='C1', lw=3)
  names = [escape_mathtext(timeline.class_names[number]) for number in chosen]
  axes.set_yticks(rows + 0.5, names)
  axes.tick_params(axis='y', length=0)
  axes.invert_yaxis()
  axes.spines[:].set_visible(False)
  time = matplotlib.ticker.FuncFormatter(lambda second, _: clock(second))
  axes.xaxis.set_major_formatter(time)
  axes.set_xlabel('minutes:seconds; underlined: the answer')
  return image


def shown_classes(probabilities: np.ndarray) -> np.ndarray:
  """Which of the classes of [N K] to draw, in the order in which they come.

  Those that are the answer for longest, and others that come near it.
  """
  best, answers = probabilities.max(0), probabilities.argmax(-1)
  times = np.bincount(answers, minlength=len(best))
  chosen = np.lexsort((-best, -times))[:SHOWN]
  chosen = chosen[(times[chosen] > 0) | (best[chosen] > 0.2)]
  is_answer = answers[:, None] == chosen
  begins = np.where(is_answer.any(0), is_answer.argmax(0), len(answers))
  return chosen[np.argsort(begins, kind='stable')]
