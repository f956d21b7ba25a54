# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy curves of several runs, as in Figure 4 of the paper."""

from collections.abc import Mapping, Sequence
import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from flatten_jax import paths
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import escape_mathtext, save_figure, wrap

_SMOOTH = 9  # Points of the moving average of the training loss.
_MARKERS = 20  # Points up to which a curve has markers.


def draw_runs(
  runs: Sequence[str | pathlib.Path], workdir: str | pathlib.Path
) -> pathlib.Path:
  """Writes workdir/curves.png with loss and accuracy of several runs.

  Args:
    runs: workdirs; or folders of workdirs, as `--mode=cross_validate` and
      `ablate` write them, whose mean is a thicker line.
    workdir: folder of the figure; created if absent.

  Raises:
    FileNotFoundError: a folder contains no run that has logged anything.
    ValueError: there are no runs.
  """
  runs = [runs] if isinstance(runs, str | pathlib.Path) else runs
  if not runs:
    raise ValueError('Name the runs to draw, --run=FOLDER for each.')
  folders = [paths.expand(run) for run in runs]
  groups = dict(
    zip(_short_names(folders), map(_find_runs, folders), strict=True)
  )
  path = paths.expand(workdir) / 'curves.png'
  path.parent.mkdir(parents=True, exist_ok=True)
  draw_curves(groups, path)
  return path


def _find_runs(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folder if it is a workdir, or the workdirs in it."""
  name = 'metrics.jsonl'
  if (folder / name).exists():
    return [folder]
  found = sorted(path.parent for path in folder.glob(f'*/{name}'))
  if not found:
    raise FileNotFoundError(
      f'{folder} has no training log, nor has a folder in it: expected {name}.'
    )
  return found


def _short_names(folders: Sequence[pathlib.Path]) -> list[str]:
  """Returns the shortest ends of the paths that differ."""
  parts = [folder.resolve().parts for folder in folders]
  for length in range(1, max(map(len, parts)) + 1):
    names = ['/'.join(path[-length:]) for path in parts]
    if len(set(names)) == len(names):
      return names
  raise ValueError('A run is named twice in --run.')


def draw_curves(
  groups: Mapping[str, Sequence[str | pathlib.Path]],
  path: str | pathlib.Path,
) -> None:
  """Draws training loss and validation top-1 of groups of workdirs, by name.

  Runs whose videos have several labels have their mAP instead.

  The runs of a group, for example its seeds, are thin lines of one colour, and
  their mean is a thick one. The suffix of `path` chooses the format.
  """
  figure = Figure(figsize=(11, 4), layout='constrained')
  loss, accuracy = figure.subplots(1, 2)
  every = [path for workdirs in groups.values() for path in workdirs]
  key, title = 'val/top1', 'validation top-1, %'
  if any(len(_read(workdir, 'val/map')[0]) for workdir in every):
    key, title = 'val/map', 'validation mAP, %'
  for number, (name, workdirs) in enumerate(groups.items()):
    for axes, metric, width in (
      (loss, 'train/loss', _SMOOTH),
      (accuracy, key, 1),
    ):
      series = [_read(workdir, metric) for workdir in workdirs]
      series = [(steps, values) for steps, values in series if len(steps)]
      if series:
        label = escape_mathtext(wrap(name, 40, max_lines=3))
        _draw_group(axes, label, f'C{number}', series, width)
  loss.set(xlabel='step', ylabel=f'training loss (thick: mean of {_SMOOTH})')
  accuracy.set(xlabel='step', ylabel=title, ylim=(0, 102))
  for axes in (loss, accuracy):
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.spines[['top', 'right']].set_visible(False)
  # A short run may log only validations.
  (loss if loss.lines else accuracy).legend(frameon=False)
  save_figure(figure, path, dpi=150)


def draw_each(
  groups: Mapping[str, Sequence[str | pathlib.Path]],
  path: str | pathlib.Path,
) -> None:
  """Draws the training loss of each group of workdirs in axes of its own."""
  columns = min(len(groups), 4)
  rows = -(-len(groups) // columns)
  figure = Figure(figsize=(3 * columns, 2.2 * rows), layout='constrained')
  grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
  for axes in grid[len(groups) :]:
    axes.remove()
  for axes, (name, workdirs) in zip(grid, groups.items(), strict=False):
    series = [_read(workdir, 'train/loss') for workdir in workdirs]
    if series := [(steps, values) for steps, values in series if len(steps)]:
      _draw_group(axes, name, 'C0', series, _SMOOTH)
    axes.set_title(escape_mathtext(wrap(name, 28, max_lines=2)), fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
  figure.supxlabel('step')
  figure.supylabel('training loss')
  save_figure(figure, path, dpi=150)


def _draw_group(axes: Axes, name: str, color: str, series, width: int) -> None:
  """Draws (steps, values) of each run, and their mean, smoothed."""
  for steps, values in series:
    axes.plot(steps, values, color=color, alpha=0.3, lw=1)
  longest = max((steps for steps, _ in series), key=len)
  # The steps that all have reached: some may still be training.
  first = max(steps[0] for steps, _ in series)
  last = min(steps[-1] for steps, _ in series)
  common = longest[(longest >= first) & (longest <= last)]
  mean = np.mean([np.interp(common, *run) for run in series], axis=0)
  # A run may be validated once, and a single point is not a line.
  marker = 'o' if len(common) <= _MARKERS else None
  smooth = _smoothed(mean, width)
  axes.plot(common, smooth, color=color, lw=2, label=name, marker=marker)


def _read(
  workdir: str | pathlib.Path, key: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps and values of one metric of one run."""
  rows = [row for row in run_log.read_metrics(workdir) if key in row]
  return (
    np.array([row['step'] for row in rows]),
    np.array([row[key] for row in rows]),
  )


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
  """Returns a moving average, whose window shrinks symmetrically at the ends.

  So the first and the last value stay as they are. Values that are not finite
  are left out, and stay gaps.
  """
  known = np.where(np.isfinite(values), values, np.nan)
  means = known.copy()
  for i in np.flatnonzero(np.isfinite(values)):
    half = min(i, len(values) - 1 - i, width // 2)
    means[i] = np.nanmean(known[i - half : i + half + 1])
  return means
