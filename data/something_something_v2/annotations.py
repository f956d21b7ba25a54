# SPDX-License-Identifier: Apache-2.0
"""Reads the annotations of Something-Something V2, old release and new.

The files are `something-something-v2-{labels,train,validation,test}.json` in
the old release, `labels/{labels,train,validation,test}.json` in Qualcomm's,
which adds `test-answers.csv`. The class of a video is its `template` without
brackets; labels.json has its number, as a string.
"""

from collections.abc import Mapping
import csv
import json
import pathlib

from data.annotations import Annotations, Sources, Video, find_files
from data.lists import read_split_list
from flatten_jax.inputs.sources.class_names import read as read_class_names
from flatten_jax.inputs.sources.lists.text import read_text
from flatten_jax.inputs.sources.splits import split_in


def read(sources: Sources) -> Annotations:
  """Returns all videos, from json files or lists; labels.json orders classes.

  Raises:
    ValueError: there is no labels.json, or it lacks the class of a video.
  """
  files = find_files(sources, ('.json', '.csv', '.txt'))
  names = read_labels(files, sources.class_names)
  answers = read_answers(files)
  videos = []
  for file in files:
    if file.suffix == '.json' and split_in(file.stem):
      videos += read_split(file, answers)
  if not videos:
    for file in files:
      if (
        file.suffix != '.json' and split_in(file.stem) and not is_answers(file)
      ):
        videos += read_split_list(file, names)
  if not videos:
    raise ValueError(
      'No train, validation or test file in '
      f'{", ".join(map(str, sources.annotations))}'
    )
  return Annotations(videos, tuple(names[i] for i in range(len(names))))


def read_labels(
  files: list[pathlib.Path], class_names: pathlib.Path | None
) -> dict[int, str]:
  """Reads class names by number from labels.json.

  UniFormer's category.txt is refused: from 25 on, its order differs from the
  numbers in the lists of the same folder, which follow labels.json.
  """
  file = class_names or next((f for f in files if is_labels(f)), None)
  if file is None or file.suffix != '.json':
    raise ValueError(
      'Expected the labels.json of the release among --annotations (or as '
      f'--class_names), got {file or "none"}. Other files order the classes '
      'differently, some of them differently from their own lists.'
    )
  names = read_class_names(file)
  if set(names) != set(range(len(names))):
    raise ValueError(f'{file} does not number its classes from 0 on.')
  return names


def is_labels(file: pathlib.Path) -> bool:
  """Checks whether a file is labels.json, by its old name or its new one."""
  return file.suffix == '.json' and file.stem.split('-')[-1] == 'labels'


def is_answers(file: pathlib.Path) -> bool:
  """Checks whether a file holds the labels of the test split."""
  return file.suffix == '.csv' and 'answers' in file.stem


def read_answers(files: list[pathlib.Path]) -> dict[str, str]:
  """Returns {id: template without brackets} of test videos, if published."""
  answers = {}
  for file in filter(is_answers, files):
    for row in csv.reader(read_text(file).split('\n'), delimiter=';'):
      if row:
        answers[row[0].strip()] = row[1].strip()
  return answers


def read_split(file: pathlib.Path, answers: Mapping[str, str]) -> list[Video]:
  """Returns the videos of train.json, validation.json or test.json."""
  videos, split = [], split_in(file.stem)
  for item in json.loads(read_text(file)):
    key = str(item['id'])
    template = item.get('template')
    if template:
      label = template.replace('[', '').replace(']', '')
    else:
      label = answers.get(key)
    videos.append(Video(id=key, split=split, label=label, name=key))
  return videos
