# SPDX-License-Identifier: Apache-2.0
"""Writes the index of a prepared set and its report: every video's outcome."""

import collections
from collections.abc import Mapping
import csv
import dataclasses
import json
import os
import pathlib
import textwrap

from data import builder
from data.annotations import DataSet, Video
from data.plan import FINISHED, MISSING, Plan, done_file, load_shard
from flatten_jax.paths import replacing, write_text

STATES = ('annotated', 'found', 'missing', 'unreadable')
LIKE = 3  # Videos that are named of those that a split lacks.


@dataclasses.dataclass
class Tally:
  """Counts of the videos of a split, by their state.

  Attributes:
    states: {state: number of videos}.
    classes: the same by class; '' has the videos without one.
    lacking: ids of the first videos that are missing or unreadable.
    roles: {(published split, role): number of annotated videos}.
    bytes: of all records.
    lengths: number of records of each shard.
  """

  states: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  classes: dict[str, collections.Counter] = dataclasses.field(
    default_factory=lambda: collections.defaultdict(collections.Counter)
  )
  lacking: list[str] = dataclasses.field(default_factory=list)
  roles: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  bytes: int = 0
  lengths: list[int] = dataclasses.field(default_factory=list)

  def add(self, video: Video, state: str) -> None:
    """Counts one video."""
    for counter in (
      self.states,
      *(self.classes[name] for name in video.classes or ('',)),
    ):
      counter.update(('annotated', state))
    self.roles.update(enumerate(video.roles))
    if state != 'found' and len(self.lacking) < LIKE:
      self.lacking.append(video.id)


def finish(out: str | os.PathLike, data_set: DataSet) -> None:
  """Writes index, metadata and report of a set whose shards are all made."""
  out = pathlib.Path(out)
  plan = Plan.load(out)
  tallies: dict[str, Tally] = collections.defaultdict(Tally)
  shards = collections.defaultdict(list)
  for name in plan.shards:
    shards[name.rsplit('-', 3)[0]].append(name)
  for split, names in shards.items():
    file = out / f'index-{split}.csv'
    # Bytes of a video's name that are not UTF-8 are written unchanged.
    with (
      replacing(file) as partial,
      partial.open(
        'w', newline='', encoding='utf-8', errors='surrogateescape'
      ) as lines,
    ):
      table = csv.writer(lines)
      table.writerow(columns(plan))
      for name in names:
        table.writerows(index_rows(out, plan, name, tallies[split]))
  spec = builder.features(plan.class_names, plan.num_roles, plan.multi_label)
  lengths = {split: tally.lengths for split, tally in tallies.items()}
  sizes = {split: tally.bytes for split, tally in tallies.items()}
  builder.write_metadata(out, data_set, spec, lengths, sizes)
  report = summarize(data_set, plan, tallies)
  write_text(out / 'report.json', json.dumps(report, indent=1) + '\n')
  write_text(out / 'report.txt', as_text(data_set, report))
  write_text(out / FINISHED, json.dumps({'digest': plan.digest}) + '\n')


def columns(plan: Plan) -> list[str]:
  """Returns the names of the columns of an index."""
  label = 'labels' if plan.multi_label else 'label'
  fields = ['record', 'id', label, 'file', 'bytes', 'start', 'end', 'fold']
  roles = [f'role_{i + 1}' for i in range(plan.num_roles)]
  return [*fields, 'group', 'group_column', 'weight', *roles, 'cause']


def index_rows(
  out: pathlib.Path, plan: Plan, name: str, tally: Tally
) -> list[list]:
  """Returns the index rows of the videos of a shard.

  Args:
    out: the folder.
    plan: of the set.
    name: of the shard.
    tally: of its split; the videos are added to it.
  """
  shard = load_shard(out, name)
  outcomes = json.loads(done_file(out, name).read_text())
  first, rows = sum(tally.lengths), []
  tally.lengths.append(0)
  for video, outcome in zip(shard.videos, outcomes, strict=True):
    cause = outcome.get('cause', '')
    state = (
      'missing' if cause == MISSING else 'unreadable' if cause else 'found'
    )
    tally.add(video, state)
    record = '' if cause else first + tally.lengths[-1]
    tally.lengths[-1] += not cause
    tally.bytes += outcome.get('record', 0)
    stored = outcome.get('file', ''), outcome.get('bytes', 0)
    times = video.start, video.end, '' if video.fold is None else video.fold
    named = record, video.id, label_cell(video, plan.multi_label)
    drawn = video.group, video.group_column, video.weight
    rows.append([*named, *stored, *times, *drawn, *video.roles, cause])
  return rows


def label_cell(video: Video, multi_label: bool) -> str:
  """Returns the class, or a JSON list of several; '' if it is unknown."""
  if not multi_label:
    return video.label or ''
  known = video.labels is not None or video.label is not None
  return json.dumps(video.classes, ensure_ascii=False) if known else ''


def summarize(
  data_set: DataSet, plan: Plan, tallies: Mapping[str, Tally]
) -> dict:
  """Returns the content of report.json."""
  published = data_set.published
  splits = {}
  for split, tally in tallies.items():
    splits[split] = {state: tally.states[state] for state in STATES}
    splits[split] |= {
      'official': published.videos.get(split),
      'bytes': tally.bytes,
      'lacking': tally.lacking,
      'folds': [
        [tally.roles[i, 1], tally.roles[i, 2]] for i in range(plan.num_roles)
      ],
      'classes': {
        label: {state: counter[state] for state in STATES}
        for label, counter in tally.classes.items()
      },
    }
  return {
    'data_set': plan.data_set,
    'num_classes': len(plan.class_names),
    'official_classes': published.num_classes or None,
    'splits': splits,
  }


def as_text(data_set: DataSet, report: Mapping) -> str:
  """Returns the content of report.txt: splits, then the worst classes."""
  lines = [f'{report["data_set"]}: {report["num_classes"]} classes']
  if report['official_classes'] not in (None, report['num_classes']):
    lines[0] += f' (officially {report["official_classes"]})'
  table = [('split', *STATES, 'official', 'GiB')]
  for split, entry in report['splits'].items():
    official = '-' if entry['official'] is None else entry['official']
    numbers = (entry[state] for state in STATES)
    table.append((split, *numbers, official, f'{entry["bytes"] / 2**30:.2f}'))
  lines += [''.join(f'{cell:>12}' for cell in row) for row in table]
  if told := differences(data_set, report):
    lines += ['', *(line for text in told for line in textwrap.wrap(text, 80))]
  lines += lacking_classes(report)
  for note in data_set.notes:
    lines += ['', *textwrap.wrap(note, 80)]
  return '\n'.join(lines) + '\n'


def differences(data_set: DataSet, report: Mapping) -> list[str]:
  """Returns what differs from the published numbers, and what is lacking."""
  splits = report['splits']
  notes = [
    f'{split}: not annotated; published are {number} videos.'
    for split, number in data_set.published.videos.items()
    if split not in splits
  ]
  for split, entry in splits.items():
    more = entry['annotated'] - (entry['official'] or entry['annotated'])
    if more:
      notes.append(
        f'{split}: {entry["annotated"]} videos are annotated, {abs(more)} '
        f'{"more" if more > 0 else "fewer"} than published.'
      )
    if number := entry['missing'] + entry['unreadable']:
      notes.append(
        f'{split}: {number} of {entry["annotated"]} videos are missing or '
        f'unreadable: {", ".join(entry["lacking"])}{", ..." * (number > LIKE)}'
      )
    known, published = len(entry['folds']), len(data_set.published.folds)
    if known < published:
      notes.append(
        f'{known} of the {published} published splits are annotated.'
      )
    pairs = zip(entry['folds'], data_set.published.folds, strict=False)
    notes += [
      f'Split {i} trains on {train} videos and tests on {test}; published are '
      f'{official[0]} and {official[1]}.'
      for i, ((train, test), official) in enumerate(pairs, 1)
      if (train, test) != official
    ]
  return notes


def lacking_classes(report: Mapping) -> list[str]:
  """Returns lines about the classes that lack most videos."""
  lacking = [
    (tally['missing'] + tally['unreadable'], split, label, tally)
    for split, entry in report['splits'].items()
    for label, tally in entry['classes'].items()
    if tally['missing'] + tally['unreadable']
  ]
  if not lacking:
    return []
  lacking.sort(key=lambda row: (-row[0], row[1:3]))
  return [
    *('', f'Classes that lack videos: {len(lacking)}. Most:'),
    *(
      f'  {split}, {label or "(no label)"}: {tally["missing"]} missing, '
      f'{tally["unreadable"]} unreadable of {tally["annotated"]}'
      for _, split, label, tally in lacking[:20]
    ),
    'Each video and its cause: index-<split>.csv; all classes: report.json.',
  ]
