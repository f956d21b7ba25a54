# SPDX-License-Identifier: Apache-2.0
r"""Trains one run for every fold and seed, and makes a table of them.

  python benchmarks/cross_validate.py --workdir=runs/mine --folds=4 --seeds=2 \
      -- --config=configs/folder.py --config.data.root=/videos/clips.csv

What follows `--` goes to main.py, which gets the fold, the seed and a workdir
of its own. Runs that are finished are not repeated; interrupted ones go on.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def train(workdir: pathlib.Path, fold: int, seed: int, rest: list[str]) -> dict:
  """Runs main.py unless its results are there; returns the test scores."""
  workdir = workdir / f'fold_{fold}_seed_{seed}'
  results = workdir / 'results.json'
  if not results.exists():
    command = [
      sys.executable,
      str(REPOSITORY / 'main.py'),
      f'--workdir={workdir}',
      *rest,
      f'--config.data.fold={fold}',
      f'--config.seed={seed}',
    ]
    subprocess.run(command, check=True, cwd=REPOSITORY)
  return json.loads(results.read_text())['test']


def table(scores: dict[tuple[int, int], dict], seeds: int) -> str:
  """Folds in rows, seeds in columns, mean and deviation at the end."""
  folds = sorted({fold for fold, _ in scores})
  names = [f'seed {seed}' for seed in range(seeds)]
  lines = [
    f'| fold | videos scored | {" | ".join(names)} | mean |',
    '|---' * (seeds + 3) + '|',
  ]
  for fold in folds:
    own = [scores[fold, seed] for seed in range(seeds)]
    top1 = [score['top1'] for score in own]
    cells = ' | '.join(f'{value:.1f}' for value in top1)
    counts = f'{own[0]["scored"]} of {own[0]["videos"]}'
    mean = statistics.mean(top1)
    lines.append(f'| {fold} | {counts} | {cells} | {mean:.1f} |')
  means = [
    statistics.mean(scores[fold, seed]['top1'] for fold in folds)
    for seed in range(seeds)
  ]
  cells = ' | '.join(f'{value:.1f}' for value in means)
  deviation = statistics.stdev(means) if seeds > 1 else 0.0
  total = f'{statistics.mean(means):.1f} (seeds differ by {deviation:.1f})'
  lines.append(f'| all | | {cells} | {total} |')
  return '\n'.join(lines)


def main() -> None:
  """Prints the table and writes it to <workdir>/cross_validation.md."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--folds', type=int, default=4)
  parser.add_argument('--seeds', type=int, default=2)
  parser.add_argument('rest', nargs='*', help='for main.py, after --')
  args = parser.parse_args()
  workdir = args.workdir.absolute()
  scores = {
    (fold, seed): train(workdir, fold, seed, args.rest)
    for seed in range(args.seeds)
    for fold in range(args.folds)
  }
  views = next(iter(scores.values()))['views']
  text = f'Test top-1 in percent, {views}.\n\n{table(scores, args.seeds)}\n'
  (workdir / 'cross_validation.md').write_text(text)
  print(text)


if __name__ == '__main__':
  main()
