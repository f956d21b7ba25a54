# SPDX-License-Identifier: Apache-2.0
"""Writes the page: what the sets are, their tables, and the commands."""

import datetime
import pathlib
import shlex
import statistics
import textwrap

import jinja2
import tabulate

from benchmarks.own_videos import figure
from benchmarks.own_videos.intervals import difference
from benchmarks.own_videos.runs import (
  LINEAR,
  NOTES,
  WAYS,
  Cell,
  FilmedSet,
  Finished,
  Summary,
  read,
)
from flatten_jax.evaluation.metrics import percent

TEMPLATE = pathlib.Path(__file__).with_suffix('.md')
# The sets that this project was tried on.
ABOUT = {
  'gestures': 'First-person pointing gestures (EgoGestAR, re-encoded at 160 x '
  "120): the hand's path tells the class. No two folds share a place.",
  'lips_words': 'Ten words, said by people of MIRACL-VC1: mouths in grey, '
  '160 x 128, 15 frames per second. No two folds share a person.',
  'lips_phrases': 'Ten phrases, otherwise like `lips_words`.',
  'fights': 'Fights, and none, before the same surveillance cameras: two '
  'seconds each, of footage that was published on YouTube. No two folds share '
  'a source video.',
}


def write(folder: pathlib.Path, page: pathlib.Path, machine: str = '') -> None:
  """Writes a page, and the figure of the same name, of the runs in a folder.

  Args:
    folder: of `<set>/<system>/<way>/fold_<fold>_seed_<seed>`.
    page: a file .md; the figure has the suffix .png.
    machine: its name, for people.

  Raises:
    FileNotFoundError: no run has finished.
  """
  sets = read(folder)
  picture = page.with_suffix('.png')
  page.parent.mkdir(parents=True, exist_ok=True)
  figure.draw(sets, picture)
  page.write_text(markdown(sets, machine, picture.name))
  print(f'{page} and {picture} show {sum(len(s.cells) for s in sets)} systems.')


def markdown(sets: list[FilmedSet], machine: str, picture: str) -> str:
  """Returns the page."""
  runs = [run for filmed in sets for cell in filmed.cells for run in cell.runs]
  words = {f'{filmed.group_word}s' for filmed in sets if filmed.groups}
  return jinja2.Template(
    TEMPLATE.read_text(),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
  ).render(
    groups=' or '.join(sorted(words)),
    machine=machine or describe_machine(runs),
    provenance=provenance(runs),
    picture=picture,
    linear=any(c.system == LINEAR for s in sets for c in s.cells),
    sets=[{'name': s.name, 'about': about(s), 'table': table(s)} for s in sets],
    commands=commands(sets),
  )


def describe_machine(runs: list[Finished]) -> str:
  """Returns the kind and number of the devices of the first that tells."""
  found = (run.json('run.json').get('machine') for run in runs)
  machine = next(filter(None, found), None)
  if not machine:
    return 'an unknown machine'
  if machine['device_kind'] == 'cpu':
    return f'a CPU of {machine["cpus"]} cores'
  return f'{len(machine["devices"])} x {machine["device_kind"]}'


def provenance(runs: list[Finished]) -> str:
  """Returns number, days and commits of the runs."""
  commits = {r.json('run.json').get('machine', {}).get('commit') for r in runs}
  commits = ', '.join(sorted(commits - {None})) or 'unknown'
  days = sorted(map(day_of, runs))
  span = ' to '.join(dict.fromkeys((days[0], days[-1])))
  return f'{len(runs)} runs, {span}, commit {commits}.'


def day_of(run: Finished) -> str:
  """Returns the day on which a run ended: as noted, or of its results."""
  time = (run.folder / 'results.json').stat().st_mtime
  made = str(datetime.date.fromtimestamp(time))
  return run.json(NOTES).get('date', made)


def about(filmed: FilmedSet) -> str:
  """Returns what a set is, its counts and its level of chance."""
  sizes = [str(len(tested.ids)) for tested in filmed.tested.values()]
  classes = len(filmed.cells[0].runs[0].predictions.class_names)
  counts = f'{classes} classes'
  if filmed.rows:
    counts += f', {len(filmed.rows)} videos'
  if names := set(filmed.groups.values()):
    counts += f' of {len(names)} {filmed.group_word}s'
  text = (
    f'{ABOUT.get(filmed.name, "")} {counts}; test videos of the folds: '
    f'{", ".join(sizes)}. The most frequent class of a fold is '
    f'{percent(filmed.chance, 1)} % of it.'
  )
  return textwrap.fill(text.strip(), 90)


def table(filmed: FilmedSet) -> str:
  """Returns the table of a set."""
  flattened = {c.system: c for c in filmed.cells if c.way == 'flatten'}
  rows = []
  for cell in filmed.cells:
    found, first = cell.summary, flattened.get(cell.system)
    change = None
    if first and first is not cell:
      change = difference(found.videos, first.summary.videos, filmed.groups)
    spread = f' ± {found.deviation:.1f}' if found.deviation is not None else ''
    low, high = (percent(value, 1) for value in found.interval)
    rows.append(
      {
        'system': cell.title,
        'trained as': WAYS.get(cell.way, cell.way),
        'folds x seeds': count_runs(found, len(filmed.folds)),
        'top-1': percent(found.mean, 1) + spread,
        '95 %': f'{low} to {high}',
        'to flattened': '{:+.1f} ({:+.1f} to {:+.1f})'.format(*change)
        if change
        else '',
      }
      | costs(cell)
    )
  text = ('system', 'trained as')
  align = ['left' if name in text else 'right' for name in rows[0]]
  return tabulate.tabulate(
    rows, 'keys', 'pipe', disable_numparse=True, colalign=align
  )


def count_runs(found: Summary, folds: int) -> str:
  """Returns "4 x 3"; what is missing of the folds or of the seeds is said."""
  count, (least, most) = len(found.folds), found.seeds
  tested = f'{count} of {folds}' if count < folds else f'{folds}'
  return f'{tested} x {least}' + (f' to {most}' if most > least else '')


def costs(cell: Cell) -> dict[str, str]:
  """Returns the cost of a system; what is not known is empty."""
  scores, gflops, params = cell.runs[0].scores, '', ''
  if cell.gflops:
    view = scores['gflops_per_view']
    gflops = f'{view:.3g} x {round(cell.gflops / view)}'
    params = f'{scores["params_m"]:.2f} M'
  speeds = [speed for run in cell.runs for speed in run.clips_per_second]
  seconds = [run.json(NOTES).get('seconds') for run in cell.runs]
  seconds = [value for value in seconds if value]
  return {
    'views': scores['views'],
    'GFLOPs x views': gflops,
    'parameters': params,
    'clips/s': f'{statistics.median(speeds):.0f}' if speeds else '',
    'minutes': f'{statistics.median(seconds) / 60:.1f}' if seconds else '',
  }


def commands(sets: list[FilmedSet]) -> list[str]:
  """Returns the commands of the runs, once for all sets, folds and seeds."""
  found = (
    general(command, cell)
    for filmed in sets
    for cell in filmed.cells
    for run in cell.runs
    if (command := run.json(NOTES).get('command'))
  )
  return list(dict.fromkeys(found))


def general(command: list[str], cell: Cell) -> str:
  """Returns a command without the paths of a machine, as a block."""
  general = {
    '--config.data.root': '/videos/SET.csv',
    '--config.data.fold': 'FOLD',
    '--config.seed': 'SEED',
    '--workdir': f'runs/SET/{cell.system}/{cell.way}/fold_FOLD_seed_SEED',
  }
  words = ['python', *command[1:2]]
  for word in command[2:]:
    key, _, value = word.partition('=')
    words.append(shlex.quote(f'{key}={general.get(key, value)}'))
  lines = textwrap.wrap(
    ' '.join(words), 80, break_long_words=False, break_on_hyphens=False
  )
  return ' \\\n'.join([f'    {lines[0]}', *(f'        {x}' for x in lines[1:])])
