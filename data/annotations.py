# SPDX-License-Identifier: Apache-2.0
"""Types that annotation readers take and return, and shared helpers."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib

from flatten_jax.inputs.sources import class_names, folders, labels
from flatten_jax.inputs.sources.lists import multi_label as multi_labels, read
from flatten_jax.inputs.sources.published_sets import PublishedSet
from flatten_jax.inputs.sources.rows import Row
from flatten_jax.inputs.sources.splits import split_in


@dataclasses.dataclass(frozen=True, slots=True)
class Video:
  """One annotated video, whether or not its file exists.

  Attributes:
    id: unique in its split.
    split: 'train', 'val' or 'test'; 'videos' if the set has no splits.
    label: a class name; None if the annotations keep it secret.
    labels: in place of `label`, the class names of a video that may have
      several; () if it is known to have none, None if it has one `label`.
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
  labels: tuple[str, ...] | None = None

  @property
  def classes(self) -> tuple[str, ...]:
    """All class names; () if they are unknown, or there are none."""
    if self.labels is not None:
      return self.labels
    return () if self.label is None else (self.label,)


@dataclasses.dataclass(frozen=True)
class Annotations:
  """All videos of a set; class i of the prepared set is `class_names[i]`.

  Raises:
    ValueError: a name is not UTF-8, or a video's class is not among the names.
  """

  videos: list[Video]
  class_names: tuple[str, ...]

  def __post_init__(self):
    found = {name for video in self.videos for name in video.classes}
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
    multi_label: whether the videos of lists have several labels.
  """

  annotations: Sequence[pathlib.Path]
  videos: Sequence[pathlib.Path]
  class_names: pathlib.Path | None = None
  untrimmed: bool = False
  multi_label: bool = False

  def read_class_names(self) -> dict[int, str] | None:
    """Reads class names by number; None without a file."""
    return self.class_names and class_names.read(self.class_names)


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A set that can be prepared.

  Attributes:
    published: its name, its page, and its counts to compare with.
    read: converts sources to annotations.
    citation: authors, title, place and year.
    notes: reminders for the report.
    id_length: number of leading characters of file names that identify a video;
      0: all of them.
    by_folder: whether names are paths: a file of that name in another folder is
      another video.
  """

  published: PublishedSet
  read: Callable[[Sources], Annotations]
  citation: str = ''
  notes: tuple[str, ...] = ()
  id_length: int = 0
  by_folder: bool = False

  @property
  def name(self) -> str:
    """Name of the prepared set."""
    return self.published.name


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
  multi_label: bool = False,
) -> list[Row]:
  """Reads a list of videos; numbers become `names`, if these are given.

  Args:
    file: the list.
    names: class names by number.
    exists: checks a path that the list may mean.
    multi_label: reads several labels of a video, see `data.multi_label`.

  Raises:
    ValueError: the list cannot be read, or a label is not among the names.
  """
  rows = read.read_list(file, exists, multi_label=multi_label)
  if multi_label:
    rows = multi_labels.merged(rows)
  return rows if names is None else with_names(file, rows, names)


def with_names(
  file: pathlib.Path, rows: Sequence[Row], names: Mapping[int, str]
) -> list[Row]:
  """Returns rows of a list whose labels are class names.

  Labels are names or their numbers, or their first words: 'c092' is 'c092
  Sitting down' of Charades.

  Raises:
    ValueError: a label is none of these.
  """
  known = {labels.canonical(name): name for name in names.values()}
  known |= {str(i): name for i, name in names.items()}
  found = {label for row in rows for label in row.classes}
  if not {*map(labels.canonical, found)} & known.keys():
    ordered = list(names.values())
    known |= {code: ordered[i] for code, i in labels.by_code(ordered).items()}
  unknown = sorted(x for x in found if labels.canonical(x) not in known)
  if unknown:
    raise ValueError(
      f'{file} has the labels {", ".join(unknown[:5])}, which are not in '
      f'--class_names ({len(names)} names, {min(names)} to {max(names)}).'
    )

  def name_of(label: str) -> str:
    return known[labels.canonical(label)]

  return [
    row._replace(
      label=name_of(row.label) if row.label else None,
      labels=None if row.labels is None else tuple(map(name_of, row.labels)),
    )
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
  numbers = {label for row in rows for label in row.classes}
  if names is None and numbers and labels.all_numbers(numbers):
    raise ValueError(
      f'{file} numbers its classes, and publishers number them differently: '
      'give the file that came with it and names them as --class_names.'
    )
  return [as_video(row, split_in(file.stem) or 'videos') for row in rows]


def as_video(row: Row, split: str) -> Video:
  """Returns the video of a row of a list."""
  return Video(
    id=row.id,
    split=split,
    label=row.label,
    name=row.id,
    start=row.start,
    end=row.end,
    fold=row.fold,
    skip=row.skip,
    num_frames=row.num_frames,
    fps=row.fps,
    group=row.group.name if row.group else '',
    group_column=row.group.column if row.group else '',
    labels=row.labels,
  )


def sorted_names(videos: Sequence[Video]) -> tuple[str, ...]:
  """Returns the names of all classes, sorted.

  Raises:
    ValueError: two differ only in blanks, '_' or quotes.
  """
  names = labels.sorted_names(c for video in videos for c in video.classes)
  labels.index_by_name(names)
  return names
