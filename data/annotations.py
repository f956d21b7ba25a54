# SPDX-License-Identifier: Apache-2.0
"""Types that annotation readers take and return, and what they share."""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib

from flatten_jax.inputs.sources import class_names, folders, labels
from flatten_jax.inputs.sources.published_sets import PublishedSet


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
    weight: for `data.weighted`, as the list has it; '': none.
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
  weight: str = ''
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


def sorted_names(videos: Sequence[Video]) -> tuple[str, ...]:
  """Returns the names of all classes, sorted.

  Raises:
    ValueError: two differ only in blanks, '_' or quotes.
  """
  names = labels.sorted_names(c for video in videos for c in video.classes)
  labels.index_by_name(names)
  return names
