# SPDX-License-Identifier: Apache-2.0
"""What became of every annotated video: the index of a set, and its report."""

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

FIELDS = ('record', 'id', 'label', 'file', 'bytes', 'start', 'end', 'fold')
# Odd bytes in the name of a video are written as they are.
NAMES = {'encoding': 'utf-8', 'errors': 'surrogateescape'}
STATES = ('annotated', 'found', 'missing', 'unreadable')


def finish(out: str | os.PathLike, data_set: DataSet) -> str:
  """Writes index, metadata and report of a set whose shards are all there.

  Returns:
    The report, as text.
  """
  out = pathlib.Path(out)
  plan = Plan.load(out)
  lengths, sizes = collections.defaultdict(list), collections.Counter()
  counts = collections.defaultdict(collections.Counter)
  splits = dict.fromkeys(name.rsplit('-', 3)[0] for name in plan.shards)
  for split in splits:
    names = [n for n in plan.shards if n.rsplit('-', 3)[0] == split]
    file = out / f'index-{split}.csv'
    temporary = file.with_name(f'.{file.name}.tmp')
    with temporary.open('w', newline='', **NAMES) as lines:
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
  report = describe(data_set, plan, counts, sizes)
  write(out / 'report.json', json.dumps(report, indent=1) + '\n')
  text = as_text(data_set, report)
  write(out / 'report.txt', text)
  write(out / FINISHED, json.dumps({'digest': plan.digest}) + '\n')
  return text


def index_rows(
  out: pathlib.Path, name: str, first: int, counts: Mapping
) -> tuple[list[list], int]:
  """The rows of a shard's videos, and the size of its records.

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
    tally = counts[video.split, video.label or '']
    tally['annotated'] += 1
    tally[state] += 1
    record = '' if cause else first
    first += not cause
    size += outcome.get('record', 0)
    stored = outcome.get('file', ''), outcome.get('bytes', 0)
    times = video.start, video.end, '' if video.fold is None else video.fold
    rows.append(
      [
        record,
        video.id,
        video.label or '',
        *stored,
        *times,
        *video.roles,
        cause,
      ]
    )
  return rows, size


def describe(
  data_set: DataSet, plan: Plan, counts: Mapping, sizes: Mapping[str, int]
) -> dict:
  """The report, as it is written to report.json."""
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
  """The report for reading: splits, then the classes that lack most."""
  lines = [f'{report["data_set"]}: {report["num_classes"]} classes']
  if report['official_classes'] not in (None, report['num_classes']):
    lines[0] += f' (officially {report["official_classes"]})'
  heads = ('split', *STATES, 'official', 'GiB')
  lines.append(''.join(f'{head:>12}' for head in heads))
  for split, entry in report['splits'].items():
    official = entry['official']
    cells = [split, *(entry[state] for state in STATES)]
    cells += [
      '-' if official is None else official,
      f'{entry["bytes"] / 2**30:.2f}',
    ]
    lines.append(''.join(f'{cell:>12}' for cell in cells))
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
