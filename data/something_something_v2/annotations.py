# SPDX-License-Identifier: Apache-2.0
"""Reads the annotations of Something-Something V2, old release and new.

The old one calls its files `something-something-v2-{labels,train,validation,
test}.json`, Qualcomm's `labels/{labels,train,validation,test}.json` and adds
`test-answers.csv`. The class of a video is its `template` without brackets, and
its number, a string, is in labels.json.
"""

from collections.abc import Mapping
import csv
import json
import pathlib

from data import lists
from data.annotations import (
  Annotations,
  Sources,
  Video,
  find_files,
  read_text,
  split_of,
)


def read(sources: Sources) -> Annotations:
  """All videos, from json files or from lists; classes as labels.json has them.

  Raises:
    ValueError: there is no labels.json, or a video has a class that is not in
      it.
  """
  files = find_files(sources, ('.json', '.csv', '.txt'))
  numbers = read_labels(files, sources.class_names)
  names = tuple(sorted(numbers, key=numbers.get))
  answers = read_answers(files)
  videos = []
  for file in files:
    if file.suffix == '.json' and split_of(file):
      videos += read_split(file, answers)
  if not videos:
    for file in files:
      if file.suffix != '.json' and split_of(file) and not is_answers(file):
        videos += read_numbered(file, dict(enumerate(names)))
  if not videos:
    raise ValueError(
      'No train, validation or test file in '
      f'{", ".join(map(str, sources.annotations))}'
    )
  refuse_unknown(videos, numbers)
  return Annotations(videos, names)


def read_labels(
  files: list[pathlib.Path], class_names: pathlib.Path | None
) -> dict[str, int]:
  """{class name: number}; the values are strings in the file.

  UniFormer's category.txt is refused: from 25 on, its order is not that of the
  numbers in the lists beside it, which follow labels.json.
  """
  named = class_names or next((f for f in files if is_labels(f)), None)
  if named is None or named.suffix != '.json':
    raise ValueError(
      'Expected the labels.json of the release among --annotations (or as '
      f'--class_names), got {named or "none"}. Other files order the classes '
      'otherwise, some of them otherwise than the lists they come with.'
    )
  names = lists.read_class_names(named)
  if set(names) != set(range(len(names))):
    raise ValueError(f'{named} does not number its classes from 0 on.')
  return {name: number for number, name in names.items()}


def is_labels(file: pathlib.Path) -> bool:
  """Whether a file is called labels.json, by its old name or its new one."""
  return file.suffix == '.json' and file.stem.split('-')[-1] == 'labels'


def is_answers(file: pathlib.Path) -> bool:
  """Whether a file holds the labels of the test split."""
  return file.suffix == '.csv' and 'answers' in file.stem


def read_answers(files: list[pathlib.Path]) -> dict[str, str]:
  """{id: template without brackets} of test videos, where it was published."""
  answers = {}
  for file in filter(is_answers, files):
    for row in csv.reader(read_text(file).split('\n'), delimiter=';'):
      if row:
        answers[row[0].strip()] = row[1].strip()
  return answers


def read_split(file: pathlib.Path, answers: Mapping[str, str]) -> list[Video]:
  """The videos of train.json, validation.json or test.json."""
  videos = []
  for item in json.loads(read_text(file)):
    key = str(item['id'])
    template = item.get('template')
    label = without_brackets(template) if template else answers.get(key)
    videos.append(Video(id=key, split=split_of(file), label=label, name=key))
  return videos


def without_brackets(template: str) -> str:
  """'Putting [something] on a table' -> 'Putting something on a table'."""
  return template.replace('[', '').replace(']', '')


def read_numbered(file: pathlib.Path, names: Mapping[int, str]) -> list[Video]:
  """A list of TSM's, UniFormer's or PySlowFast's, numbered by labels.json."""
  rows = lists.named(lists.read_list(file), names, file)
  return [
    Video(id=row.path, split=split_of(file), label=row.label, name=row.path)
    for row in rows
  ]


def refuse_unknown(videos: list[Video], numbers: Mapping[str, int]) -> None:
  """Names the classes of videos that labels.json does not have."""
  unknown = {v.label for v in videos if v.label is not None} - numbers.keys()
  if unknown:
    raise ValueError(
      f'{len(unknown)} classes of the videos are not in labels.json, which has '
      f'{len(numbers)}: {", ".join(sorted(unknown)[:5])}'
    )
