# SPDX-License-Identifier: Apache-2.0
r"""Trains systems on sets of filmed videos, and writes docs/results.md of them.

  python -m benchmarks.own_videos run --out=runs/own_videos \
      --sets=gestures=/videos/gestures.csv,fights=/videos/fights.csv
  python -m benchmarks.own_videos linear --out=runs/own_videos --sets=...
  python -m benchmarks.own_videos page --out=runs/own_videos \
      --page=docs/results.md

`run` starts one `python main.py` for each set, system, way, fold and seed, in
`OUT/<set>/<system>/<way>/fold_<fold>_seed_<seed>`. It may be stopped at any
time: the same command continues. Every system gets the first fold of the first
seed before any gets the second, so that the page of a part is of use; `page`
reads whatever is finished, of this or any other command that names its runs so.
"""

import argparse
from collections.abc import Callable, Iterable
import pathlib
import shlex
import sys

from benchmarks.own_videos import linear, page, train


def choices(known: Iterable[str]) -> Callable[[str], list[str]]:
  """Returns a parser of 'a,b' for words of `known`."""

  def parse(text: str) -> list[str]:
    words = text.split(',')
    if unknown := set(words) - set(known):
      raise argparse.ArgumentTypeError(
        f'{unknown.pop()!r} is none of {", ".join(known)}'
      )
    return words

  return parse


def numbers(text: str) -> list[int]:
  """Parses '0,1,2'."""
  return [int(word) for word in text.split(',')]


def sets(text: str) -> dict[str, pathlib.Path]:
  """Parses 'name=list,name=list'."""
  found = {}
  for item in text.split(','):
    name, _, path = item.partition('=')
    if not path or not pathlib.Path(path).expanduser().exists():
      raise argparse.ArgumentTypeError(
        f'{item!r} is not name=list with a list, or a folder, that exists'
      )
    found[name] = pathlib.Path(path).expanduser().resolve()
  return found


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Parses the command line."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  modes = parser.add_subparsers(dest='mode', required=True)
  run = modes.add_parser('run', help='train what is not finished')
  run.add_argument('--sets', type=sets, required=True, help='name=list,...')
  run.add_argument(
    '--systems', type=choices(train.SYSTEMS), default=[*train.SYSTEMS]
  )
  run.add_argument('--ways', type=choices(train.WAYS), default=[*train.WAYS])
  run.add_argument('--folds', type=numbers, help='by default all')
  run.add_argument('--seeds', type=numbers, default=[0, 1, 2])
  run.add_argument('--jobs', type=int, default=1, help='runs at a time')
  run.add_argument('--keep', action='store_true', help='checkpoints too')
  run.add_argument('--dry-run', action='store_true', help='print commands')
  run.add_argument(
    '--flags', type=shlex.split, default=[], help='more flags of every run'
  )
  line = modes.add_parser('linear', help='fit a linear model on pixels')
  line.add_argument('--sets', type=sets, required=True, help='name=list,...')
  show = modes.add_parser('page', help='write the page of what is finished')
  show.add_argument('--page', type=pathlib.Path, required=True)
  show.add_argument('--machine', default='', help='name of the processor')
  for mode in (run, line, show):
    mode.add_argument('--out', type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  args.out = args.out.expanduser().resolve()
  return args


def main(argv: list[str] | None = None) -> int:
  """Runs one mode; returns the number of runs that failed."""
  args = parse(argv)
  if args.mode == 'page':
    page.write(args.out, args.page, args.machine)
    return 0
  if args.mode == 'linear':
    for name, root in args.sets.items():
      for fold in train.fold_numbers(root):
        top1 = linear.fit(args.out, name, root, fold)
        print(f'{name}, fold {fold}: {top1:.1f} %', flush=True)
    return 0
  runs = train.grid(args)
  if args.dry_run:
    for run in runs:
      print('# ' * run.finished + shlex.join(run.command))
    return 0
  return train.train(runs, args.jobs, args.keep)


if __name__ == '__main__':
  sys.exit(main())
