# SPDX-License-Identifier: Apache-2.0
"""What an ablation found, as tables and as curves."""

from collections.abc import Mapping, Sequence
import json
import logging
import pathlib
import statistics
from typing import Any

from flatten_jax.reporting import curves

log = logging.getLogger('flatten_jax')

TITLES = {'test': 'Test', 'val': 'Validation'}


def write(
  workdir: pathlib.Path, found: Mapping[str, dict[str, Any]], folds: bool
) -> None:
  """Tables and curves of the variants so far."""
  (workdir / 'ablation.json').write_text(json.dumps(found, indent=2) + '\n')
  page = markdown(found)
  (workdir / 'ablation.md').write_text(page)
  pattern = 'fold_*_seed_*' if folds else 'seed_*'
  curves.draw_curves(
    {name: sorted((workdir / name).glob(pattern)) for name in found},
    workdir / 'loss_curves.png',
  )
  log.info('\n%s\nIt is in %s', page, workdir / 'ablation.md')


def markdown(found: Mapping[str, dict[str, Any]]) -> str:
  """Two tables: the variants, and what each answers under other orders."""
  first = next(iter(found.values()))
  lines = [
    f'{TITLES[first["split"]]} top-1 in percent, mean and standard deviation '
    f'of {len(first["top1"])} seeds.',
    '',
    '| trained | views | top-1 | mean class | GFLOPs per view | parameters '
    '| clips/s |',
    '|---|---|--:|--:|--:|--:|--:|',
  ]
  for name, row in found.items():
    lines.append(
      f'| {name} | {row["views"]} | {mean_and_deviation(row["top1"])} '
      f'| {mean_and_deviation(row["mean_class"])} '
      f'| {row["gflops_per_view"]:.4g} | {row["params_m"]:.3f} M '
      f'| {row["clips_per_second"]:.0f} |'
    )
  titles = list(
    dict.fromkeys(title for row in found.values() for title in row['probes'])
  )
  lines += [
    '',
    'The same models, tested in other orders:',
    '',
    f'| trained | {" | ".join(titles)} |',
    '|---' + '|--:' * len(titles) + '|',
  ]
  for name, row in found.items():
    cells = (
      mean_and_deviation(row['probes'][title]) if title in row['probes'] else ''
      for title in titles
    )
    lines.append(f'| {name} | {" | ".join(cells)} |')
  return '\n'.join([*lines, ''])


def mean_and_deviation(values: Sequence[float]) -> str:
  """95.2 ± 0.4; the deviation is a sample's, n - 1."""
  mean = f'{statistics.mean(values):.1f}'
  if len(values) < 2:
    return mean
  return f'{mean} ± {statistics.stdev(values):.1f}'
