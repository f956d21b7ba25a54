# SPDX-License-Identifier: Apache-2.0
"""Loss and accuracy over a training, of several runs in one picture.

Figure 4 of the paper compares layouts in this way.
"""

from collections.abc import Mapping, Sequence
import pathlib

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from flatten_jax.runtime import run_log
from flatten_jax.text import escape_mathtext

_SMOOTH = 9  # Points of the moving average of the training loss.
_FEW = 20  # Points up to which each is marked.


def draw_runs(
  runs: Sequence[str | pathlib.Path], workdir: str | pathlib.Path
) -> pathlib.Path:
  """Writes workdir/curves.png: loss and accuracy of several runs.

  Args:
    runs: workdirs; or folders of workdirs, whose mean is a thicker line, as
      `--mode=cross_validate` and `ablate` leave them.
    workdir: where the picture goes; made where it is absent.

  Raises:
    FileNotFoundError: a folder holds no run that has logged anything.
    ValueError: there are no runs.
  """
  if not runs:
    raise ValueError('Name the runs to draw, --run=FOLDER for each.')
  folders = [pathlib.Path(run) for run in runs]
  names = _short_names(folders)
  groups = dict(zip(names, map(_logs_in, folders), strict=True))
  path = pathlib.Path(workdir) / 'curves.png'
  path.parent.mkdir(parents=True, exist_ok=True)
  draw_curves(groups, path)
  return path


def _logs_in(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folder, if it is a run's workdir, or those of the runs in it."""
  name = 'metrics.jsonl'
  if (folder / name).exists():
    return [folder]
  found = sorted(path.parent for path in folder.glob(f'*/{name}'))
  if not found:
    raise FileNotFoundError(
      f'{folder} is no workdir of a run, nor holds any: expected {name}.'
    )
  return found


def _short_names(folders: Sequence[pathlib.Path]) -> list[str]:
  """As much of the ends of the paths as tells them apart."""
  parts = [folder.resolve().parts for folder in folders]
  longest = max(map(len, parts))
  for length in range(1, longest + 1):
    names = ['/'.join(path[-length:]) for path in parts]
    if len(set(names)) == len(names):
      return names
  raise ValueError('A run is named twice in --run.')


def draw_curves(
  groups: Mapping[str, Sequence[str | pathlib.Path]],
  path: str | pathlib.Path,
) -> None:
  """Draws the training loss and the validation top-1 of every run.

  Args:
    groups: name -> workdirs. The runs of a group, its seeds say, are thin lines
      of one colour, and their mean a thick one.
    path: of the picture; its suffix says which kind.
  """
  figure = matplotlib.figure.Figure(figsize=(11, 4), layout='constrained')
  loss, accuracy = figure.subplots(1, 2)
  for number, (name, workdirs) in enumerate(groups.items()):
    color = f'C{number}'
    _draw(loss, name, color, workdirs, 'train/loss', _SMOOTH)
    _draw(accuracy, name, color, workdirs, 'val/top1', 1)
  loss.set(xlabel='step', ylabel='training loss')
  accuracy.set(xlabel='step', ylabel='validation top-1, %', ylim=(0, 102))
  for axes in (loss, accuracy):
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.spines[['top', 'right']].set_visible(False)
  loss.legend(frameon=False)
  figure.savefig(path, dpi=150)


def _draw(axes, name, color, workdirs, key, smooth) -> None:
  """One metric of one group of runs."""
  series = [_read(workdir, key) for workdir in workdirs]
  series = [(steps, values) for steps, values in series if len(steps)]
  for steps, values in series:
    axes.plot(steps, _smoothed(values, smooth), color=color, alpha=0.3, lw=1)
  if not series:
    return
  longest = max((steps for steps, _ in series), key=len)
  # Where all of them have been: some may still be training.
  begin = max(steps[0] for steps, _ in series)
  end = min(steps[-1] for steps, _ in series)
  longest = longest[(longest >= begin) & (longest <= end)]
  mean = np.mean(
    [np.interp(longest, steps, values) for steps, values in series], axis=0
  )
  # A run is validated a few times, perhaps once, of which no line can be drawn.
  marker = 'o' if len(longest) <= _FEW else None
  axes.plot(
    longest,
    _smoothed(mean, smooth),
    color=color,
    lw=2,
    label=escape_mathtext(name),
    marker=marker,
  )


def _read(workdir, key) -> tuple[np.ndarray, np.ndarray]:
  """Steps and values of one metric of one run."""
  rows = [row for row in run_log.read_metrics(workdir) if key in row]
  return (
    np.array([row['step'] for row in rows]),
    np.array([row[key] for row in rows]),
  )


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
  """A moving average that is narrower at the ends."""
  if not len(values):
    return values
  kernel = np.ones(min(width, len(values)))
  weights = np.convolve(np.ones(len(values)), kernel, mode='same')
  return np.convolve(values, kernel, mode='same') / weights
