# SPDX-License-Identifier: Apache-2.0
"""Tables and pictures of `--mode=compare`: accuracy next to cost."""

from collections.abc import Mapping, Sequence
import csv
import io
import pathlib
import statistics
from typing import Any

from matplotlib import ticker
from matplotlib.figure import Figure
import numpy as np
import tabulate

from flatten_jax import paths
from flatten_jax.evaluation import certainty, metrics
from flatten_jax.inputs import views
from flatten_jax.reporting import curves
from flatten_jax.text import escape_mathtext, save_figure

_SPLITS = {'test': 'Test', 'val': 'Validation'}
_BUDGETS = {
  'clips': 'the same number of clips',
  'gflops': 'the same number of multiply-adds',
  'minutes': 'the same time',
}


LEGEND = (
  '± is the standard deviation over seeds, 95 % the interval by the number of '
  'videos; * marks those that are not better than chance. Order: top-1 minus '
  'that of the same networks on shuffled frames. Views are resolution x '
  'frames x crops x clips; GFLOPs are 10^9 multiply-adds of a view x the views '
  'of a video. Clips/s are those of training steps, views/s those of tests, '
  'both without reading videos; MiB the memory of a training step. The '
  'learning rate is the one that each system picked on videos held back from '
  'training.'
)


def write(found: Mapping[str, Any], workdir: pathlib.Path) -> str:
  """Writes compare.md, .csv and .png, and loss_curves.png; returns the page.

  Args:
    found: of compare.json, with a system or more.
    workdir: with the workdirs of the systems' runs.
  """
  page = markdown(found)
  paths.write_text(workdir / 'compare.md', page)
  table = io.StringIO()
  rows = figures(found['systems'])
  writer = csv.DictWriter(table, list(rows[0]))
  writer.writeheader()
  writer.writerows(rows)
  paths.write_text(workdir / 'compare.csv', table.getvalue())
  draw(rows, chance_of(found), workdir / 'compare.png')
  groups = {name: _runs_of(workdir / name) for name in found['systems']}
  curves.draw_each(groups, workdir / 'loss_curves.png')
  return page


def _runs_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the workdirs of a system's runs: of seeds, perhaps of folds."""
  return sorted(path.parent for path in folder.glob('*seed_*/metrics.jsonl'))


def figures(systems: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns the figures of each system, as in compare.csv.

  'order' is what the order of frames brings: the top-1 minus that of the same
  networks on shuffled frames; 'gflops' are those of all views of a test.
  """
  rows = []
  for name, row in systems.items():
    seeds = row['top1']
    low, high = certainty.interval_of(
      dict(row) | {'top1': statistics.mean(seeds)}
    )
    shuffled = statistics.mean(row['probes']['shuffled'])
    count = views.parse(row['views']).count
    rows.append(
      {
        'system': name,
        'top1': statistics.mean(seeds),
        'top1_deviation': statistics.stdev(seeds) if len(seeds) > 1 else None,
        'top1_low': low,
        'top1_high': high,
        'chance': row.get('chance'),  # Earlier versions have none.
        'mean_class': statistics.mean(row['mean_class']),
        'order': statistics.mean(seeds) - shuffled,
        'seeds': len(seeds),
        'views': row['views'],
        'gflops_per_view': row['gflops_per_view'],
        'gflops': row['gflops_per_view'] * count,
        'params_m': row['params_m'],
        'train_clips_per_second': row['train_clips_per_second'],
        'test_views_per_second': row['test_views_per_second'],
        'memory_mib': row['memory_mib'],
        'epochs': row['epochs'],
        'lr': row['learning_rate']['lr'],
      }
    )
  return rows


def markdown(found: Mapping[str, Any]) -> str:
  """Returns the page: what was compared, the table, and where it was run."""
  rows = [cells(row) for row in figures(found['systems'])]
  table = tabulate.tabulate(
    rows,
    'keys',
    'pipe',
    disable_numparse=True,
    colalign=['left', *['right'] * (len(rows[0]) - 1)],
  )
  return (
    '# Comparison of systems\n\n'
    '<!-- Made by `--mode=compare`; not to be changed by hand. -->\n\n'
    f'{summary(found)}\n\n{table}\n\n{LEGEND}\n\n{where(found)}\n\n'
    '![Top-1 against the cost of a test](compare.png)\n'
  )


def summary(found: Mapping[str, Any]) -> str:
  """Returns what was compared, in two sentences."""
  systems = found['systems']
  first = next(iter(systems.values()))
  chance = f'; {metrics.level(first)}' if 'chance' in first else ''
  epochs = systems.get(found['reference'], {}).get('epochs')
  spent = _BUDGETS[found['budget']]
  if epochs:
    spent += f' as `{found["reference"]}` in {epochs:g} epochs'
  return (
    f'{_SPLITS[first["split"]]} top-1 in percent{chance}. Every system trains '
    f'with {spent}.'
  )


def chance_of(found: Mapping[str, Any]) -> float | None:
  """Returns the level of chance in percent; earlier versions have none."""
  return next(iter(found['systems'].values())).get('chance')


def where(found: Mapping[str, Any]) -> str:
  """Returns the machines and the versions that the systems ran on."""
  systems = found['systems'].values()
  machines = sorted({row['machine'] for row in systems})
  commits = sorted({row['commit'] for row in systems})
  return f'{", ".join(machines)}; commit {", ".join(commits)}.'


def cells(row: Mapping[str, Any]) -> dict[str, str]:
  """Formats the figures of a system as a row of the table."""
  top1 = metrics.percent(row['top1'], 1)
  if row['top1_deviation'] is not None:
    top1 += f' ± {row["top1_deviation"]:.1f}'
  if is_at_chance(row):
    top1 += ' *'
  count = round(row['gflops'] / row['gflops_per_view'])
  return {
    'system': row['system'],
    'top-1': top1,
    '95 %': f'{row["top1_low"]:.1f} to {row["top1_high"]:.1f}',
    'order': f'{row["order"]:+.1f}',
    'seeds': str(row['seeds']),
    'views': row['views'],
    'GFLOPs x views': f'{row["gflops_per_view"]:.4f} x {count}',
    'parameters': f'{row["params_m"]:.2f} M',
    'clips/s': f'{row["train_clips_per_second"]:.0f}',
    'views/s': f'{row["test_views_per_second"]:.0f}',
    'MiB': f'{row["memory_mib"]:.0f}',
    'epochs': f'{row["epochs"]:g}',
    'learning rate': f'{row["lr"]:g}',
  }


def is_at_chance(row: Mapping[str, Any]) -> bool:
  """Returns whether the interval of a system includes chance."""
  return row['chance'] is not None and row['top1_low'] <= row['chance']


def unbeaten(rows: Sequence[Mapping[str, Any]]) -> list[int]:
  """Returns the numbers of the rows that nothing cheaper beats, cheapest first.

  Args:
    rows: of `figures`; those at chance do not count.
  """
  best, kept = -np.inf, []
  for number in sorted(
    range(len(rows)), key=lambda i: (rows[i]['gflops'], -rows[i]['top1'])
  ):
    row = rows[number]
    if row['top1'] > best and not is_at_chance(row):
      best = row['top1']
      kept.append(number)
  return kept


def draw(
  rows: Sequence[Mapping[str, Any]], chance: float | None, path: pathlib.Path
) -> None:
  """Draws top-1 against the cost of a test, with intervals and the best."""
  figure = Figure(figsize=(9, 5), layout='constrained')
  axes = figure.subplots()
  points = [(row['gflops'], row['top1']) for row in rows]
  best_first = sorted(range(len(rows)), key=lambda i: -rows[i]['top1'])
  for number in best_first:  # The order of the legend.
    row, (cost, top1) = rows[number], points[number]
    # Earlier versions have the mean of folds, and the interval of all videos.
    low, high = min(row['top1_low'], top1), max(row['top1_high'], top1)
    axes.errorbar(
      cost,
      top1,
      [[top1 - low], [high - top1]],
      color=f'C{number % 10}',
      marker='osD^v'[number // 10 % 5],
      capsize=2,
      elinewidth=1,
      ls='none',
      label=escape_mathtext(f'{top1:.1f}  {row["system"]}'),
    )
  if line := [points[number] for number in unbeaten(rows)]:
    axes.plot(*zip(*line, strict=True), color='gray', lw=1, zorder=0)
  if chance is not None:
    axes.axhline(chance, color='gray', lw=1, ls=':', zorder=0)
    place = axes.get_yaxis_transform()
    axes.text(1, chance, 'chance', transform=place, ha='right', va='bottom')
  axes.set(
    xscale='log',
    xlabel='GFLOPs of all views of a video',
    ylabel='top-1, % (bars: 95 % interval)',
  )
  axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
  axes.xaxis.set_major_formatter('{x:g}')
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.grid(alpha=0.3)
  axes.spines[['top', 'right']].set_visible(False)
  figure.legend(loc='outside right center', frameon=False, fontsize=8)
  save_figure(figure, path, dpi=150)
