# SPDX-License-Identifier: Apache-2.0
"""Writes the index of a prepared set and its report: every video's outcome."""

import collections
from collections.abc import Mapping
import csv
import json
import os
import pathlib
import textwrap

from data import builder
from data.annotations import DataSet
from data.plan import FINISHED, MISSING, Plan, done_file, load_shard, write

FIELDS = (
  *('record', 'id', 'label', 'file', 'bytes', 'start', 'end', 'fold'),
  *('group', 'group_column'),
)
STATES = ('annotated', 'found', 'missing', 'unreadable')


def finish(out: str | os.PathLike, data_set: DataSet) -> None:
  """Writes index, metadata and report of a set whose shards are all made."""
  out = pathlib.Path(out)
  plan = Plan.load(out)
  lengths, sizes = collections.defaultdict(list), collections.Counter()
  # {(split, label): number of videos by state}
  counts = collections.defaultdict(collections.Counter)
  shards = collections.defaultdict(list)
  for name in plan.shards:
    shards[name.rsplit('-', 3)[0]].append(name)
  for split, names in shards.items():
    file = out / f'index-{split}.csv'
    temporary = file.with_name(f'.{file.name}.tmp')
    # Bytes of a video's name that are not UTF-8 are written unchanged.
    with temporary.open(
      'w', newline='', encoding='utf-8', errors='surrogateescape'
    ) as lines:
      roles = [f'role_{i + 1}' for i in range(plan.num_roles)]
      table = csv.writer(lines)
      table.writerow([*FIELDS, *roles, 'cause'])
      for name in names:
        rows, size = index_rows(out, name, sum(lengths[split]), counts)
        table.writerows(rows)
        lengths[split].append(sum(row[0] != '' for row in rows))
        sizes[split] += size
    temporary.replace(file)
  spec = builder.features(plan.class_names, plan.num_roles)
  builder.write_metadata(out, data_set, spec, lengths, sizes)
  report = summarize(data_set, plan, counts, sizes)
  write(out / 'report.json', json.dumps(report, indent=1) + '\n')
  write(out / 'report.txt', as_text(data_set, report))
  write(out / FINISHED, json.dumps({'digest': plan.digest}) + '\n')


def index_rows(
  out: pathlib.Path, name: str, first: int, counts: Mapping
) -> tuple[list[list], int]:
  """Returns the index rows of a shard's videos, and the size of its records.

  Args:
    out: the folder.
    name: of the shard.
    first: number of its first record.
    counts: {(split, label): Counter of states}, added to.
  """
  shard = load_shard(out, name)
  outcomes = json.loads(done_file(out, name).read_text())
  rows, size = [], 0
  for video, outcome in zip(shard.videos, outcomes, strict=True):
    cause = outcome.get('cause', '')
    state = (
      'missing' if cause == MISSING else 'unreadable' if cause else 'found'
    )
    counts[video.split, video.label or ''].update(['annotated', state])
    record = '' if cause else first
    first += not cause
    size += outcome.get('record', 0)
    stored = outcome.get('file', ''), outcome.get('bytes', 0)
    times = video.start, video.end, '' if video.fold is None else video.fold
    named = record, video.id, video.label or ''
    group = video.group, video.group_column
    rows.append([*named, *stored, *times, *group, *video.roles, cause])
  return rows, size


def summarize(
  data_set: DataSet, plan: Plan, counts: Mapping, sizes: Mapping[str, int]
) -> dict:
  """Returns the content of report.json."""
  splits = {}
  for (split, label), tally in counts.items():
    entry = splits.setdefault(split, dict.fromkeys(STATES, 0))
    for state in STATES:
      entry[state] += tally[state]
    entry['official'] = data_set.official.get(split)
    entry['bytes'] = sizes[split]
    entry.setdefault('classes', {})[label] = {
      state: tally[state] for state in STATES
    }
  return {
    'data_set': plan.data_set,
    'num_classes': len(plan.class_names),
    'official_classes': data_set.num_classes or None,
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
  lacking = [
    (tally['missing'] + tally['unreadable'], split, label, tally)
    for split, entry in report['splits'].items()
    for label, tally in entry['classes'].items()
    if tally['missing'] + tally['unreadable']
  ]
  if lacking:
    lacking.sort(key=lambda row: (-row[0], row[1:3]))
    lines += ['', f'Classes that lack videos: {len(lacking)}. Most:']
    lines += [
      f'  {split}, {label or "(no label)"}: {tally["missing"]} missing, '
      f'{tally["unreadable"]} unreadable of {tally["annotated"]}'
      for _, split, label, tally in lacking[:20]
    ]
    lines += [
      'Each video and its cause: index-<split>.csv; all classes: report.json.'
    ]
  for note in data_set.notes:
    lines += ['', *textwrap.wrap(note, 80)]
  return '\n'.join(lines) + '\n'
