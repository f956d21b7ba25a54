# SPDX-License-Identifier: Apache-2.0
"""The figure of the page: accuracy against cost."""

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.own_videos.runs import LINEAR, WAYS, Cell, FilmedSet
from flatten_jax.text import escape_mathtext, save_figure

MARKERS = 'osD^v<>pX'
APART = 1.08  # Points of one cost are drawn side by side.


def draw(sets: list[FilmedSet], path: pathlib.Path) -> None:
  """Draws accuracy against cost, a panel for each set."""
  systems = list(dict.fromkeys(c.system for s in sets for c in s.cells))
  ways = list(dict.fromkeys((*WAYS, *(c.way for s in sets for c in s.cells))))
  columns = min(len(sets), 2)
  rows = -(-len(sets) // columns)
  figure = Figure(figsize=(5 * columns, 3.4 * rows + 1), layout='constrained')
  panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
  handles = {}
  costs = [c.gflops for s in sets for c in s.cells if _has_point(c)]
  for axes, filmed in zip(panels, sets, strict=False):
    if costs:  # Of one system alone, too: a log axis without a range is bare.
      axes.set_xlim(min(costs) / 2, max(costs) * 2)
    handles |= _draw_set(axes, filmed, systems, ways)
  for axes in panels[len(sets) :]:
    axes.remove()
  figure.legend(
    handles.values(),
    handles.keys(),
    loc='outside lower center',
    ncols=columns,
    frameon=False,
  )
  save_figure(figure, path, dpi=130)


def _has_point(cell: Cell) -> bool:
  """Returns whether the cost of a system is known; the linear one is a line."""
  return bool(cell.gflops) and cell.system != LINEAR


def _draw_set(
  axes: Axes, filmed: FilmedSet, systems: list[str], ways: list[str]
) -> dict:
  """Draws the cells of a set whose cost is known; returns them by label."""
  handles = {}
  for cell in filmed.cells:
    if cell.system == LINEAR:
      axes.axhline(cell.summary.mean, color='0.3', ls='--', lw=1)
    if not _has_point(cell):
      continue
    low, high = cell.summary.interval
    mean, number = cell.summary.mean, ways.index(cell.way)
    way = WAYS.get(cell.way, cell.way)
    handles[escape_mathtext(f'{cell.title}, {way}')] = axes.errorbar(
      cell.gflops * APART ** (number - 1.5),
      mean,
      [[max(mean - low, 0)], [max(high - mean, 0)]],
      color=f'C{systems.index(cell.system)}',
      marker=MARKERS[number % len(MARKERS)],
      ls='',
      capsize=3,
      lw=1,
    )
  axes.axhline(filmed.chance, color='0.6', ls=':', lw=1)
  title = escape_mathtext(filmed.name)
  axes.set(title=title, xscale='log', ylim=(0, 100))
  axes.set(xlabel='GFLOPs of a video', ylabel='top-1, %')
  axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter('{x:g}')
  axes.xaxis.set_minor_formatter('')
  axes.tick_params(labelbottom=True)
  axes.grid(alpha=0.3)
  axes.spines[['top', 'right']].set_visible(False)
  return handles
