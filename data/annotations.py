# SPDX-License-Identifier: Apache-2.0
"""Types that annotation readers take and return, and shared helpers."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib

from flatten_jax.inputs.sources import class_names, folders, labels
from flatten_jax.inputs.sources.lists import read
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import split_in


@dataclasses.dataclass(frozen=True, slots=True)
class Video:
  """One annotated video, whether or not its file exists.

  Attributes:
    id: unique in its split.
    split: 'train', 'val' or 'test'; 'videos' if the set has no splits.
    label: a class name; None if the annotations keep it secret.
    name: name of its file, with or without folders and suffix.
    start: in seconds, if its file is longer than the video.
    end: in seconds; 0 is the end of the file.
    fold: for cross-validation, if the annotations have folds.
    roles: in each of several published splits: 0 unused, 1 train, 2 test.
    group: of videos that stay together when splits are drawn; '': none.
    group_column: the column of `group` in its list.
    skip, num_frames, fps: of a folder of frames, see `lists.Row`.
  """

  id: str
  split: str
  label: str | None
  name: str
  start: float = 0.0
  end: float = 0.0
  fold: int | None = None
  roles: tuple[int, ...] = ()
  skip: int = 0
  num_frames: int | None = None
  fps: float = 0.0
  group: str = ''
  group_column: str = ''


@dataclasses.dataclass(frozen=True)
class Annotations:
  """All videos of a set; class i of the prepared set is `class_names[i]`.

  Raises:
    ValueError: a name is not UTF-8, or a video's class is not among the names.
  """

  videos: list[Video]
  class_names: tuple[str, ...]

  def __post_init__(self):
    found = {v.label for v in self.videos if v.label is not None}
    labels.refuse_other_encodings({*self.class_names, *found})
    unknown = sorted(found - set(self.class_names))
    if unknown:
      raise ValueError(
        f'{len(unknown)} classes of the videos are not among the '
        f'{len(self.class_names)} class names: {", ".join(unknown[:5])}'
      )


@dataclasses.dataclass(frozen=True)
class Sources:
  """Files and folders that a reader reads.

  Attributes:
    annotations: files and folders of files.
    videos: folders.
    class_names: a file with the names of numbered classes, or None.
    untrimmed: whether files hold more than the annotated part.
  """

  annotations: Sequence[pathlib.Path]
  videos: Sequence[pathlib.Path]
  class_names: pathlib.Path | None = None
  untrimmed: bool = False

  def read_class_names(self) -> dict[int, str] | None:
    """Reads class names by number; None without a file."""
    return self.class_names and class_names.read(self.class_names)


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A published set.

  Attributes:
    name: of the prepared set.
    read: converts sources to annotations.
    homepage: its web page.
    description: one sentence.
    citation: authors, title, place and year.
    official: videos by split, as the official annotations count them.
    num_classes: 0 if it is not known beforehand.
    notes: reminders for the report.
    id_length: number of leading characters of file names that identify a video;
      0: all of them.
    by_folder: whether names are paths: a file of that name in another folder is
      another video.
  """

  name: str
  read: Callable[[Sources], Annotations]
  homepage: str
  description: str
  citation: str = ''
  official: Mapping[str, int] = dataclasses.field(default_factory=dict)
  num_classes: int = 0
  notes: tuple[str, ...] = ()
  id_length: int = 0
  by_folder: bool = False


def find_files(
  sources: Sources, suffixes: tuple[str, ...]
) -> list[pathlib.Path]:
  """Returns annotation files, those of folders sorted.

  Raises:
    FileNotFoundError: a path does not exist, or there is no such file at all.
  """
  found = []
  for path in sources.annotations:
    if path.is_dir():
      inside = folders.walk(str(path), lambda n: n.lower().endswith(suffixes))
      found += sorted(map(pathlib.Path, inside))
    elif path.is_file():
      found.append(path)
    else:
      raise FileNotFoundError(f'--annotations: there is no {path}')
  if not found:
    raise FileNotFoundError(
      f'No {" or ".join(suffixes)} file in --annotations='
      f'{", ".join(map(str, sources.annotations)) or "(not given)"}'
    )
  return found


def read_list(
  file: pathlib.Path,
  names: Mapping[int, str] | None = None,
  exists: Callable[[str], bool] = lambda path: False,
) -> list[Row]:
  """Reads a list of videos; numbers become `names`, if these are given.

  `exists` checks a path that the list may mean.

  Raises:
    ValueError: the list cannot be read, or a label is not among the names.
  """
  rows = read.read_list(file, exists)
  if names is None:
    return rows
  known = {str(i): name for i, name in names.items()}
  known |= {labels.canonical(name): name for name in names.values()}
  unknown = sorted(
    {
      r.label
      for r in rows
      if r.label and labels.canonical(r.label) not in known
    }
  )
  if unknown:
    raise ValueError(
      f'{file} has the labels {", ".join(unknown[:5])}, which are not in '
      f'--class_names ({len(names)} names, {min(names)} to {max(names)}).'
    )
  return [
    row._replace(label=known[labels.canonical(row.label)]) if row.label else row
    for row in rows
  ]


def read_split_list(
  file: pathlib.Path, names: Mapping[int, str] | None
) -> list[Video]:
  """Reads the list of one split of a published set.

  Raises:
    ValueError: labels are numbers and there are no names. The same number means
      different classes in different lists, so none is guessed.
  """
  rows = read_list(file, names)
  numbers = {row.label for row in rows} - {None}
  if names is None and numbers and labels.all_numbers(numbers):
    raise ValueError(
      f'{file} numbers its classes, and publishers number them differently: '
      'give the file that came with it and names them as --class_names.'
    )
  split = split_in(file.stem)
  return [
    Video(row.id, split, row.label, row.id, **frames(row)) for row in rows
  ]


def frames(row: Row) -> dict:
  """Returns what a list says about a folder of frames."""
  return {'skip': row.skip, 'num_frames': row.num_frames, 'fps': row.fps}


def sorted_names(videos: Sequence[Video]) -> tuple[str, ...]:
  """Returns the names of all classes, sorted.

  Raises:
    ValueError: two differ only in blanks, '_' or quotes.
  """
  names = labels.sorted_names(v.label for v in videos if v.label is not None)
  labels.index_by_name(names)
  return names
