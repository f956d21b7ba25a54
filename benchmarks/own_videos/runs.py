# SPDX-License-Identifier: Apache-2.0
"""Reads the finished runs of a folder, and summarizes those of each system."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
import statistics
from typing import Any

import numpy as np

from benchmarks.own_videos.intervals import Videos, interval
from flatten_jax.evaluation import results
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.inputs import views
from flatten_jax.inputs.sources.lists.read import read_list
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import listed_folds
from flatten_jax.runtime.workdir import run_log

NOTES = 'own_videos.json'  # What `train.py` notes of a run.
LINEAR = 'linear'  # The system of `linear.py`.
# Ways to show the frames of a clip to a network, and their names for people.
WAYS = {
  'flatten': 'flattened',
  'average': 'mean of frames',
  'one_frame': 'one frame',
  'random': 'random order',
}


@dataclasses.dataclass(frozen=True)
class Finished:
  """The files of a finished run."""

  folder: pathlib.Path
  fold: int
  seed: int
  scores: dict[str, Any]
  predictions: Predictions

  @classmethod
  def read(cls, folder: pathlib.Path) -> 'Finished':
    """Reads `fold_<fold>_seed_<seed>`, which must have results."""
    _, fold, _, seed = folder.name.split('_')
    split, scores = results.tested(folder)
    predictions = Predictions.load(folder / f'predictions_{split}.npz')
    return cls(folder, int(fold), int(seed), scores, predictions)

  def json(self, name: str) -> dict[str, Any]:
    """Returns the content of one of its files; {} if there is none."""
    path = self.folder / name
    return json.loads(path.read_text()) if path.exists() else {}

  @property
  def gflops(self) -> float:
    """GFLOPs of all views of a video; 0 if unknown."""
    if 'gflops_per_view' not in self.scores:
      return 0.0
    count = views.parse(self.scores['views']).count
    return self.scores['gflops_per_view'] * count

  @property
  def clips_per_second(self) -> list[float]:
    """Speeds that the training has logged."""
    if not (self.folder / 'metrics.jsonl').exists():
      return []
    rows, key = run_log.read_metrics(self.folder), 'clips_per_second'
    return [row[key] for row in rows if key in row]


@dataclasses.dataclass(frozen=True)
class Summary:
  """Top-1 in percent of all runs of one system.

  Attributes:
    folds: that were tested.
    seeds: numbers of runs of the fold with the fewest and with the most.
    mean: of the folds' means over seeds.
    deviation: of a sample of seeds, each the mean of all these folds; None if
      less than two seeds have them.
    interval: of 95 %, for other videos of such groups.
    videos: share of the seeds that were right, by video.
  """

  folds: tuple[int, ...]
  seeds: tuple[int, int]
  mean: float
  deviation: float | None
  interval: tuple[float, float]
  videos: Videos


def summarize(runs: list[Finished], groups: Mapping[str, str]) -> Summary:
  """Summarizes the runs of one system on one set.

  Args:
    runs: of any folds and seeds.
    groups: of the videos, by id; each other one is a group by itself.
  """
  top1 = {(run.fold, run.seed): run.scores['top1'] for run in runs}
  folds = sorted({fold for fold, _ in top1})
  by_fold = [[v for (f, _), v in top1.items() if f == fold] for fold in folds]
  whole = [
    statistics.mean(top1[fold, seed] for fold in folds)
    for seed in sorted({seed for _, seed in top1})
    if all((fold, seed) in top1 for fold in folds)
  ]
  videos = right_by_video(runs)
  sizes = sorted(map(len, by_fold))
  return Summary(
    tuple(folds),
    (sizes[0], sizes[-1]),
    statistics.mean(map(statistics.mean, by_fold)),
    statistics.stdev(whole) if len(whole) > 1 else None,
    interval(videos, groups),
    videos,
  )


def right_by_video(runs: list[Finished]) -> Videos:
  """Returns the share of the seeds that were right about each test video."""
  found: dict[tuple[int, str], list[bool]] = {}
  for run in runs:
    tested = run.predictions
    right = tested.answers == tested.labels
    for name, hit in zip(
      tested.ids[tested.known].tolist(), right[tested.known], strict=True
    ):
      found.setdefault((run.fold, name), []).append(bool(hit))
  return {video: statistics.mean(hits) for video, hits in found.items()}


@dataclasses.dataclass(frozen=True)
class Cell:
  """The finished runs of one system, trained in one way, on one set."""

  system: str
  way: str
  runs: list[Finished]
  summary: Summary

  @property
  def gflops(self) -> float:
    """GFLOPs of all views of a video; 0 if unknown."""
    return self.runs[0].gflops

  @property
  def title(self) -> str:
    """Names the network and where it starts."""
    if self.system == LINEAR:
      return 'linear model on pixels'
    model = self.runs[0].json('run.json').get('config', {}).get('model')
    if not model:
      return self.system
    start = model['pretrained']
    start = pathlib.Path(start).name if start else 'scratch'
    return f'{model["name"]} from {start}'


@dataclasses.dataclass(frozen=True)
class FilmedSet:
  """The cells of one set, and the rows of its list, if it is still there."""

  name: str
  cells: list[Cell]
  rows: list[Row]

  @property
  def groups(self) -> dict[str, str]:
    """Groups of the videos that have one, by id."""
    return groups_of(self.rows)

  @property
  def group_word(self) -> str:
    """Name of the column of groups; '' without one."""
    groups = filter(None, (row.group for row in self.rows))
    return next((group.column for group in groups), '')

  @property
  def folds(self) -> set[int]:
    """Folds that were tested, and others of the list."""
    return {*self.tested, *listed_folds(self.rows)}

  @property
  def tested(self) -> dict[int, Predictions]:
    """Predictions of any of the systems, by fold."""
    runs = [run for cell in self.cells for run in cell.runs]
    return {
      run.fold: run.predictions for run in sorted(runs, key=lambda r: r.fold)
    }

  @property
  def chance(self) -> float:
    """Share of the most frequent class, in percent; the mean of the folds."""
    counts = [np.bincount(t.labels[t.known]) for t in self.tested.values()]
    return statistics.mean(100 * float(c.max() / c.sum()) for c in counts)


def read(folder: pathlib.Path) -> list[FilmedSet]:
  """Reads all finished runs in a folder, the sets by name."""
  found: dict[str, dict[tuple[str, str], list[Finished]]] = {}
  for path in sorted(folder.glob('*/*/*/fold_[0-9]*_seed_*/results.json')):
    name, system, way = path.parts[-5:-2]
    cells = found.setdefault(name, {})
    cells.setdefault((system, way), []).append(Finished.read(path.parent))
  if not found:
    raise FileNotFoundError(
      f'No finished run in {folder}: expected results.json in '
      '<set>/<system>/<way>/fold_<fold>_seed_<seed>.'
    )
  return [_filmed_set(name, cells) for name, cells in sorted(found.items())]


def _filmed_set(
  name: str, cells: Mapping[tuple[str, str], list[Finished]]
) -> FilmedSet:
  """Returns a set with its cells, the system of the lowest cost first."""
  path = (
    next(iter(cells.values()))[0].scores.get('protocol', {}).get('data', '')
  )
  rows = read_list(path) if pathlib.Path(path).is_file() else []
  groups = groups_of(rows)
  made = [
    Cell(system, way, runs, summarize(runs, groups))
    for (system, way), runs in cells.items()
  ]
  cost: dict[str, float] = {}
  for cell in made:
    cost[cell.system] = max(cost.get(cell.system, 0.0), cell.gflops)
  ways = list(WAYS)

  def rank(cell: Cell) -> tuple:
    known = ways.index(cell.way) if cell.way in ways else len(ways)
    return cost[cell.system], cell.system, known, cell.way

  return FilmedSet(name, sorted(made, key=rank), rows)


def groups_of(rows: list[Row]) -> dict[str, str]:
  """Returns the group of each video that has one, by id."""
  return {row.id: row.group.name for row in rows if row.group}
