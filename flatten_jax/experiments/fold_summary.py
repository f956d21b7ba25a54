# SPDX-License-Identifier: Apache-2.0
"""Means and deviations of a cross-validation, as numbers and as a table."""

import statistics
from typing import Any

import numpy as np
import tabulate

from flatten_jax.evaluation import certainty, metrics
from flatten_jax.evaluation.metrics import percent
from flatten_jax.inputs import views


def summarize(scores: dict[tuple[int, int], dict[str, Any]]) -> dict[str, Any]:
  """Summarizes the scores of all runs by (fold, seed).

  Returns:
    For each metric of `metrics.logged`, in percent: 'mean' over folds and
    seeds; 'std_folds' of the folds' means over seeds, and 'std_seeds' of the
    seeds' means over folds (of a sample; None if there is only one); 'pooled',
    over all scored videos, but for 'mean_class'; and of the pooled top-1 the
    'interval', 'chance' and 'chance_class', see `certainty.pooled`, for which
    each video counts once. Where videos have several labels nothing is pooled.
    Folds without scored videos, with any seed, do not count. Also the 'runs',
    the 'views', the number of 'classes', and for one seed the number of test
    'videos' in all folds and of those 'scored'.
  """
  all_folds = sorted({fold for fold, _ in scores})
  all_seeds = sorted({seed for _, seed in scores})
  first = [scores[fold, all_seeds[0]] for fold in all_folds]
  summary = {
    'views': first[0]['views'],
    'videos': sum(score['videos'] for score in first),
    'scored': sum(score['scored'] for score in first),
    'classes': first[0]['classes'],
  }
  unscored = {f for (f, _), s in scores.items() if not s['scored']}
  scored = [fold for fold in all_folds if fold not in unscored]
  weights = [score['scored'] for score in scores.values()]
  keys, several = metrics.logged(first[0]), 'map' in first[0]
  for metric in keys:
    table = np.array(
      [[scores[f, s][metric] for s in all_seeds] for f in scored or all_folds]
    )
    by_fold, by_seed = table.mean(axis=1).tolist(), table.mean(axis=0).tolist()
    summary[metric] = {
      'mean': statistics.mean(by_fold),
      'std_folds': statistics.stdev(by_fold) if len(by_fold) > 1 else None,
      'std_seeds': statistics.stdev(by_seed) if len(by_seed) > 1 else None,
    }
    if metric != 'mean_class' and scored and not several:
      values = [score[metric] for score in scores.values()]
      summary[metric]['pooled'] = float(np.average(values, weights=weights))
  summary['runs'] = [
    {'fold': fold, 'seed': seed}
    | {key: scores[fold, seed][key] for key in (*keys, 'videos', 'scored')}
    for fold, seed in sorted(scores)
  ]
  for run in summary['runs']:
    own = scores[run['fold'], run['seed']]
    if not several:
      run['top1_interval'] = certainty.interval_of(own)
    elif 'map_interval' in own:  # Earlier versions wrote none.
      run['map_interval'] = own['map_interval']
  if several:
    return summary
  if found := certainty.pooled(list(scores.values()), summary['scored']):
    summary['top1']['interval'] = found.pop('top1_interval')
    del found['top1']
    summary['top1'] |= found
  return summary


def markdown(summary: dict[str, Any]) -> str:
  """Returns a table with a line for each run, then means and deviations."""
  views_text = ''  # Of fused runs, which have views of their own.
  if notation := summary['views']:
    views_text = f'Views {notation} ({views.parse(notation).describe()}); '
  shown = metrics.shown(summary)
  rows = [
    [
      run['fold'],
      run['seed'],
      f'{run["scored"]} of {run["videos"]}',
      *(percent(run[m]) if run['scored'] else '-' for m in shown),
      metrics.interval(run) if run['scored'] else '-',
    ]
    for run in summary['runs']
  ]
  titles = {
    'mean': ('mean of folds', percent),
    'pooled': ('all videos together', percent),
    'std_folds': ('standard deviation of folds', '{:.2f}'.format),
    'std_seeds': ('standard deviation of seeds', '{:.2f}'.format),
  }
  for key, (title, text) in titles.items():
    values = [summary[metric].get(key) for metric in shown]
    if summary['scored'] and any(value is not None for value in values):
      cells = ('' if value is None else text(value) for value in values)
      rows.append([title, '', '', *cells, ''])
  together = _together(summary)
  if together:
    named = {row[0]: row for row in rows}
    named['all videos together'][-1] = metrics.interval(together)
  score = 'mAP' if 'map' in summary else 'top-1'
  headers = ['fold', 'seed', 'videos scored', *shown.values(), f'{score}, 95 %']
  table = tabulate.tabulate(rows, headers, 'pipe', disable_numparse=True)
  counted = f'{summary["scored"]} of {summary["videos"]} videos scored'
  if together:
    counted += (
      f'; top-1 of all of them {percent(together["top1"])} % (95 %: '
      f'{metrics.interval(together)})'
    )
    counted += f'; {text}' if (text := metrics.chance(together)) else ''
  return f'{views_text}{counted}.\n\n{table}\n'


def _together(summary: dict[str, Any]) -> dict[str, Any]:
  """Returns the scores of all videos as of one test; {} without any."""
  top1 = summary.get('top1', {})
  if 'interval' not in top1:
    return {}
  found = {'top1': top1['pooled'], 'top1_interval': top1['interval']}
  known = {k: top1[k] for k in ('chance', 'chance_class') if k in top1}
  return found | known | {'scored': summary['scored']}
