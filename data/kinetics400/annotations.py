# SPDX-License-Identifier: Apache-2.0
"""Reads the annotations of Kinetics in every published form.

Tables with a header come from CVDF (`label,youtube_id,time_start,time_end,
split,is_cc`; labels of several words are quoted; the split is called val) and
from DeepMind's archive (no `is_cc`, no quotes, the split is called validate);
old tables of the test split have no label. Lists come from UniFormer,
PySlowFast and MMAction2, numbered, each in an order of its own.
"""

import csv
import logging
import pathlib

from data import lists
from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  read_text,
  sorted_names,
  split_named,
  split_of,
)

log = logging.getLogger('data')

COLUMNS = {'youtube_id', 'time_start', 'time_end'}


def read(sources: Sources) -> Annotations:
  """All videos of the tables or lists; classes in alphabetical order.

  The order is the same whatever form was read, so that sets that were prepared
  from different publications number their classes alike.
  """
  files = find_files(sources, ('.csv', '.txt'))
  tables = [file for file in files if is_table(file)]
  videos = []
  for file in tables:
    videos += read_table(file, sources.untrimmed)
  if not tables:
    names = None
    if sources.class_names:
      names = lists.read_class_names(sources.class_names)
    for file in files:
      if split_of(file):
        videos += read_numbered(file, names)
      elif file in sources.annotations:
        raise ValueError(
          f'{file} is no table of Kinetics (it has no youtube_id), and its '
          'name tells no split: call it like train.csv or val_list.txt.'
        )
  if not videos:
    raise ValueError(
      f'No table or list of Kinetics in {", ".join(map(str, files))}'
    )
  return Annotations(without_twins(videos), sorted_names(videos))


def is_table(file: pathlib.Path) -> bool:
  """Whether a file has the columns of Kinetics."""
  with file.open(encoding='utf-8-sig', errors='replace') as lines:
    header = next(csv.reader(lines), [])
  return {name.strip().lower() for name in header} >= COLUMNS


def read_table(file: pathlib.Path, untrimmed: bool) -> list[Video]:
  """Rows by column name: their order and number has changed over the years."""
  lines = read_text(file).split('\n')
  reader = csv.DictReader(
    lines[1:], [n.strip().lower() for n in next(csv.reader(lines[:1]))]
  )
  videos = []
  for number, row in enumerate(reader, start=2):
    try:
      start, end = float(row['time_start']), float(row['time_end'])
      name = file_name(row['youtube_id'], start, end)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f'{file}, line {number}: expected a video and two times, got {row}'
      ) from error
    split = split_named(row.get('split') or '') or split_of(file)
    if split is None:
      raise ValueError(f'{file}, line {number}: no split, and none in its name')
    videos.append(
      Video(
        id=name,
        split=split,
        label=(row.get('label') or '').strip().strip('"') or None,
        name=row['youtube_id'] if untrimmed else name,
        start=start if untrimmed else 0.0,
        end=end if untrimmed else 0.0,
      )
    )
  return videos


def file_name(youtube_id: str, start: float, end: float) -> str:
  """How the crawler and CVDF call a trimmed file, without suffix."""
  return f'{youtube_id}_{int(start):06d}_{int(end):06d}'


def read_numbered(
  file: pathlib.Path, names: dict[int, str] | None
) -> list[Video]:
  """A list of one split; labels get their names from the publisher's file."""
  rows = lists.named(lists.read_list(file), names, file)
  return [
    Video(id=row.path, split=split_of(file), label=row.label, name=row.path)
    for row in rows
  ]


def without_twins(videos: list[Video]) -> list[Video]:
  """Leaves out a test split that is the validation split once more.

  UniFormer's lists have one, so that its code may test on what it validates on.
  """
  ids = {
    split: {video.id for video in videos if video.split == split}
    for split in ('val', 'test')
  }
  if not ids['test'] or ids['test'] != ids['val']:
    return videos
  log.info('The test list repeats the val list: it is left out')
  return [video for video in videos if video.split != 'test']
