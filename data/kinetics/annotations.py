# SPDX-License-Identifier: Apache-2.0
"""Reads the annotations of Kinetics in every published form.

Tables with a header come from CVDF (`label,youtube_id,time_start,time_end,
split,is_cc`; labels of several words are quoted; the split is called val) and
from DeepMind's archive (no `is_cc`, no quotes, the split is called validate);
old tables of the test split have no label. Numbered lists come from UniFormer,
PySlowFast and MMAction2, each in an order of its own.
"""

import csv
import logging
import pathlib

from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  sorted_names,
)
from data.lists import read_split_list
from flatten_jax.inputs.sources.lists.columns import (
  KINETICS_COLUMNS,
  kinetics_name,
  parse_seconds,
)
from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.splits import split_in, split_named

log = logging.getLogger('data')


def read(sources: Sources) -> Annotations:
  """Returns all videos of the tables or lists; classes are sorted by name.

  The order does not depend on the form, so that sets that were prepared from
  different publications number their classes alike.
  """
  files = find_files(sources, ('.csv', '.txt'))
  tables = [file for file in files if is_table(file)]
  videos = []
  for file in tables:
    videos += read_table(file, sources.untrimmed)
  if not tables:
    names = sources.read_class_names()
    for file in files:
      if split_in(file.stem):
        videos += read_split_list(file, names)
      elif file in sources.annotations:
        raise ValueError(
          f'{file} is not a table of Kinetics (it has no youtube_id), and its '
          'name contains no split: name it like train.csv or val_list.txt.'
        )
  if not videos:
    raise ValueError(
      f'No table or list of Kinetics in {", ".join(map(str, files))}'
    )
  return Annotations(without_twins(videos), sorted_names(videos))


def is_table(file: pathlib.Path) -> bool:
  """Checks whether a file has the columns of Kinetics."""
  with file.open(encoding='utf-8-sig', errors='replace') as lines:
    header = next(csv.reader(lines), [])
  return {name.strip().lower() for name in header} >= {*KINETICS_COLUMNS}


def read_table(file: pathlib.Path, untrimmed: bool) -> list[Video]:
  """Reads rows by column name: order and number of columns have changed."""
  lines = read_text(file).split('\n')
  reader = csv.DictReader(
    lines[1:], [n.strip().lower() for n in next(csv.reader(lines[:1]))]
  )
  videos = []
  for number, row in enumerate(reader, start=2):
    try:
      name = kinetics_name(row)
    except ValueError as error:
      raise ValueError(f'{file}, line {number}: {error}') from error
    split = split_named(row.get('split') or '') or split_in(file.stem)
    if split is None:
      raise ValueError(f'{file}, line {number}: no split, and none in its name')
    videos.append(
      Video(
        id=name,
        split=split,
        label=(row.get('label') or '').strip().strip('"') or None,
        name=row['youtube_id'] if untrimmed else name,
        start=parse_seconds(row['time_start'], 'time_start')
        if untrimmed
        else 0.0,
        end=parse_seconds(row['time_end'], 'time_end') if untrimmed else 0.0,
      )
    )
  return videos


def without_twins(videos: list[Video]) -> list[Video]:
  """Leaves out a test split that repeats the validation split.

  UniFormer's lists have one, because its code validates and tests on the same.
  """
  ids = {
    split: {video.id for video in videos if video.split == split}
    for split in ('val', 'test')
  }
  if not ids['test'] or ids['test'] != ids['val']:
    return videos
  log.info('The test list repeats the val list: it is left out')
  return [video for video in videos if video.split != 'test']
