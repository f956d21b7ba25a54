# SPDX-License-Identifier: Apache-2.0
"""Reads sets with a list for each split and one file that names the classes."""

from collections.abc import Callable, Mapping
import logging
import pathlib

from data.annotations import Annotations, Sources, find_files
from data.lists import as_video, read_list
from flatten_jax.inputs.sources import class_names
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import split_in

log = logging.getLogger('data')


def read(
  sources: Sources,
  *,
  lists: str,
  names: str,
  newest: str = '',
  read_rows: Callable[[pathlib.Path, Mapping[int, str]], list[Row]] = read_list,
) -> Annotations:
  """Returns the videos of all lists; the file of names orders the classes.

  Args:
    sources: with `--annotations`, among which the file of names may be.
    lists: suffix of the lists; the name of each says which split it is.
    names: the published name of the file of class names.
    newest: part of the names of the lists that replace all others.
    read_rows: returns the rows of a list, given class names by number.

  Raises:
    ValueError: class names or lists are missing, or lists cannot be read.
  """
  files = find_files(sources, ('.csv', '.json', '.txt'))
  named = (file for file in files if file.name.lower() == names.lower())
  names_file = sources.class_names or next(named, None)
  if names_file is None:
    raise ValueError(
      f'Expected {names} among --annotations (or as --class_names), which '
      f'names the classes; got {", ".join(file.name for file in files[:5])}.'
    )
  found = [
    file
    for file in files
    if file.suffix == lists and split_in(file.stem) and file != names_file
  ]
  if not found:
    raise ValueError(
      f'No train, validation or test list ({lists}) in '
      f'{", ".join(map(str, sources.annotations))}'
    )
  if any(newest in file.name for file in found):
    for file in (file for file in found if newest not in file.name):
      log.info('%s is left out: there are lists of %s', file, newest)
    found = [file for file in found if newest in file.name]
  by_number = class_names.read(names_file)
  videos = [
    as_video(row, split_in(file.stem) or '')
    for file in found
    for row in read_rows(file, by_number)
  ]
  return Annotations(videos, tuple(by_number[i] for i in sorted(by_number)))
